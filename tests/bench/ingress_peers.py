"""Mail servers that are not ours, to be measured with the same load: Dovecot, and Postfix before it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ingress.postfix import free_port

_CONFIGURATION = """
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/log
protocols = lmtp
ssl = no
mail_location = maildir:{place}/mail/%u
mail_fsync = always
first_valid_uid = 1
default_internal_user = dovecot
default_login_user = dovenull
userdb {{
  driver = static
  args = uid={user} gid={user} home={place}/mail/%u allow_all_users=yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
service lmtp {{
  client_limit = 1
  process_limit = 200
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service stats {{
  client_limit = 1000
}}
"""


class Dovecot:
    """Dovecot's LMTP into a maildir, every message fsynced before it is acknowledged."""

    def __init__(self, place: Path, port: int) -> None:
        self.port = port
        self._mail = place / "mail"

    def delivered(self) -> int:
        """Messages in all mailboxes."""
        return sum(len(files) for path, _, files in os.walk(self._mail) if path.endswith("/new"))


@contextmanager
def dovecot() -> Iterator[Dovecot]:
    """Needs root, as Dovecot does. Fresh mailboxes."""
    place = Path(tempfile.mkdtemp(prefix="situs-dovecot-"))
    place.chmod(0o755)
    port, user = free_port(), pwd.getpwnam("mail").pw_name
    (place / "mail").mkdir()
    shutil.chown(place / "mail", user, user)
    configuration = place / "dovecot.conf"
    configuration.write_text(_CONFIGURATION.format(place=place, user=user, port=port))
    process = subprocess.Popen(["dovecot", "-F", "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.5)
        if process.poll() is not None:
            raise RuntimeError(f"dovecot ended: {(place / 'log').read_text()[-500:]}")
        yield Dovecot(place, port)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(place, ignore_errors=True)
