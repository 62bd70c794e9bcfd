"""The control plane's clients (boto3): for what is done rarely, and in a thread.

Provisioning, Object Lock, the versions of objects, key services. Mail goes through `storage.objects`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from storage.errors import Forbidden, Rejected, Unavailable
from storage.settings import KmsSettings, RegionSettings

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client

_FOR_NOW: Final = frozenset(
    {"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "Throttling"}
)


def s3_client(settings: RegionSettings, *, connections: int = 10) -> S3Client:
    """A thread-safe S3 client with the region's own credentials and deadline.

    `connections` are kept open: one for each thread that will use the client at a time.
    """
    config = _config(settings).merge(Config(max_pool_connections=connections))
    return _session(settings).client("s3", endpoint_url=settings.endpoint, config=config)


def kms_client(settings: RegionSettings, kms: KmsSettings) -> KMSClient:
    """A thread-safe KMS client in the region: no key service of another region can answer."""
    return _session(settings).client("kms", endpoint_url=kms.endpoint, config=_config(settings))


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


def _session(settings: RegionSettings) -> boto3.session.Session:
    return boto3.session.Session(
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        region_name=settings.region.code.value,
    )


def _config(settings: RegionSettings) -> Config:
    return Config(
        connect_timeout=min(3.0, settings.deadline_seconds),
        read_timeout=settings.deadline_seconds,
        retries={"mode": "standard", "total_max_attempts": 2},
        s3={"addressing_style": "path"},
        user_agent_extra="situs",
    )
