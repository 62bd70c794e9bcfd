"""Clients that are not ours, doing what their users have them do: imaplib, curl and mutt in batch."""

from __future__ import annotations

import imaplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imap.imap_process import OWNER, PASSWORD, ImapProcess, imap_process, mail
from tests.peers import require

MESSAGES = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapProcess]:
    with imap_process(tmp_path_factory.mktemp("imap"), MESSAGES) as running:
        yield running


@pytest.fixture
def imap(server: ImapProcess) -> Iterator[imaplib.IMAP4]:
    """Signed in."""
    client = imaplib.IMAP4("127.0.0.1", server.port, timeout=30)
    client.login(OWNER, PASSWORD)
    yield client
    client.logout()


def test_imaplib(imap: imaplib.IMAP4) -> None:
    assert imap.create("Lib") == ("OK", [b"made"])
    for number in range(3):
        verdict, (told,) = imap.append("Lib", r"(\Flagged)", imaplib.Time2Internaldate(0), mail(number, 500))
        assert verdict == "OK"
        assert told.startswith(b"[APPENDUID ")
    assert imap.select("Lib") == ("OK", [b"3"])
    assert imap.search(None, "FLAGGED", "SUBJECT", '"message 1"') == ("OK", [b"2"])
    verdict, found = imap.fetch("2", "(INTERNALDATE BODY.PEEK[])")
    assert isinstance(found[0], tuple)
    assert found[0][1] == mail(1, 500)
    assert b"1970" in found[0][0]
    assert imap.copy("1:2", "Trash")[0] == "OK"
    assert imap.store("3", "+FLAGS", r"(\Deleted $Junk)")[1] == [rb"3 (FLAGS (\Deleted \Flagged $Junk))"]
    assert imap.expunge() == ("OK", [b"3"])
    assert imap.uid("MOVE", "1", "Archive")[0] == "OK"
    assert imap.response("EXPUNGE")[1] == [b"1"]
    assert imap.status("Lib", "(MESSAGES UIDNEXT)") == ("OK", [b'"Lib" (MESSAGES 1 UIDNEXT 4)'])
    assert imap.close()[0] == "OK"
    assert imap.delete("Lib")[0] == "OK"


def test_curl(server: ImapProcess, imap: imaplib.IMAP4, tmp_path: Path) -> None:
    message = tmp_path / "message.eml"
    message.write_bytes(mail(1_000_000, 20_000))
    assert b"Sent" in curl(server, "")
    curl(server, "Drafts", "--upload-file", str(message))
    assert curl(server, "Drafts", "--request", "STATUS Drafts (MESSAGES)").split() == (
        b'* STATUS "Drafts" (MESSAGES 1)'.split()
    )
    assert curl(server, "Drafts;UID=1") == message.read_bytes()
    assert curl(server, "Drafts;UID=1;SECTION=TEXT") == message.read_bytes().partition(b"\r\n\r\n")[2]
    assert curl(server, "Drafts?SUBJECT%201000000") == b"* SEARCH 1\r\n"


def test_mutt_reads_and_saves(server: ImapProcess, imap: imaplib.IMAP4, tmp_path: Path) -> None:
    """It opens the inbox, shows a message, files a copy of it, flags one, deletes another, and leaves."""
    imap.create("Mutt")
    configuration = tmp_path / "muttrc"
    configuration.write_text(
        f"""
        set imap_user = "{OWNER}"
        set imap_pass = "{PASSWORD}"
        set folder = "imap://127.0.0.1:{server.port}/"
        set spoolfile = "+INBOX"
        set ssl_starttls = no
        set ssl_force_tls = no
        set header_cache = ""
        unset confirmappend
        set quit = yes
        set delete = yes
        unset resolve
        set pager = "cp %s {tmp_path}/shown"
        unset wait_key
        unset prompt_after
        push "<first-entry><display-message><copy-message>+Mutt<enter><next-entry><flag-message>\\
<next-entry><delete-message><quit>"
        """
    )
    # It wants a terminal to draw on, and gets one.
    outcome = subprocess.run(
        [require("script"), "-qec", f"{require('mutt')} -F {configuration}", "/dev/null"],
        capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={"TERM": "xterm", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout[-500:]
    assert imap.select("Mutt") == ("OK", [b"1"])
    _, copied = imap.fetch("1", "(BODY.PEEK[])")
    imap.select("INBOX", readonly=True)
    _, first = imap.uid("FETCH", "1", "(BODY.PEEK[])")
    assert isinstance(copied[0], tuple)
    assert isinstance(first[0], tuple)
    assert copied[0][1] == first[0][1]
    assert imap.uid("SEARCH", "FLAGGED") == ("OK", [b"2"])
    assert imap.uid("SEARCH", "SEEN") == ("OK", [b"1"])
    assert imap.uid("SEARCH", "UID 1:4") == ("OK", [b"1 2 4"])
    assert b"Subject: Message 0 of many" in (tmp_path / "shown").read_bytes()


def curl(server: ImapProcess, path: str, *options: str) -> bytes:
    """What it printed: a mailbox's URL (RFC 5092), and what to do there."""
    outcome = subprocess.run(
        [require("curl"), "--silent", "--show-error", "--user", f"{OWNER}:{PASSWORD}", *options,
         f"imap://127.0.0.1:{server.port}/{path}"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout
