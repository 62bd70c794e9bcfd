"""mbsync keeps a Maildir and the mailbox equal: 2,000 messages, changed on both sides at once."""

from __future__ import annotations

import hashlib
import imaplib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imap.imap_process import OWNER, PASSWORD, ImapProcess, imap_process, mail
from tests.peers import require

REMOTE, LOCAL = 1_850, 150
FLAGS = {r"\Seen": "S", r"\Flagged": "F", r"\Answered": "R", r"\Draft": "D", r"\Deleted": "T"}

# A message's digest, and the letters of its flags.
Contents = set[tuple[str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ImapProcess]:
    require("mbsync")
    state = tmp_path / "state"
    state.mkdir()
    with imap_process(state, REMOTE) as running:
        yield running


def test_two_way(server: ImapProcess, tmp_path: Path) -> None:
    maildir = Maildir(tmp_path / "maildir", server.port)
    for number in range(REMOTE, REMOTE + LOCAL):
        maildir.add(mail(number, 2_000), "S" if number % 2 else "")
    maildir.sync()
    both = remote(server)
    assert len(both) == REMOTE + LOCAL
    assert maildir.contents() == both

    # Flags and deletions on both sides, of different messages and of the same ones.
    client = signed_in(server)
    client.select()
    assert client.uid("STORE", "1:400", "+FLAGS", r"(\Flagged)")[0] == "OK"
    assert client.uid("STORE", "200:300", "-FLAGS", r"(\Seen)")[0] == "OK"
    assert client.uid("STORE", "301:340", "+FLAGS", r"(\Deleted)")[0] == "OK"
    assert client.expunge()[0] == "OK"
    client.logout()
    messages = sorted(maildir.messages(), key=lambda path: digest(path.read_bytes()))
    for path in messages[:300]:
        path.rename(path.with_name(path.name.partition(":")[0] + ":2,RS"))
    for path in messages[280:330]:  # some of them just answered
        (path if path.exists() else path.with_name(path.name.partition(":")[0] + ":2,RS")).unlink()
    maildir.sync()
    both = remote(server)
    assert maildir.contents() == both
    assert REMOTE + LOCAL - 90 <= len(both) < REMOTE + LOCAL - 40
    assert sum("R" in flags for _, flags in both) >= 240
    assert sum("F" in flags for _, flags in both) >= 300

    # And there is nothing left to do.
    maildir.sync()
    assert maildir.contents() == both == remote(server)


def signed_in(server: ImapProcess) -> imaplib.IMAP4:
    client = imaplib.IMAP4("127.0.0.1", server.port, timeout=60)
    client.login(OWNER, PASSWORD)
    return client


def remote(server: ImapProcess) -> Contents:
    """What is in the inbox."""
    client = signed_in(server)
    client.select(readonly=True)
    _, answers = client.fetch("1:*", "(FLAGS BODY.PEEK[])")
    client.logout()
    found = set()
    for answer in answers:
        if isinstance(answer, tuple):
            told, content = answer
            flags = {letter for flag, letter in FLAGS.items() if flag.encode() in told}
            found.add((digest(content.replace(b"\r\n", b"\n")), "".join(sorted(flags))))
    return found


def digest(content: bytes) -> str:
    """Of a message with LF line ends, without the field by which mbsync finds its own copies again."""
    return hashlib.sha256(re.sub(rb"(?m)^X-TUID: .*\n", b"", content)).hexdigest()


class Maildir:
    """A Maildir, and the configuration that has it kept equal with the inbox."""

    def __init__(self, place: Path, port: int) -> None:
        self._place = place
        for folder in ("cur", "new", "tmp"):
            (place / "INBOX" / folder).mkdir(parents=True)
        self._configuration = place / "mbsyncrc"
        self._configuration.write_text(
            f"""
IMAPAccount situs
Host 127.0.0.1
Port {port}
User {OWNER}
Pass "{PASSWORD}"
SSLType None
AuthMechs LOGIN

IMAPStore far
Account situs

MaildirStore near
Path {place}/
Inbox {place}/INBOX

Channel inbox
Far :far:
Near :near:
Sync All
Create Near
Expunge Both
CopyArrivalDate yes
SyncState *
"""
        )

    def add(self, content: bytes, flags: str) -> None:
        name = f"{digest(content)[:20]}.local:2,{flags}"
        (self._place / "INBOX" / "cur" / name).write_bytes(content.replace(b"\r\n", b"\n"))

    def sync(self) -> None:
        outcome = subprocess.run(
            ["mbsync", "-c", str(self._configuration), "-a"],
            capture_output=True, text=True, timeout=300, check=False, env={"HOME": str(self._place)},
        )  # fmt: skip
        assert outcome.returncode == 0, outcome.stderr[-2_000:]

    def messages(self) -> list[Path]:
        return [path for folder in ("cur", "new") for path in (self._place / "INBOX" / folder).iterdir()]

    def contents(self) -> Contents:
        return {
            (digest(path.read_bytes()), "".join(sorted(path.name.rpartition(":2,")[2])))
            for path in self.messages()
        }
