"""`situs serve --workers N`: N processes on the same ports, each replaced when it dies."""

from __future__ import annotations

import http.client
import re
import smtplib
import socket
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.gateway.demos import RunningDemo, running_demo, situs
from tests.gateway.servers import free_port, serving
from tests.ingress.certificates import client_context, write_certificate


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """Its own doors are not used: it gives the regions that the workers serve."""
    with running_demo(tmp_path_factory.mktemp("workers") / "state") as running:
        yield running


def test_workers_share_the_ports_and_a_dead_one_is_replaced(demo: RunningDemo, tmp_path: Path) -> None:
    with serving(demo.card, tmp_path, "--workers", "2") as server:
        for _ in range(2):
            server.hear("worker serves")
        before = server.workers()
        assert len(before) == 2
        server.send(demo.card)
        victim = next(iter(before))
        victim.kill()
        server.hear("worker ended, another follows")
        server.hear("worker serves")
        after = server.workers()
        assert len(after) == 2
        assert victim not in after
        server.send(demo.card)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.unix))
            assert client.recv(100).startswith(b"220 ")
        server.process.terminate()
        assert server.process.wait(45) == 0
        assert not [worker for worker in after if worker.is_running()]
        assert not server.unix.exists()


def test_any_worker_tells_the_figures_of_all(
    demo: RunningDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    accepted = "situs_ingress_messages_accepted_total"
    with serving(demo.card, tmp_path, "--workers", "2") as server, ExitStack() as sessions:
        for _ in range(2):
            server.hear("worker serves")
        for _ in range(8):
            server.send(demo.card)
        assert [server.figure(accepted, door="smtp") for _ in range(8)] == [8.0] * 8
        clients = [
            sessions.enter_context(socket.create_connection(("127.0.0.1", server.smtp))) for _ in range(16)
        ]
        for client in clients:
            client.settimeout(30)
            assert client.recv(100).startswith(b"220 ")
        assert [server.figure("situs_ingress_sessions", door="smtp") for _ in range(8)] == [16.0] * 8

        # A worker that dies takes its sessions with it, and nothing of what it has counted.
        next(iter(server.workers())).kill()
        server.hear("worker ended, another follows")
        server.hear("worker serves")
        left = sum(is_alive(client) for client in clients)
        assert left < 16
        assert [server.figure("situs_ingress_sessions", door="smtp") for _ in range(8)] == [left] * 8
        assert [server.figure(accepted, door="smtp") for _ in range(8)] == [8.0] * 8

        (figures,) = tmp_path.glob("situs-figures-*")
        assert figures.stat().st_mode & 0o077 == 0
        octets = b"".join(file.read_bytes() for file in figures.iterdir())
        local, _, domain = demo.card.accounts[0].address.partition("@")
        for personal in (local, domain, "b.example", "127.0.0.1"):
            assert personal.encode() not in octets
    assert not list(tmp_path.glob("situs-figures-*"))


def test_a_sign_out_at_the_console_holds_at_every_worker(demo: RunningDemo, tmp_path: Path) -> None:
    """A new connection for each request: the kernel gives it to whichever worker it likes."""
    token = demo.card.operators[0].token
    with serving(demo.card, tmp_path, "--workers", "2") as server:
        for _ in range(2):
            server.hear("worker serves")

        def ask(method: str, path: str, cookie: str, **form: str) -> tuple[int, str, str]:
            connection = http.client.HTTPConnection("127.0.0.1", server.gateway, timeout=60)
            headers = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
            body = urllib.parse.urlencode(form) if form else None
            if body:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            try:
                connection.request(method, f"/console/{path}", body, headers)
                reply = connection.getresponse()
                set_cookie = (reply.getheader("Set-Cookie") or "").partition(";")[0]
                return reply.status, reply.read().decode(), set_cookie
            finally:
                connection.close()

        status, _, cookie = ask("POST", "sign-in", "", token=token)
        assert status == 303
        pages = [ask("GET", "disclosures", cookie) for _ in range(8)]
        assert [page[0] for page in pages] == [200] * 8
        csrf = re.search(r'name="csrf" value="([^"]+)"', pages[0][1])
        assert csrf
        assert ask("POST", "sign-out", cookie, csrf=csrf.group(1))[0] == 303
        assert [ask("GET", "disclosures", cookie)[0] for _ in range(16)] == [401] * 16


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_finishes_what_is_in_flight_and_ends_in_its_time(
    demo: RunningDemo, tmp_path: Path, workers: str
) -> None:
    """Whatever the peers do: one waits, one is sending, one says no more, one takes no replies."""
    more = "\n[limits]\nstore_timeout = 2.0\nstop_timeout = 6.0\n"
    with ExitStack() as stack, serving(demo.card, tmp_path, "--workers", workers, more=more) as server:
        for _ in range(int(workers)):
            server.hear("serving")
        idle, sending, silent, deaf = (
            stack.enter_context(socket.create_connection(("127.0.0.1", server.smtp), 30)) for _ in range(4)
        )
        for client in (idle, sending, silent, deaf):
            assert client.recv(100).startswith(b"220 ")
        for client in (sending, silent):
            client.sendall(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\n" % recipient(demo))
            until(client, b"354 ")
        deaf.setblocking(False)
        with suppress(BlockingIOError):  # it is full, and the replies are not taken
            while True:
                deaf.sendall(b"NOOP\r\n" * 10_000)
        began = time.monotonic()
        server.process.terminate()
        assert until(idle, b"421 4.3.2 ")
        sending.sendall(b"Subject: x\r\n\r\nthe rest\r\n.\r\n")
        assert until(sending, b"250 2.6.0 stored as ")
        assert until(silent, b"421 4.3.2 ")
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 6.0 + 4.0, "the stop timeout, and the end of a process"


def recipient(demo: RunningDemo) -> bytes:
    return demo.card.accounts[0].address.encode()


def until(client: socket.socket, wanted: bytes) -> bytes:
    """What comes up to the line that begins so. The connection must not end before it."""
    client.settimeout(30)
    heard = b""
    while not any(line.startswith(wanted) for line in heard.splitlines()):
        octets = client.recv(4_096)
        assert octets, heard
        heard += octets
    return heard


def test_each_listener_has_its_own_choice_of_tls_and_of_who_may_connect(
    demo: RunningDemo, tmp_path: Path
) -> None:
    files = write_certificate(tmp_path)
    closed, starttls, implicit = (free_port() for _ in range(3))
    more = f"""
        [[smtp.listener]]
        listen = ["127.0.0.1:{closed}"]
        connect_from = ["192.0.2.0/24"]
        [[smtp.listener]]
        listen = ["127.0.0.1:{starttls}"]
        certificate = "{files.certificate}"
        key = "{files.key}"
        require_tls = true
        [[smtp.listener]]
        listen = ["127.0.0.1:{implicit}"]
        certificate = "{files.certificate}"
        key = "{files.key}"
        implicit_tls = true
    """
    with serving(demo.card, tmp_path, more=more) as server:
        server.hear("serving")
        server.send(demo.card)
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            smtplib.SMTP("127.0.0.1", closed, timeout=30)
        assert refused.value.smtp_code == 554
        with smtplib.SMTP("127.0.0.1", starttls, timeout=30) as client:
            client.ehlo()
            assert client.mail("a@b.example")[0] == 530
            client.starttls(context=client_context())
            client.ehlo()
            assert client.mail("a@b.example")[0] == 250
        with smtplib.SMTP_SSL("127.0.0.1", implicit, timeout=30, context=client_context()) as client:
            client.ehlo()
            assert client.mail("a@b.example")[0] == 250


def is_alive(client: socket.socket) -> bool:
    """Whether the session at the other end still answers."""
    try:
        client.sendall(b"NOOP\r\n")
        return client.recv(100).startswith(b"250 ")
    except OSError:
        return False


def test_ready_is_told_to_systemd_when_all_workers_serve(
    demo: RunningDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with serving(demo.card, tmp_path, "--workers", "2") as server:
            assert systemd.recv(100) == b"READY=1"
            server.send(demo.card)
            server.process.terminate()
            assert systemd.recv(100) == b"STOPPING=1"


def test_a_configuration_that_no_worker_can_use_ends_the_parent_with_2(
    demo: RunningDemo, tmp_path: Path
) -> None:
    card = demo.card
    bad = Path(card.config).with_name("bad.toml")
    bad.write_text(
        re.sub(
            r"127\.0\.0\.1:0", lambda _: f"127.0.0.1:{free_port()}", Path(card.config).read_text()
        ).replace(card.regions["eu-west-1"].bucket, "no-such-bucket")
    )
    ended = situs("serve", "--config", str(bad), "--workers", "2")
    assert ended.returncode == 2
    assert "no-such-bucket" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ports_that_cannot_be_shared_are_refused(demo: RunningDemo) -> None:
    ended = situs("serve", "--config", demo.card.config, "--workers", "2")
    assert ended.returncode == 2
    assert "none may be 0" in ended.stderr
