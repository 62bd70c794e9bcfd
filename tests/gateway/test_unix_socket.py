"""A UNIX socket's path: taken over from the dead, and from nobody else."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from gateway.unix_socket import bind_unix


def test_its_mode_is_what_was_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    (tmp_path / "before").touch()
    for mode in (0o660, 0o600, 0o666):
        with bind_unix(tmp_path / f"{mode:o}", mode):
            assert (tmp_path / f"{mode:o}").stat().st_mode & 0o777 == mode
    (tmp_path / "after").touch()
    before, after = ((tmp_path / name).stat().st_mode for name in ("before", "after"))
    assert after == before, "the process's umask is as it was"


def test_what_a_killed_process_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lmtp.sock"
    bind_unix(path, 0o660).close()
    assert path.is_socket()
    with bind_unix(path, 0o660) as bound, socket.socket(socket.AF_UNIX) as client:
        bound.listen(1)
        client.connect(str(path))


def test_a_socket_that_somebody_listens_on_stays_theirs(tmp_path: Path) -> None:
    path = tmp_path / "lmtp.sock"
    with bind_unix(path, 0o660) as theirs, socket.socket(socket.AF_UNIX) as client:
        theirs.listen(1)
        with pytest.raises(OSError, match="another process listens there") as refused:
            bind_unix(path, 0o660)
        assert refused.value.errno == errno.EADDRINUSE
        client.connect(str(path))


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path, precious = tmp_path / "lmtp.sock", tmp_path / "precious"
    precious.write_text("mail")
    match kind:
        case "file":
            path.write_text("mail")
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(precious)
    with pytest.raises(OSError, match="no socket lies there"):
        bind_unix(path, 0o660)
    assert path.exists()
    assert precious.read_text() == "mail"
