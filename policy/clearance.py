"""Who may do what, where: operator roles, and the second pair of eyes.

A `Clearance` is proof that an operator holds a role in one region; an `ApprovedPermit` is
proof that somebody other than the one who asked has looked. Neither can be made except
by the functions here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, final

from policy.decision import Permit
from policy.geography import RegionCode


class Role(StrEnum):
    """What an operator may do in a region."""

    INTAKE = "intake"  # brings orders, fetches packages
    APPROVER = "approver"  # approves or rejects what somebody else brought
    CUSTODIAN = "custodian"  # places and releases holds
    AUDITOR = "auditor"  # reads the log joined with its records
    ADMINISTRATOR = "administrator"  # operators, accounts, lawbook


class NotCleared(Exception):
    """The operator holds no such role in that region. Says nothing of what is there."""


class SamePerson(Exception):
    """The one who asked cannot approve."""


class RolesConflict(ValueError):
    """Roles that no one person may hold at once."""


@final
@dataclass(frozen=True, slots=True)
class Operator:
    """A person who works at the gateway: the same roles in each of `regions`."""

    name: str
    roles: frozenset[Role]
    regions: frozenset[RegionCode]

    def __post_init__(self) -> None:
        # Whoever could approve a disclosure, release a hold and make operators could do
        # all three alone, and then write himself out of the list.
        alone = {Role.APPROVER, Role.CUSTODIAN, Role.ADMINISTRATOR}
        if alone <= self.roles:
            raise RolesConflict("nobody may be approver, custodian and administrator at once")


_MINT: Final = object()


@final
class Clearance:
    """Proof that `operator` holds `role` in `region`. Made by `clear` alone."""

    __slots__ = ("operator", "region", "role")

    def __init__(self, operator: Operator, role: Role, region: RegionCode, *, mint: object) -> None:
        if mint is not _MINT:
            raise TypeError("a Clearance is made by policy.clearance.clear")
        self.operator: Final = operator
        self.role: Final = role
        self.region: Final = region


def clear(operator: Operator, role: Role, region: RegionCode) -> Clearance:
    """The operator's clearance for a role in a region. Raises NotCleared."""
    if role not in operator.roles or region not in operator.regions:
        raise NotCleared(f"not cleared as {role} for {region}")
    return Clearance(operator, role, region, mint=_MINT)


@final
class ApprovedPermit:
    """A permit that a second person, cleared for the region, has approved."""

    __slots__ = ("approved_by", "asked_by", "permit")

    def __init__(self, permit: Permit, asked_by: str, approved_by: str, *, mint: object) -> None:
        if mint is not _MINT:
            raise TypeError("an ApprovedPermit is made by policy.clearance.approve")
        self.permit: Final = permit
        self.asked_by: Final = asked_by
        self.approved_by: Final = approved_by


def approve(permit: Permit, *, asked_by: str, approver: Clearance) -> ApprovedPermit:
    """Four eyes. Raises SamePerson, or NotCleared for a clearance of another role or region."""
    if approver.role is not Role.APPROVER or approver.region != permit.region.code:
        raise NotCleared(f"an approver's clearance for {permit.region.code} is needed")
    if approver.operator.name == asked_by:
        raise SamePerson("the one who asked cannot approve")
    return ApprovedPermit(permit, asked_by, approver.operator.name, mint=_MINT)
