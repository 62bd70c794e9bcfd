"""What an operator says of a region: where it is, how to reach it, what keeps its keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from policy.geography import Region
from storage.credentials import Credentials
from storage.engine import Access

SIX_YEARS_IN_DAYS: Final = 2192


@final
@dataclass(frozen=True, slots=True)
class KeyFileSettings:
    """A 32-byte key in a file of mode 0600: one machine."""

    path: Path


@final
@dataclass(frozen=True, slots=True)
class KmsSettings:
    """An AWS KMS key of the region: its id, ARN or `alias/NAME`. `endpoint` is for stand-ins."""

    key_id: str
    endpoint: str | None = None


@final
@dataclass(frozen=True, slots=True)
class RegionSettings:
    """One region, as configured. Nothing here is proven: that is `storage.proof`."""

    region: Region
    endpoint: str
    bucket: str
    audit_bucket: str
    credentials: Credentials
    # None: a process that may write here and never read, such as an ingress in another country.
    key_service: KeyFileSettings | KmsSettings | None
    # The audit bucket's default retention (S3 Object Lock, COMPLIANCE). A log that may be wiped
    # before the last appeal in its matters is no record; nothing in the law asks for one figure.
    audit_retention_days: int = SIX_YEARS_IN_DAYS
    deadline_seconds: float = 10.0  # of every call to the region's engine

    @property
    def access(self) -> Access:
        return Access(self.region.code, self.endpoint, self.credentials)
