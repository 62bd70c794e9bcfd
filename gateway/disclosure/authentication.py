"""Who is asking: a token, a sign-in elsewhere, or a key; against the operator records of the regions served.

Each region's record clears for that region alone. Two tokens of one person are one person:
four eyes compare people, not tokens.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, final

from gateway.disclosure.oidc import Issuer, NotOurs
from policy.clearance import Clearance, NotCleared, Operator, Role, clear
from policy.geography import RegionCode
from storage.errors import NotFound, StorageError, Unavailable
from storage.identity import Clock
from storage.operators import Credential, HeldKey, OperatorRecord, OperatorRegister, Token, person

# RFC 6750 2.1: the scheme is case-insensitive (RFC 9110 11.1), the token is b64token.
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*)\Z", re.IGNORECASE)
_CACHED: Final = 1024


class Unauthenticated(Exception):
    """No operator stands behind the request. `reason` is for the log, never for the caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


@final
@dataclass(frozen=True, slots=True)
class Asker:
    """An authenticated person, and what each region's own record clears them for.

    `name` is as their record spells it; the operators carry the spelling that people are
    compared by. `elsewhere`: regions that the records name and this process does not serve.
    `silent`: regions that the records name and that could not be asked for their own.
    """

    token: str
    name: str
    operators: Mapping[RegionCode, Operator]
    elsewhere: frozenset[RegionCode]
    silent: frozenset[RegionCode] = frozenset()

    def cleared(self, role: Role, region: RegionCode) -> Clearance:
        """Raises NotCleared, in the same words whether or not the region has a record of them.

        Raises Unavailable for a region that other regions' records say would have one, and that
        cannot be read now: who has it elsewhere learns nothing by the difference.
        """
        if not self.is_known_in(region):
            raise NotCleared(f"not cleared as {role} for {region}")
        return clear(self.operators[region], role, region)

    def is_known_in(self, region: RegionCode) -> bool:
        """Whether that region has a record of them. Raises Unavailable where it could not be asked."""
        if region in self.silent:
            raise Unavailable(f"region {region} cannot be asked for its operators")
        return region in self.operators

    def regions(self, *roles: Role) -> frozenset[RegionCode]:
        """Where they hold any of these roles, as far as is known."""
        return frozenset(region for region, found in self.operators.items() if found.roles & set(roles))

    def everywhere(self, *roles: Role) -> tuple[RegionCode, ...]:
        """Where they hold any of these roles, in order, for a list of it all.

        Raises Unavailable where one of their regions could not be asked: without it, a list would look whole.
        """
        if self.silent:
            raise Unavailable(f"regions {', '.join(map(str, sorted(self.silent)))} cannot be asked")
        return tuple(sorted(self.regions(*roles)))


@final
@dataclass(frozen=True, slots=True)
class _Verified:
    """`right`: what records kept of the credential when it was found to be theirs; never computed twice."""

    asker: Asker
    until: datetime
    right: frozenset[str]


@final
@dataclass(frozen=True, slots=True)
class Presented:
    """What a request brings to show who is asking. `spki`: SHA-256 of the TLS client certificate's key."""

    authorization: str | None
    spki: str | None = None


