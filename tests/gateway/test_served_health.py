"""What a running server tells those who watch it, and what does not end it."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from gateway.readiness import Readiness, watching_app
from storage.errors import Unavailable
from tests.gateway.demos import RunningDemo, running_demo, situs
from tests.gateway.servers import free_port, serving
from tests.gateway.test_workers import is_alive, recipient, until
from tests.ingress.certificates import write_certificate

ACCEPTED = "situs_ingress_messages_accepted_total"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """Its own doors are not used: it gives the regions that the servers serve."""
    with running_demo(tmp_path_factory.mktemp("health") / "state") as running:
        yield running


def ask(port: int, path: str) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_mail_doors_without_a_gateway_have_figures_and_health(demo: RunningDemo, tmp_path: Path) -> None:
    port = free_port()
    more = f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n'
    with serving(demo.card, tmp_path, "--only", "smtp", "--workers", "2", more=more) as server:
        for _ in range(2):
            assert server.hear("serving")["metrics"] == f"127.0.0.1:{port}"
        server.figures_at = port
        server.send(demo.card)
        assert server.figure(ACCEPTED, door="smtp") == 1.0
        assert ask(port, "/healthz/live") == (200, {"status": "live"})
        assert ask(port, "/healthz/ready") == (200, {"status": "ready"})
        assert not server.unix.exists(), "a socket that nobody would answer at"


def test_who_is_stopping_is_not_ready(demo: RunningDemo, tmp_path: Path) -> None:
    port = free_port()
    more = f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n[limits]\nstop_timeout = 120.0\n'
    with ExitStack() as stack, serving(demo.card, tmp_path, more=more) as server:
        server.hear("serving")
        assert ask(server.gateway, "/healthz/ready")[0] == 200
        idle, sending = (
            stack.enter_context(socket.create_connection(("127.0.0.1", server.smtp), 30)) for _ in range(2)
        )
        sending.sendall(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\n" % recipient(demo))
        until(sending, b"354 ")
        server.process.terminate()
        until(idle, b"421 4.3.2 ")
        assert ask(port, "/healthz/ready") == (503, {"status": "stopping"})
        status, problem = ask(server.gateway, "/healthz/ready")
        assert (status, problem["detail"]) == (503, "the service is stopping")
        assert ask(server.gateway, "/healthz/live")[0] == 200
        sending.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
        until(sending, b"250 2.6.0 stored as ")
        assert server.process.wait(45) == 0


async def test_who_cannot_look_up_is_not_ready() -> None:
    down = True

    async def look() -> None:
        if down:
            raise Unavailable("no answer from somewhere that is nobody's business")

    app: web.Application = watching_app(CollectorRegistry(), Readiness(), look)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/healthz/ready")
        assert (answer.status, await answer.json()) == (
            503,
            {"status": "unavailable", "reason": "Unavailable"},
        )
        down = False
        assert (await client.get("/healthz/ready")).status == 200


def test_a_hangup_ends_nothing(demo: RunningDemo, tmp_path: Path) -> None:
    """A hook behind a certificate's renewal, or a habit: the certificate is read again by itself."""
    with serving(demo.card, tmp_path, "--workers", "2") as server:
        for _ in range(2):
            server.hear("worker serves")
        with socket.create_connection(("127.0.0.1", server.smtp), 30) as session:
            assert session.recv(100).startswith(b"220 ")
            for pid in (server.process.pid, *(worker.pid for worker in server.workers())):
                os.kill(pid, signal.SIGHUP)
                server.hear("hangup")
            assert is_alive(session)
        server.send(demo.card)


def test_the_gateways_certificate_is_renewed_under_it(demo: RunningDemo, tmp_path: Path) -> None:
    """No signal and no restart, and whoever is connected stays so: as at the mail doors."""
    files = write_certificate(tmp_path)
    first = files.certificate.read_text()
    paths = f'certificate = "{files.certificate}"\nkey = "{files.key}"\n'
    context = ssl.create_default_context(cafile=files.certificate)
    with serving(demo.card, tmp_path, gateway_has=paths) as server:
        server.hear("serving")
        with (
            socket.create_connection(("127.0.0.1", server.gateway), 30) as plain,
            context.wrap_socket(plain, server_hostname="mx.example.ie") as before,
        ):
            write_certificate(tmp_path)
            renewed = files.certificate.read_text()
            assert ssl.get_server_certificate(("127.0.0.1", server.gateway)) == renewed != first
            before.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert before.recv(100).startswith(b"HTTP/1.1 200 ")


def test_workers_outlive_a_configuration_that_breaks_under_them(demo: RunningDemo, tmp_path: Path) -> None:
    with serving(demo.card, tmp_path, "--workers", "2") as server:
        for _ in range(2):
            server.hear("worker serves")
        config = Path(demo.card.config).with_name(f"{tmp_path.name}.toml")
        whole = config.read_text()
        config.write_text(whole + "\n[unfinished")
        next(iter(server.workers())).kill()
        server.hear("worker ended, another follows")
        assert server.hear("worker ended, another follows")["status"] == 2
        server.send(demo.card)
        config.write_text(whole)
        server.hear("worker serves")
        assert server.process.poll() is None


def test_a_second_server_does_not_take_the_first_ones_socket(demo: RunningDemo, tmp_path: Path) -> None:
    with serving(demo.card, tmp_path) as server:
        server.hear("serving")
        config = Path(demo.card.config).with_name(f"{tmp_path.name}.toml")
        second = situs("serve", "--config", str(config), "--only", "lmtp", "--workers", "2")
        assert second.returncode == 2
        assert "another process listens there" in second.stderr
        assert "Traceback" not in second.stderr
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.unix))
            assert client.recv(100).startswith(b"220 ")
