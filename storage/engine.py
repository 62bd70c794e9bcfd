"""The engine behind a bucket: how its client is made, and what its answers mean.

obstore's errors tell too little apart by class, so the HTTP status in their text decides, and
never a word of the body where a status will do: a balancer's page is not an answer of S3.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from obstore.exceptions import BaseError
from obstore.store import S3Store

from policy.geography import RegionCode
from storage.credentials import ENVIRONMENT, Credentials, StaticKeys, renewing

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

EngineError = (BaseError, OSError)  # what obstore raises; FileNotFoundError is its 404

# One client timeout for an attempt: a connection that died silently leaves time for one more.
ATTEMPT_SHARE: Final = 0.6
CONNECT_SECONDS: Final = 3.0
_STATUS: Final = re.compile(r"status code: (\d{3})")


@dataclass(frozen=True, slots=True)
class Access:
    """Where a region's buckets are reached, and as whom."""

    region: RegionCode
    endpoint: str
    credentials: Credentials


class Verdict(Enum):
    """What an engine's answer means for the one who asked."""

    ABSENT = auto()
    TAKEN = auto()  # 412: the condition of a conditional write does not hold
    RACING = auto()  # 409: another conditional write is in progress, this one took no effect
    AGAIN = auto()  # no answer, or one that promises nothing: the request may have taken effect
    NOWHERE = auto()  # 404 for the bucket, or a proxy's page: no proof that the object is absent
    BEYOND = auto()  # 416
    FORBIDDEN = auto()
    REJECTED = auto()


def verdict(error: BaseException) -> Verdict:
    """Read one of `EngineError`."""
    text = str(error)
    found = _STATUS.search(text)
    status = int(found.group(1)) if found else None
    match status:
        case 404 if "NoSuchKey" in text:
            return Verdict.TAKEN if "precondition" in text else Verdict.ABSENT
        case 404:
            return Verdict.NOWHERE
        case 412:
            return Verdict.TAKEN
        case 409:
            return Verdict.RACING
        case 416:
            return Verdict.BEYOND
        case 401 | 403:
            return Verdict.FORBIDDEN
        case 408 | 425 | 429:
            return Verdict.AGAIN
        case 400 if "RequestTimeout" in text:
            return Verdict.AGAIN
        case int() if 300 <= status < 500:  # a redirect too: nothing follows mail to another host
            return Verdict.REJECTED
        case _:
            return Verdict.AGAIN


def summary(error: BaseException) -> str:
    """The status code, or the first line without the URL: what a log may show."""
    text = str(error)
    if found := _STATUS.search(text):
        return f"HTTP {found.group(1)}"
    return text.splitlines()[0].rpartition(" - ")[2][:200]


class Sends(Enum):
    """What a client is for, and so which headers go with each of its requests."""

    ANYTHING = auto()
    PUTS = auto()
    PUTS_UNDER_HOLD = auto()


def open_store(name: str, access: Access, deadline: float, sends: Sends = Sends.ANYTHING) -> S3Store:
    """A client for one bucket, without retries of its own and without what AWS_* variables say."""
    attempt = timedelta(seconds=deadline * ATTEMPT_SHARE)
    options: ClientConfig = {
        "allow_http": access.endpoint.startswith("http://"),
        "connect_timeout": min(attempt, timedelta(seconds=CONNECT_SECONDS)),
        "timeout": attempt,
        "user_agent": "situs",
    }
    config: S3Config = {
        "endpoint": access.endpoint,
        "region": access.region.value,
        "checksum_algorithm": "sha256",
        "virtual_hosted_style_request": False,
        "disable_bulk_delete": True,
    }
    provider = None
    if isinstance(access.credentials, StaticKeys):
        config["access_key_id"] = access.credentials.access_key_id
        config["secret_access_key"] = access.credentials.secret_access_key
    else:
        provider = renewing(access.credentials, access.region)
    # S3 wants each put's checksum where Object Lock may retain the object (the audit bucket), and
    # obstore has no parameter for the header that announces it, nor for a legal hold: they go
    # with every request of a client. It signs a listing without them, so puts have clients of
    # their own.
    headers: dict[str, str] = {}
    if sends is not Sends.ANYTHING:
        headers["x-amz-sdk-checksum-algorithm"] = "SHA256"
    if sends is Sends.PUTS_UNDER_HOLD:
        headers["x-amz-object-lock-legal-hold"] = "ON"
    if headers:
        options["default_headers"] = headers
    with _no_ambient_aws():
        return S3Store(
            name,
            config=config,
            client_options=options,
            retry_config={"max_retries": 0, "retry_timeout": attempt},
            credential_provider=provider,
        )


@contextlib.contextmanager
def _no_ambient_aws() -> Iterator[None]:
    """Hide AWS_* of the environment while a store is made.

    obstore reads them as defaults, and some cannot be overridden: another program's session token
    or encryption setting would go with every request to every region.
    """
    with ENVIRONMENT:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
        try:
            yield
        finally:
            os.environ.update(hidden)
