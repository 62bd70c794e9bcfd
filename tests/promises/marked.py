"""Marked values, and every door that they can be brought to: as clients, operators and owners come.

Each door asserts that what it did was answered as it should be, so that a search which finds nothing has
something to look for. The peer's address is marked where the system has more than one of loopback.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import imaplib
import json
import mailbox
import re
import smtplib
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from gateway.demo.card import Card
from gateway.demo.scenes import AMERICA, GERMANY, IRELAND, make_order
from tests.gateway.demos import situs

# Every mark has this in it, and nothing else has.
MARK: Final = "zq7c41"
DOMAIN: Final = f"{MARK}domain.example"
OWNER: Final = f"{MARK}owner@{DOMAIN}"
ALIAS: Final = f"{MARK}alias@{DOMAIN}"
ABROAD: Final = f"{MARK}abroad@{DOMAIN}"
NOBODY: Final = f"{MARK}nobody@example.ie"
SENDER: Final = f"{MARK}sender@{MARK}away.example"
PASSWORD: Final = f"{MARK}password"
# Linux answers on all of 127.0.0.0/8; an address that a log or a metric has is found by it.
PEER: Final = "127.0.0.77" if sys.platform == "linux" else None
MAIL: Final = (
    f"From: {SENDER}\r\nTo: {OWNER}\r\nSubject: {MARK}subject\r\nX-{MARK}-Field: {MARK}field\r\n"
    f"Message-ID: <{MARK}id@{MARK}away.example>\r\n\r\n{MARK}content {MARK}content\r\n"
).encode()


def marked(octets: bytes) -> bool:
    """Whether a mark stands there: as it is, in base64 at any offset, or the peer's address."""
    lower = octets.lower()
    return (
        MARK.encode() in lower
        or any(form in octets for form in _BASE64)
        or (PEER is not None and PEER.encode() in octets)
    )


