"""Who has put a signature under an order, as far as the law asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from policy.geography import Jurisdiction
from policy.order import IssuerRole, SignatureRole


@final
@dataclass(frozen=True, slots=True)
class Signatory:
    """One signature: what it does, under whose law, and the offices of the one who signed.

    From `policy.verification` the offices come out of the trust list; in a scenario for
    `situs law explain` they are what the scenario says. `name` is the authority's public name.
    """

    role: SignatureRole
    jurisdiction: Jurisdiction
    issuer_roles: frozenset[IssuerRole]
    name: str
