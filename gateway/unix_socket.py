"""A listening UNIX socket: taken over from the dead, and from nobody else."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

MODE: Final = 0o660  # the mail server in front is in the socket's group
_KNOCK: Final = 1.0  # seconds; a full backlog is somebody's too


def bind_unix(path: Path, mode: int) -> socket.socket:
    """A bound socket at `path`, which the process's umask has no say in.

    A socket that a killed process left behind is replaced. Raises OSError: EADDRINUSE where somebody
    still listens there, EEXIST where something lies there that is no socket.
    """
    _clear(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Never open to more than `mode` allows, not even between two system calls. (Only at a start, when
    # nothing else makes files.)
    umask = os.umask(0o777 & ~mode)
    try:
        bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(umask)
    return bound


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "something that is no socket lies there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        knocking.settimeout(_KNOCK)
        try:
            knocking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except TimeoutError:
            pass
    raise OSError(errno.EADDRINUSE, "another process listens there")
