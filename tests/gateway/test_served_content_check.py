"""rspamd before a running `situs serve`: from the configuration's section to what the owner is given."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path

from gateway.demo.card import Card
from tests.gateway.demos import running_demo, situs
from tests.gateway.servers import RunningServer, serving
from tests.ingress.test_rspamd import GTUBE, real_rspamd

HEADER = b"From: a@client.example\r\nX-Spam: forged\r\nSubject: %s\r\n\r\nhello\r\n"


def send(server: RunningServer, card: Card, content: bytes) -> tuple[int, bytes]:
    with smtplib.SMTP("127.0.0.1", server.smtp, timeout=30) as client:
        client.ehlo()
        client.mail("a@client.example")
        client.rcpt(card.accounts[0].address)
        return client.data(content)


async def test_rspamd_is_asked_by_a_running_server(tmp_path: Path) -> None:
    with running_demo(tmp_path / "state") as demo:
        async with real_rspamd() as url:
            more = f'\n[rspamd]\nurl = "{url}"\ntimeout = 5.0\nunreachable = "defer"\n'
            with serving(demo.card, tmp_path, more=more) as server:
                await asyncio.to_thread(server.hear, "serving")
                assert send(server, demo.card, HEADER % b"plain")[0] == 250
                assert send(server, demo.card, HEADER % b"bad" + GTUBE + b"\r\n")[0] == 550
                doubtful = HEADER % b"doubtful" + GTUBE.replace(b"XJS", b"YJS") + b"\r\n"
                assert send(server, demo.card, doubtful)[0] == 250
                config = str(Path(demo.card.config).with_name(f"{tmp_path.name}.toml"))
                exported = tmp_path / "exported"
                address = demo.card.accounts[0].address
                ended = situs("mail", "export", address, "--to", str(exported), "--config", config)
                assert ended.returncode == 0, ended.stderr
                found = {}
                for path in exported.rglob("*.eml"):
                    header = path.read_bytes().partition(b"\r\n\r\n")[0]
                    found[header.partition(b"Subject: ")[2]] = header
                assert sorted(found) == [b"doubtful", b"plain"]
                assert b"\r\nX-Spam: Yes\r\n" in found[b"doubtful"]
                assert not [header for header in found.values() if b"forged" in header]
        # The configured choice while nobody can be asked.
        with serving(demo.card, tmp_path, more=more) as server:
            await asyncio.to_thread(server.hear, "serving")
            assert send(server, demo.card, HEADER % b"later") == (
                451,
                b"4.7.1 the content check cannot be reached, try again later",
            )
