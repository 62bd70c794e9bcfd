"""Debian's Dovecot over Maildirs, to be read with the same client."""

from __future__ import annotations

import imaplib
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ingress.postfix import free_port

_CONFIGURATION = """
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/log
protocols = imap
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{place}/mail/%u
first_valid_uid = 1
default_internal_user = dovecot
default_login_user = dovenull
mail_max_userip_connections = 2000
userdb {{
  driver = static
  args = uid={user} gid={user} home={place}/mail/%u allow_all_users=yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service imap {{
  process_limit = 1000
}}
service stats {{
  client_limit = 2000
}}
service anvil {{
  client_limit = 4000
}}
"""


@contextmanager
def dovecot(owner: str, messages: int, mail: Callable[[int], bytes]) -> Iterator[int]:
    """Its port. Needs root, as Dovecot does. The mailbox has so many messages, each with what `mail` gives
    for its number, and has been opened once: its indexes are made."""
    place = Path(tempfile.mkdtemp(prefix="situs-dovecot-"))
    place.chmod(0o755)
    port, user = free_port(), pwd.getpwnam("mail").pw_name
    new = place / "mail" / owner / "new"
    new.mkdir(parents=True)
    for folder in ("cur", "tmp"):
        (new.parent / folder).mkdir()
    for number in range(messages):
        # A Maildir has the line ends of its system, and Dovecot gives them back as CRLF.
        (new / f"{1_700_000_000 + number}.{number}.bench").write_bytes(mail(number).replace(b"\r\n", b"\n"))
    subprocess.run(["chown", "-R", f"{user}:{user}", str(place / "mail")], check=True)
    configuration = place / "dovecot.conf"
    configuration.write_text(_CONFIGURATION.format(place=place, user=user, port=port))
    process = subprocess.Popen(["dovecot", "-F", "-c", str(configuration)], stderr=subprocess.PIPE, text=True)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(place, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    """Until it greets. Raises RuntimeError when it has ended instead."""
    while process.poll() is None:
        try:
            imaplib.IMAP4("127.0.0.1", port, timeout=10).shutdown()
        except (OSError, imaplib.IMAP4.abort):
            continue
        return
    _, said = process.communicate()
    raise RuntimeError(f"dovecot ended: {said[-500:]}")
