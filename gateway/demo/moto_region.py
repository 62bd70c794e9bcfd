"""One region's AWS stand-in: a moto server process of its own, for the demo and the tests.

Run as `python -m gateway.demo.moto_region [--port N]`. It prints `{"port": N}` once it listens on
127.0.0.1 and ends when its standard input closes: a parent that dies, however it dies, takes it along.

A process each, because two moto servers in one process share all their buckets. moto itself takes
any credentials, so a guard in front refuses whoever does not present this region's access key: a
client that confuses two regions' credentials fails here as it would at AWS.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIEnvironment

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

ACCESS_KEY_ENV: Final = "SITUS_ENGINE_ACCESS_KEY_ID"

_CREDENTIAL: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/")
_FOREIGN: Final = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InvalidAccessKeyId</Code><Message>The access key is not this region's.</Message></Error>"""

_Wsgi = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


class _Quiet(MotoRequestHandler):
    """No line per request: a request's path is nobody's business but the region's."""

    def log(self, type: str, message: str, *args: Any) -> None:
        return


def guarded(app: _Wsgi, access_key_id: str) -> _Wsgi:
    """`app` for those who sign with `access_key_id`; 403 InvalidAccessKeyId for all others."""

    def guard(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        presented = _CREDENTIAL.match(environ.get("HTTP_AUTHORIZATION", ""))
        if presented is not None and presented.group(1) == access_key_id:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Connection", "close")])
        return [_FOREIGN]

    return guard


def end_with_standard_input() -> None:
    """Leave the process as soon as whoever holds the other end of standard input is gone."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    port: int = parser.parse_args().port
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    app = guarded(DomainDispatcherApplication(create_backend_app), os.environ[ACCESS_KEY_ENV])
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
    sys.stdout.write(json.dumps({"port": server.port}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