class Authentication:
    """Turns what a request brings into an `Asker`.

    A token that was verified is remembered, by its SHA-256 and in memory only, for `remember`:
    so long may a revoked token go on working, which the runbook says. One that expires is over at that
    very moment. Afterwards the records are read again, and what they keep is known to be right already.
    """

    def __init__(
        self,
        registers: Mapping[RegionCode, OperatorRegister],
        clock: Clock,
        *,
        remember: timedelta = timedelta(seconds=15),
        at_once: int = 2,
        issuer: Issuer | None = None,
    ) -> None:
        """`at_once` bounds how many hashes are computed together: 64 MiB and a core each."""
        self._registers: Final = registers
        self._clock: Final = clock
        self._issuer: Final = issuer
        self._remember: Final = remember
        self._hashing: Final = asyncio.Semaphore(at_once)
        self._verified: Final[OrderedDict[bytes, _Verified]] = OrderedDict()

    async def authenticate(self, presented: Presented, stranger: Callable[[], None] = lambda: None) -> Asker:
        """Raises Unauthenticated; Unavailable where a region that might know them is down.

        `stranger` is called before any more is done for what has not been found good here lately, and may
        raise: whoever was here before is not held to what strangers from the same address do.
        """
        try:
            credential = await self._credential(presented)
        except Unauthenticated:
            stranger()
            raise
        now = self._clock()
        known = self._verified.get(credential.fingerprint)
        if known is None:
            stranger()
        elif now < known.until:
            self._verified.move_to_end(credential.fingerprint)
            return known.asker
        try:
            return await self._look_up(credential, now, known.right if known else frozenset())
        except Unauthenticated:
            self._verified.pop(credential.fingerprint, None)
            raise

    async def _credential(self, presented: Presented) -> Credential:
        """The header, where there is one; else the key that the TLS handshake has proven."""
        if presented.authorization is None:
            if presented.spki is None:
                raise Unauthenticated("neither an Authorization header nor a client certificate")
            return HeldKey(presented.spki)
        found = _BEARER.match(presented.authorization)
        if not found:
            raise Unauthenticated("not a bearer credential (RFC 6750 2.1)")
        text = found.group(1)
        if (token := Token.parse(text)) is not None:
            return token
        if self._issuer is None or text.count(".") != 2:
            raise Unauthenticated("not the form of an operator token")
        try:
            return await self._issuer.identify(text)
        except NotOurs as error:
            raise Unauthenticated(str(error)) from None

    async def _look_up(self, credential: Credential, now: datetime, right: frozenset[str]) -> Asker:
        """Whose credential it is, by the records as they stand. What is found is remembered."""
        regions = tuple(self._registers)
        answers = await asyncio.gather(
            *(self._registers[region].get(credential.id) for region in regions), return_exceptions=True
        )
        records: dict[RegionCode, OperatorRecord] = {}
        silent: dict[RegionCode, StorageError] = {}
        for region, answer in zip(regions, answers, strict=True):
            match answer:
                case OperatorRecord():
                    records[region] = answer
                case NotFound():
                    pass
                case StorageError():
                    silent[region] = answer
                case BaseException():
                    raise answer
        vouched = await self._vouched(credential, records, now, right)
        if not vouched:
            if silent:
                raise Unavailable("a region that may know this operator cannot be read") from next(
                    iter(silent.values())
                )
            raise Unauthenticated("unknown, expired or revoked, or a wrong secret")
        asker = _asker(credential, vouched, frozenset(self._registers), frozenset(silent))
        ends = min(record.expires for record in vouched.values())
        # Half an answer is asked for again with the next request.
        until = now if silent else min(now + self._remember, ends)
        right = frozenset(record.credential for record in vouched.values())
        self._verified[credential.fingerprint] = _Verified(asker, until, right)
        self._verified.move_to_end(credential.fingerprint)
        while len(self._verified) > _CACHED:
            self._verified.popitem(last=False)
        return asker

    async def _vouched(
        self,
        credential: Credential,
        records: Mapping[RegionCode, OperatorRecord],
        now: datetime,
        known: frozenset[str],
    ) -> dict[RegionCode, OperatorRecord]:
        """The records in force, of their own region, that this is the credential of."""
        current = {
            region: record
            for region, record in records.items()
            if record.in_force(now) and region in record.regions and record.may_be_of(credential)
        }
        right = dict.fromkeys(known, True)
        for record in current.values():  # the regions' copies share one hash: computed once
            if record.credential not in right:
                async with self._hashing:
                    right[record.credential] = await asyncio.to_thread(credential.matches, record.credential)
        return {region: record for region, record in current.items() if right[record.credential]}


def _asker(
    credential: Credential,
    records: Mapping[RegionCode, OperatorRecord],
    served: frozenset[RegionCode],
    silent: frozenset[RegionCode],
) -> Asker:
    if len({person(record.name) for record in records.values()}) != 1:
        raise Unauthenticated("the regions' records of one credential name different people")
    name = next(iter(records.values())).name
    named = frozenset[RegionCode]().union(*(record.regions for record in records.values()))
    operators = {region: each.operator(region) for region, each in records.items()}
    return Asker(credential.id, name, operators, named - served, named & silent)
