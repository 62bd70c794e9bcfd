"""What the disclosure gateway stands on: one chamber for each region served, and the law over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import metadata
from typing import Final, final

from gateway.disclosure.oidc import IssuerSettings
from policy.decision import Setting
from policy.geography import Jurisdiction, Region, RegionCode
from policy.lawbook import Lawbook
from policy.verification import Trust
from storage.audit.log import AuditLog
from storage.audit.pseudonym import Pseudonyms
from storage.directory import Directory
from storage.identity import Clock
from storage.region import RegionStore
from storage.vault import Vault

MEBIBYTE: Final = 1 << 20


@final
@dataclass(frozen=True, slots=True)
class Chamber:
    """One region's share of the gateway: its mail, its sealed documents, its log."""

    store: RegionStore
    vault: Vault
    log: AuditLog
    pseudonyms: Pseudonyms

    @property
    def region(self) -> Region:
        return self.store.region


@final
@dataclass(frozen=True, slots=True)
class Terms:
    """How the gateway works, where the law leaves it open. Raises ValueError for less than is safe.

    `body_limit` in octets; `body_time` for a whole request body; `part_size`: octets of plaintext
    in a part, 64 MiB at most; `package_lifetime`: how long a package can be fetched;
    `approval_wait`: how long an approval's answer may wait for the package to be made;
    `attempts_a_minute`: requests of one operator; `strangers_a_minute`: of one peer without a
    valid token; `nearly_due`: when a deadline begins to be called near.
    """

    body_limit: int = MEBIBYTE
    body_time: timedelta = timedelta(seconds=20)
    part_size: int = 32 * MEBIBYTE
    package_lifetime: timedelta = timedelta(days=14)
    approval_wait: timedelta = timedelta(seconds=25)
    attempts_a_minute: int = 600
    strangers_a_minute: int = 600
    nearly_due: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        if not MEBIBYTE // 16 <= self.part_size <= 64 * MEBIBYTE:
            raise ValueError("part_size: from 64 KiB to 64 MiB is expected")
        if not 1024 <= self.body_limit <= 16 * MEBIBYTE:
            raise ValueError("body_limit: from 1 KiB to 16 MiB is expected")


@final
@dataclass(frozen=True, slots=True)
class Office:
    """Everything that the gateway needs, handed in: it opens nothing itself and reads no clock of its own.

    `chambers` are the regions that this process serves, and holds the right to read. `seat` is
    one of them: attempts by people who are cleared for nothing are recorded there.
    `gateways`: where other regions' gateways answer, as far as the configuration says.
    `oidc`: whose sign-ins count, besides our own tokens.
    `trust` gives the trust list as it stands now: a revocation must not wait for a restart.
    """

    chambers: Mapping[RegionCode, Chamber]
    directory: Directory
    lawbook: Lawbook
    trust: Callable[[], Trust]
    provider_entities: frozenset[Jurisdiction]
    seat: RegionCode
    clock: Clock
    gateways: Mapping[RegionCode, str] = field(default_factory=dict)
    terms: Terms = field(default_factory=Terms)
    oidc: IssuerSettings | None = None

    def __post_init__(self) -> None:
        if self.seat not in self.chambers:
            raise ValueError(f"the seat {self.seat} is not one of the regions served")

    def setting(self, region: Region) -> Setting:
        """The place and the provider, as a decision looks at them."""
        return Setting(region, self.provider_entities)


def software() -> str:
    """Name and version, for the custody record."""
    return f"situs {metadata.version('situs')}"
