"""A million random commands against the SMTP and the LMTP door: no traceback, no hang, nothing mixed up."""

from __future__ import annotations

import logging
import time

import structlog
import uvloop
from structlog.testing import LogCapture

from gateway.ingress.limits import ListenerSettings
from gateway.ingress.reception import Reception
from gateway.lmtp import serve_lmtp
from gateway.smtp import serve_smtp
from tests.ingress.fuzz import fuzz
from tests.ingress.posts import three_regions
from tests.ingress.test_fuzz import DEEP

COMMANDS = 1_000_000


async def _both(capture: LogCapture) -> None:
    for serve, seed in ((serve_smtp, int(time.time())), (serve_lmtp, int(time.time()) + 1)):
        post = three_regions()
        door = await serve(ListenerSettings(), Reception(post, "mx.example.ie", DEEP))
        began = time.perf_counter()
        findings = await fuzz(door, post, COMMANDS // 2, seed)
        took = time.perf_counter() - began
        await door.close()
        assert not capture.entries, capture.entries[:3]
        print(
            f"{serve.__name__}: {findings.commands:,} commands in {findings.sessions:,} sessions, "
            f"seed {seed}, {findings.commands / took:,.0f}/s; replies {dict(sorted(findings.codes.items()))}"
        )


def run() -> None:
    """Prints what was seen; raises AssertionError for what may not be."""
    capture = LogCapture()
    structlog.configure(
        processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    uvloop.run(_both(capture))
