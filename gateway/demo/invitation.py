"""What the demo prints when all is listening: where everything is, and five things to try."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

from gateway.demo.card import Card
from gateway.demo.scenes import IRELAND, make_order


def invite(card: Card, card_path: Path) -> str:
    """Text for a terminal. Each command in it can be pasted as it stands, and works."""
    situs = shlex.join([sys.executable, "-m", "gateway"])
    config = shlex.quote(card.config)
    host, port = card.smtp.split(":")
    owner = card.home(IRELAND)
    target = owner.address
    auditor = card.operator("auditor", IRELAND)
    request = _us_request(card, card_path.parent)
    # Double quotes inside: the shell's single quotes around it then need no escapes.
    send = (
        f'import smtplib; smtplib.SMTP("{host}", {port}).sendmail("you@elsewhere.example", ["{target}"], '
        '"Subject: hello\\r\\n\\r\\nIt stays in Ireland.\\r\\n")'
    )
    imap_host, imap_port = card.imap.split(":")
    read = (
        f'import imaplib; box = imaplib.IMAP4("{imap_host}", {imap_port}); '
        f'box.login("{target}", "{owner.password}"); box.select(); '
        'print(box.fetch("1:*", "(BODY.PEEK[])")[1])'
    )
    places = "\n".join(
        f"  {region.country}  {code:<13} {region.endpoint}  bucket {region.bucket}  {card.home(code).address}"
        for code, region in card.regions.items()
    )
    return f"""\
Situs is running: three regions, three S3 servers, one law for each.

{places}

  SMTP {card.smtp}   LMTP {card.lmtp}   IMAP {card.imap}   disclosure gateway {card.gateway}
  everything else (operators and tokens, authorities and keys): {card_path}

Try:

  1. Send a mail to Ireland. It is sealed, and lies in the Irish bucket alone.

     {shlex.join([sys.executable, "-c", send])}

  2. Read it as its owner. Any mail client will do: {target}, password {owner.password}, no TLS here.

     {shlex.join([sys.executable, "-c", read])}

  3. Bring a US warrant for it. It is refused, and told why, and what would open the mailbox.

     {_post(card, request)} | {sys.executable} -m json.tool

  4. Verify the Irish log, where that refusal now stands.

     {situs} audit verify --region {IRELAND} --config {config}

  5. Look at it in a browser: {card.gateway}/console, with {auditor.name}'s token {auditor.token}

Ctrl-C stops everything."""


def _post(card: Card, request: Path) -> str:
    """A command that posts the request: curl's, or Python's on a machine without curl."""
    token = card.operator("intake", IRELAND).token
    if shutil.which("curl"):
        return (
            f"curl -s -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\\n"
            f"          -d @{shlex.quote(str(request))} {card.gateway}/v1/disclosures"
        )
    post = (
        f"import http.client as h; c = h.HTTPConnection({card.gateway.removeprefix('http://')!r}); "
        f"c.request('POST', '/v1/disclosures', open({str(request)!r}), "
        f"{{'Authorization': 'Bearer {token}', 'Content-Type': 'application/json'}}); "
        "print(c.getresponse().read().decode())"
    )
    return shlex.join([sys.executable, "-c", post])


def _us_request(card: Card, directory: Path) -> Path:
    """A ready request body: a US warrant for the Irish mailbox, signed by the demo's US court."""
    order = make_order(card.authority("US", "judge"), "us.sca-warrant", card.home(IRELAND).address)
    path = directory / "us-warrant.json"
    path.write_text(json.dumps({"order": order, "requested": ["content"]}))
    return path
