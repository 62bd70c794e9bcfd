"""Logs: one structured line for each thing that happened, on standard error.

No address, IP, subject or content is ever logged: whoever logs here passes ids, counts, codes
and the names of regions. Libraries that log what they see are kept quiet.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs(*, json: bool) -> None:
    """JSON lines for a machine, or columns for a person. Call once, at the start of a process."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # aiohttp logs the text of requests that it cannot parse, botocore logs bodies at debug.
    for name in ("aiohttp.server", "aiohttp.access", "botocore", "boto3", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Never with local variables: they hold mail.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
        if json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
