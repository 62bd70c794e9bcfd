"""The control plane's clients (boto3): for what is done rarely, and in a thread.

Provisioning, Object Lock, the versions of objects, key services. Mail goes through `storage.objects`.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

import boto3
import botocore.credentials
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from storage.credentials import StaticKeys, renewed
from storage.engine import Access
from storage.errors import Forbidden, Rejected, Unavailable
from storage.settings import KmsSettings, RegionSettings

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client

_FOR_NOW: Final = frozenset(
    {"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "Throttling"}
)
_ROOT: Final = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<([A-Za-z]+)")
_LISTINGS: Final = {"ListObjectsV2": b"ListBucketResult", "ListObjectVersions": b"ListVersionsResult"}


class NotTheEngine(BotoCoreError):
    """An answer with a good status that is not S3's, such as a balancer's web page."""

    fmt = "{operation} was answered with something that is not S3's"


def s3_client(settings: RegionSettings, *, connections: int = 10) -> S3Client:
    """A thread-safe S3 client with the region's own credentials and deadline.

    `connections` are kept open: one for each thread that will use the client at a time.
    """
    return s3_client_of(settings.access, settings.deadline_seconds, connections=connections)


def s3_client_of(access: Access, deadline: float, *, connections: int = 10) -> S3Client:
    """The same by the region's access; `deadline` in seconds."""
    config = _config(deadline).merge(Config(max_pool_connections=connections))
    client = _session(access).client("s3", endpoint_url=access.endpoint, config=config)
    client.meta.events.register("before-parse.s3", _must_be_the_engines)
    client.meta.events.register("before-parameter-build.s3.ListObjectVersions", _without_empty_markers)
    return client


def kms_client(settings: RegionSettings, kms: KmsSettings) -> KMSClient:
    """A thread-safe KMS client in the region: no key service of another region can answer."""
    config = _config(settings.deadline_seconds)
    return _session(settings.access).client("kms", endpoint_url=kms.endpoint, config=config)


def error_code(error: ClientError) -> str:
    """The engine's own word for what is wrong, such as `NoSuchBucket`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def raise_ours(error: ClientError | BotoCoreError, what: str) -> NoReturn:
    """Turn a boto3 error into one of `storage.errors`; `what` says what was asked of whom."""
    if isinstance(error, BotoCoreError):
        raise Unavailable(f"{what}: {type(error).__name__}") from error
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = error_code(error)
    # SeaweedFS says that it does not know an operation with a 501: trying again will not help.
    if code in _FOR_NOW or (status >= 500 and status != 501):
        raise Unavailable(f"{what}: {code} ({status})") from error
    if status in (401, 403):
        raise Forbidden(f"{what}: {code}") from error
    raise Rejected(f"{what}: {code} ({status})") from error


def _without_empty_markers(params: dict[str, Any], **_: object) -> None:
    """A first page has no markers. moto 5.2.5 takes an empty one for a key, and skips a version."""
    for name in ("KeyMarker", "VersionIdMarker"):
        if not params.get(name):
            params.pop(name, None)


def _must_be_the_engines(operation_model: OperationModel, response_dict: dict[str, Any], **_: object) -> None:
    """Refuse what botocore would read as an empty answer: no rules, no versions, nothing more.

    It takes any XML for the answer to any question, and leaves out what it does not find.
    """
    body = response_dict["body"]
    if operation_model.has_streaming_output or response_dict["status_code"] >= 300 or not body:
        return
    root = _ROOT.match(body)
    expected = _LISTINGS.get(operation_model.name)
    if root is None or root.group(1).lower() == b"html" or (expected and root.group(1) != expected):
        raise NotTheEngine(operation=operation_model.name)


def _session(access: Access) -> boto3.session.Session:
    """Where a client goes is said by the region's settings alone, not by a file of the host's."""
    core = botocore.session.Session(
        {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    # AWS_ENDPOINT_URL_KMS of the environment would have another region's service unwrap these keys.
    core.set_config_variable("ignore_configured_endpoint_urls", True)
    core.register_component("data_loader", _shared_loader())
    core.register_component("credential_provider", _Keys(access))
    return boto3.session.Session(region_name=access.region.value, botocore_session=core)


class _Keys:
    """What botocore asks for keys, once for each client: those of the region, and no others."""

    def __init__(self, access: Access) -> None:
        self._access: Final = access

    def load_credentials(self) -> botocore.credentials.Credentials:
        """Raises Unavailable where there are none."""
        match self._access.credentials:
            case StaticKeys(key_id, secret):
                return botocore.credentials.Credentials(key_id, secret)
            case source:
                return renewed(source, self._access.region)


@cache
def _shared_loader() -> botocore.loaders.Loader:
    """AWS's service descriptions, read once: they are a tenth of a second of CPU for each client."""
    return botocore.loaders.create_loader()


def _config(deadline: float) -> Config:
    return Config(
        connect_timeout=min(3.0, deadline),
        read_timeout=deadline,
        retries={"mode": "standard", "total_max_attempts": 2},
        s3={"addressing_style": "path"},
        user_agent_extra="situs",
    )
