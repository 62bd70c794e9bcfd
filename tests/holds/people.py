"""Operators with their clearances, in Ireland, and holds to place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from policy.address import Address
from policy.clearance import Clearance, Operator, Role, clear
from policy.geography import Jurisdiction, RegionCode
from policy.hold import MailboxScope, OrderBasis, OwnLitigation
from storage.holds import Terms
from storage.identity import AccountId

IE: Final = RegionCode.parse("eu-west-1")
DE: Final = RegionCode.parse("eu-central-1")
NOW: Final = datetime(2026, 11, 24, 9, tzinfo=UTC)

AOIFE: Final = Address.parse("aoife@example.ie")
LITIGATION: Final = OwnLitigation("Byrne v. Example Ltd, 2026/4711")
EPOC_PR: Final = OrderBasis(
    "eu.epoc-pr", "AZ-1", "Amtsgericht", Jurisdiction.parse("DE"), "sha256:" + "0" * 64
)


def cleared(name: str, role: Role = Role.CUSTODIAN, region: RegionCode = IE) -> Clearance:
    return clear(Operator(name, frozenset({role}), frozenset({region})), role, region)


NORA: Final = cleared("nora")
LIAM: Final = cleared("liam")


def on(account: AccountId | str, address: Address = AOIFE) -> Terms:
    """An open-ended litigation hold on the whole account."""
    return Terms(MailboxScope(str(account), address), LITIGATION)
