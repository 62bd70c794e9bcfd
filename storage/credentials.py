"""As whom a region is reached: keys as they are, or a source of keys that end and are renewed.

What AWS hands out to a role lasts for minutes or hours. botocore fetches and renews it, from wherever
its chain finds it (https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html);
obstore and boto3 sign with what it holds, so both change keys at the same time and only one asks.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import botocore.credentials
import botocore.session
from botocore.exceptions import BotoCoreError

from policy.geography import RegionCode
from storage.errors import Unavailable

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3CredentialProvider

# Held by whoever needs AWS_* of the environment to be there, or not to be there: it is the process's.
ENVIRONMENT: Final = threading.Lock()

# obstore asks again for keys five minutes before they expire. botocore renews them a quarter of an
# hour before they do, so keys that are handed out for six minutes are asked for each minute and are
# never older than what botocore holds.
_HANDED_OUT_FOR: Final = timedelta(minutes=6)


@final
@dataclass(frozen=True, slots=True)
class StaticKeys:
    """A pair of keys that stay until somebody changes them. The secret is not in the repr."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@final
@dataclass(frozen=True, slots=True)
class Profile:
    """A profile in a file of AWS's form, which may name a role to assume. `file`: None is ~/.aws."""

    name: str
    file: Path | None = None


@final
@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine itself has: AWS_* of the environment, a web identity, a container's or host's role."""


Credentials = StaticKeys | Profile | Machine


def renewed(source: Profile | Machine, region: RegionCode) -> botocore.credentials.Credentials:
    """The keys of a source, shared by all clients of the process. May wait for the network.

    Raises Unavailable where the source has none: a host's role may come back.
    """
    with ENVIRONMENT:
        return _found(source, region)


def renewing(source: Profile | Machine, region: RegionCode) -> S3CredentialProvider:
    """obstore's side of the same. Keys are fetched in a thread: obstore's own would keep others waiting."""

    def now() -> S3Credential:
        keys = renewed(source, region).get_frozen_credentials()
        if keys.access_key is None or keys.secret_key is None:
            raise Unavailable(f"region {region}: half a pair of credentials")
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + _HANDED_OUT_FOR,
        }

    async def provide() -> S3Credential:
        return await asyncio.to_thread(now)

    return provide


@cache
def _found(source: Profile | Machine, region: RegionCode) -> botocore.credentials.Credentials:
    match source:
        case Profile(name, None):
            session, said = botocore.session.Session(profile=name), f"profile {name!r}"
        case Profile(name, file):
            path = str(file)
            files = dict.fromkeys(("config_file", "credentials_file"), (None, None, path, None))
            session = botocore.session.Session(files, profile=name)
            said = f"profile {name!r} in {path}"
        case Machine():
            session, said = botocore.session.Session(), "the machine's own credentials"
    # A role is assumed at the region's own STS: keys for it do not depend on a region abroad.
    session.set_config_variable("region", region.value)
    try:
        keys = session.get_credentials()
    except BotoCoreError as error:
        raise Unavailable(f"region {region}: no credentials from {said}: {error}") from error
    if keys is None:
        raise Unavailable(f"region {region}: no credentials from {said}")
    return keys
