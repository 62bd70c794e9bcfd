"""What the disclosure gateway stands on: one chamber for each region served, and the law over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import final

from gateway.disclosure.oidc import IssuerSettings
from gateway.disclosure.terms import Terms
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
