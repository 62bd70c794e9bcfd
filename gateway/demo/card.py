"""`demo.json`: where everything in the demo is, and who is who. The shape is CONTRACT's."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final


@final
@dataclass(frozen=True, slots=True)
class CardRegion:
    """One region's object store, with its own credentials, and its log's verifier key."""

    country: str
    endpoint: str
    bucket: str
    audit_bucket: str
    access_key_id: str
    secret_access_key: str
    audit_key: str


@final
@dataclass(frozen=True, slots=True)
class CardAccount:
    address: str
    home: str
    password: str


@final
@dataclass(frozen=True, slots=True)
class CardOperator:
    name: str
    roles: tuple[str, ...]
    regions: tuple[str, ...]
    token: str


@final
@dataclass(frozen=True, slots=True)
class CardAuthority:
    """An authority of the demo's PKI; `cert`, `key` and `chain` are PEM paths."""

    name: str
    jurisdiction: str
    roles: tuple[str, ...]
    cert: str
    key: str
    chain: str


@final
@dataclass(frozen=True, slots=True)
class Card:
    """Everything that somebody needs who wants to try the demo."""

    pid: int
    smtp: str
    lmtp: str
    imap: str
    gateway: str
    config: str
    regions: dict[str, CardRegion]
    accounts: tuple[CardAccount, ...]
    operators: tuple[CardOperator, ...]
    authorities: tuple[CardAuthority, ...]

    def write(self, path: Path) -> None:
        """Written whole or not at all, and for its owner alone: it holds tokens and passwords."""
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=1)
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> Card:
        """A card written earlier. Raises OSError, ValueError, KeyError or TypeError if it is none."""
        card: dict[str, Any] = json.loads(path.read_text())
        return cls(
            **{
                **card,
                "regions": {code: CardRegion(**region) for code, region in card["regions"].items()},
                "accounts": tuple(CardAccount(**account) for account in card["accounts"]),
                "operators": tuple(CardOperator(**_tuples(operator)) for operator in card["operators"]),
                "authorities": tuple(
                    CardAuthority(**_tuples(authority)) for authority in card["authorities"]
                ),
            }
        )

    def home(self, region: str) -> CardAccount:
        """The first account whose home is that region."""
        return next(account for account in self.accounts if account.home == region)

    def operator(self, role: str, region: str, *, other_than: str = "") -> CardOperator:
        """The first operator with that role in that region, other than the one named."""
        return next(
            operator
            for operator in self.operators
            if role in operator.roles and region in operator.regions and operator.name != other_than
        )

    def authority(self, jurisdiction: str, role: str) -> CardAuthority:
        """The first authority of that jurisdiction which holds that office."""
        return next(
            authority
            for authority in self.authorities
            if authority.jurisdiction == jurisdiction and role in authority.roles
        )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