def _base64_forms(text: bytes) -> frozenset[bytes]:
    """What base64 makes of the text at each of the three offsets, less what its neighbours decide."""
    forms = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + text)
        forms.add(encoded[-(-offset * 8 // 6) : (offset + len(text)) * 8 // 6])
    return frozenset(forms)


_BASE64: Final = _base64_forms(MARK.encode())


def _connect(address: str) -> socket.socket:
    host, port = address.split(":")
    source = (PEER, 0) if PEER is not None else None
    return socket.create_connection((host, int(port)), timeout=60, source_address=source)


# Mail.


class _Smtp(smtplib.SMTP):
    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return _connect(f"{host}:{port}")


def smtp(card: Card) -> None:
    """Deliveries, and whatever else a peer may say."""
    host, port = card.smtp.split(":")
    with _Smtp(host, int(port)) as client:
        assert client.ehlo(f"{MARK}helo.example")[0] == 250
        for strange in (f"VRFY {OWNER}", f"EXPN {MARK}", f"{MARK}COMMAND", f"HELP {MARK}"):
            assert client.docmd(strange)[0] in (214, 252, 500, 502), strange
        for recipient in (OWNER, ALIAS, OWNER.replace("@", f"+{MARK}tag@")):
            assert client.sendmail(SENDER, [recipient], MAIL) == {}
        client.mail(SENDER)
        assert client.rcpt(NOBODY)[0] == 550
        assert client.rcpt(f"{MARK}@@{MARK}")[0] == 501
        assert client.rcpt(ABROAD)[0] == 250
        client.docmd("DATA")
        client.send(b"Subject: " + MARK.encode() + b"\n.\n\r\nbare line feeds\r\n.\r\n")
        assert client.getreply()[0] >= 500
    # And one that leaves in the middle.
    with _connect(card.smtp) as left:
        left.sendall(f"EHLO {MARK}\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{OWNER}>\r\nDATA\r\n".encode() + MAIL)


def lmtp(card: Card) -> None:
    with _connect(card.lmtp) as connection, connection.makefile("rwb") as lines:

        def say(text: bytes, *codes: str) -> None:
            lines.write(text)
            lines.flush()
            for code in codes:
                while (line := lines.readline().decode())[3] == "-":
                    pass
                assert line[:3] == code, (text, line)

        say(b"", "220")
        say(f"LHLO {MARK}helo.example\r\n".encode(), "250")
        say(f"MAIL FROM:<{SENDER}>\r\n".encode(), "250")
        for recipient, code in ((OWNER, "250"), (ABROAD, "250"), (NOBODY, "550")):
            say(f"RCPT TO:<{recipient}>\r\n".encode(), code)
        say(b"DATA\r\n", "354")
        say(MAIL + b".\r\n", "250", "250")
        say(b"QUIT\r\n", "221")


def smtp_while_a_region_is_down(card: Card) -> None:
    """`ABROAD`'s home is not there: told so, and told nothing else."""
    host, port = card.smtp.split(":")
    with _Smtp(host, int(port)) as client:
        client.ehlo(f"{MARK}helo.example")
        client.mail(SENDER)
        assert client.rcpt(ABROAD)[0] in (250, 451)
        assert client.data(MAIL)[0] in (451, 503)


# The owner.


class _Imap(imaplib.IMAP4):
    def _create_socket(self, timeout: float | None) -> socket.socket:
        return _connect(f"{self.host}:{self.port}")


def imap(card: Card) -> None:
    host, port = card.imap.split(":")
    for user, password in ((OWNER, f"{MARK}wrong"), (NOBODY, PASSWORD), (MARK, PASSWORD)):
        with _Imap(host, int(port)) as client:
            try:
                client.login(user, password)
            except imaplib.IMAP4.error:
                continue
            raise AssertionError(f"{user} came in")
    with _Imap(host, int(port)) as client:
        client.login(OWNER, PASSWORD)
        folder = f"{MARK}folder"
        when = imaplib.Time2Internaldate(time.time())
        _ok(client.create(folder), client.subscribe(folder), client.append(folder, "", when, MAIL))
        _ok(client.list(), client.status(folder, "(MESSAGES)"), client.select(folder))
        for criteria in (
            f"TEXT {MARK}content",
            f"SUBJECT {MARK}subject",
            f"FROM {MARK}sender",
            f"HEADER X-{MARK}-Field {MARK}field",
        ):
            assert client.search(None, *criteria.split(" "))[1] == [b"1"], criteria
        _ok(
            client.store("1", "+FLAGS", f"(\\Flagged {MARK}keyword)"),
            client.fetch("1", f"(BODY[] ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (X-{MARK}-Field)])"),
            client.copy("1", "INBOX"),
        )
        assert client.copy("1", f"{MARK}nowhere")[0] == "NO"
        assert client.select(f"{MARK}nowhere")[0] == "NO"
        _ok(client.select(folder), client.rename(folder, f"{folder}2"), client.noop())
    with _connect(card.imap) as connection, connection.makefile("rb") as lines:
        assert lines.readline().startswith(b"* OK")
        connection.sendall(f"{MARK}tag {MARK}COMMAND {MARK}\r\n".encode())
        assert lines.readline().startswith(f"{MARK}tag BAD".encode())


def _ok(*answers: tuple[str, Any]) -> None:
    assert [status for status, _ in answers] == ["OK"] * len(answers), answers


# The gateway.


class Gateway:
    """One client of the HTTP door."""

    def __init__(self, card: Card) -> None:
        self.address: Final = card.gateway.removeprefix("http://")

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, bytes, Mapping[str, str]]:
        connection = http.client.HTTPConnection(self.address)
        connection.sock = _connect(self.address)
        try:
            common = {"User-Agent": f"{MARK}agent", "X-Forwarded-For": f"{MARK}forwarded", **headers}
            connection.request(method, path, body, common)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def api(self, token: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """A GET, or a POST where there is a body."""
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        status, found, _ = self.ask(
            "GET" if body is None else "POST",
            path,
            sent,
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers},
        )
        return status, json.loads(found) if found[:1] in b"{[" else found


def api(card: Card) -> None:
    """Disclosures and holds as they should be, and requests that are nothing of the kind."""
    gateway = Gateway(card)
    intake, custodian = card.operator("intake", IRELAND), card.operator("custodian", IRELAND)
    judge = card.authority("IE", "judge")
    order = make_order(judge, "ie.production-order", OWNER, matter=f"{MARK}matter")
    asked = {"order": order, "requested": ["content"]}
    status, made = gateway.api(intake.token, "/v1/disclosures", asked, **{"Idempotency-Key": f"{MARK}key"})
    assert status == 201, made
    path = f"/v1/disclosures/{made['id']}"
    approver = card.operator("approver", IRELAND, other_than=intake.name)
    assert gateway.api(approver.token, f"{path}:approve", {})[0] == 200
    status, manifest = gateway.api(intake.token, f"{path}/package")
    assert (status, manifest["counts"]["messages"] > 0) == (200, True)
    assert gateway.api(intake.token, f"/v1/disclosures?matter={MARK}matter")[0] == 200
    nobody = make_order(judge, "ie.production-order", NOBODY, matter=f"{MARK}matter")
    assert gateway.api(intake.token, "/v1/disclosures", {"order": nobody, "requested": ["content"]})[0] == 403
    assert gateway.api(intake.token, "/v1/disclosures", asked)[0] == 409
    for body in (b'{"' + MARK.encode(), {MARK: MARK}, {"order": MARK, "requested": [MARK]}):
        assert gateway.api(intake.token, "/v1/disclosures", body)[0] in (400, 422)
    for strange in (f"/v1/{MARK}", f"/v1/disclosures/{MARK}", f"/v1/disclosures?{MARK}={MARK}", f"/{MARK}"):
        assert gateway.api(intake.token, strange)[0] in (403, 404, 422), strange
    assert gateway.api(f"situs_{MARK}_{MARK}", "/v1/holds")[0] == 401
    wanted = {"address": OWNER, "basis": {"litigation": f"{MARK}reason"}, "matter": f"{MARK}matter"}
    status, hold = gateway.api(custodian.token, "/v1/holds", wanted)
    assert status == 201, hold
    assert gateway.api(custodian.token, f"/v1/holds/{hold['id']}:release", {"reason": f"{MARK}why"})[0] == 200
    assert gateway.api(custodian.token, "/v1/holds", {**wanted, "address": NOBODY})[0] == 403


def console(card: Card) -> None:
    gateway = Gateway(card)

    def sign_in(token: str) -> tuple[int, str]:
        status, _, headers = gateway.ask(
            "POST", "/console/sign-in", urlencode({"token": token}).encode(), _FORM
        )
        return status, headers.get("Set-Cookie", "").partition(";")[0]

    assert sign_in(f"situs_{MARK}_{MARK}")[0] == 401
    for role, pages in {
        "intake": ("disclosures?status=", f"disclosures?status=&matter={MARK}matter", "transparency", "law"),
        "auditor": ("audit", f"audit/{IRELAND}?text={MARK}"),
        "custodian": ("holds",),
    }.items():
        status, cookie = sign_in(card.operator(role, IRELAND).token)
        assert status == 303
        for page in pages:
            assert gateway.ask("GET", f"/console/{page}", None, {"Cookie": cookie})[0] == 200, page
        for strange in (f"disclosures/{MARK}", f"disclosures?{MARK}={MARK}", MARK, f"static/{MARK}"):
            status = gateway.ask("GET", f"/console/{strange}", None, {"Cookie": cookie})[0]
            assert status in (403, 404, 422), strange
    _, form_page, _ = gateway.ask("GET", "/console/holds", None, {"Cookie": cookie})
    found = re.search(rb'name="csrf" value="([^"]+)"', form_page)
    assert found is not None
    fields = {"csrf": found[1].decode(), "address": OWNER, "reason": f"{MARK}reason", "matter": f"{MARK}case"}
    for address, expected in ((OWNER, 303), (NOBODY, 403), (MARK, 422)):
        form = urlencode({**fields, "address": address}).encode()
        assert gateway.ask("POST", "/console/holds", form, {**_FORM, "Cookie": cookie})[0] == expected


_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}


def public(card: Card) -> dict[str, bytes]:
    """What the gateway shows to anybody, and what an auditor reads of the logs, octet for octet."""
    gateway = Gateway(card)
    auditor = {code: card.operator("auditor", code).token for code in card.regions}
    paths = ["/metrics", "/v1/transparency", "/v1/law", "/healthz/ready", "/healthz/live", "/openapi.json"]
    paths += [f"/v1/audit/{code}/checkpoint" for code in card.regions]
    shown = {path: gateway.ask("GET", path)[1] for path in paths}
    for code, token in auditor.items():
        size = int(shown[f"/v1/audit/{code}/checkpoint"].split(b"\n")[1])
        assert 0 < size < 256, "one partial tile has it all"
        for path, headers in (
            (f"/v1/audit/{code}/tile/entries/000.p/{size}", {}),
            (f"/v1/audit/{code}/entries?pageSize=200", {"Authorization": f"Bearer {token}"}),
        ):
            status, shown[path], _ = gateway.ask("GET", path, None, headers)
            assert status == 200, path
    return shown


# The command line.


def _situs(card: Card, *words: str, stdin: str = "", status: int = 0) -> str:
    """A command as an operator gives it. Its answer to him may name what he named."""
    done = situs(*words, "--config", card.config, stdin=stdin)
    assert done.returncode == status, (words, done.stderr)
    return done.stdout + done.stderr


def people(card: Card, folder: Path) -> None:
    """The owner, one abroad, aliases, and a file full of others."""
    name = ["--name", f"{MARK} Name", "--password-stdin"]
    _situs(card, "account", "create", OWNER, "--home", IRELAND, *name, stdin=f"{PASSWORD}\n")
    _situs(card, "account", "create", ABROAD, "--home", GERMANY, *name, stdin=f"{PASSWORD}\n")
    _situs(card, "account", "create", OWNER, "--home", AMERICA, status=1)
    _situs(card, "alias", "add", ALIAS, OWNER)
    _situs(card, "alias", "add", f"@{DOMAIN}", OWNER)
    file = folder / "accounts.csv"
    rows = [
        f"{MARK}{number}@{DOMAIN},{(IRELAND, GERMANY)[number % 2]},{MARK} {number}" for number in range(4)
    ]
    file.write_text("\n".join(["address,home,display_name", *rows, f"{MARK},nowhere,{MARK}"]))
    _situs(card, "account", "import", str(file), status=1)


def owners_commands(card: Card, folder: Path) -> None:
    box = mailbox.mbox(str(folder / "mbox"))
    letter = mailbox.mboxMessage(MAIL.replace(b"\r\n", b"\n"))
    letter["Date"] = email.utils.formatdate()
    box.add(letter)
    box.close()
    _situs(card, "mail", "import", OWNER, "--mbox", str(folder / "mbox"))
    _situs(card, "mail", "export", OWNER, "--to", str(folder / "out"))
    exported = b"".join(path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file())
    assert marked(exported)
    for words in (("show", OWNER), ("suspend", ABROAD), ("resume", ABROAD), ("rotate-keys", OWNER)):
        _situs(card, "account", *words)
    _situs(card, "account", "show", NOBODY, status=1)
    _situs(card, "account", "close", OWNER, status=1)  # it is held


def verdicts(card: Card) -> dict[str, str]:
    """What the commands say that are about everything and nobody."""
    said = {}
    for words in (
        ("fence", "verify", "--json"),
        ("fence", "verify"),
        ("directory", "sync", "--json"),
        ("region", "check", "--json"),
        ("report", "transparency", "--json"),
        *(("audit", "verify", "--region", code) for code in card.regions),
        *(("audit", "list", "--region", code, "--json") for code in card.regions),
    ):
        said[" ".join(words)] = _situs(card, *words)
    return said
