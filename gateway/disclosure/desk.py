"""What the routes share: the office, its dockets, who may enter, and the packages under way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar, final

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry

from gateway.disclosure import hold_models, models
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.authentication import Authentication
from gateway.disclosure.docket import Docket, Filed
from gateway.disclosure.lifecycle import DisclosureId
from gateway.disclosure.metrics import Metrics
from gateway.disclosure.office import Chamber, Office
from gateway.disclosure.oidc import Issuer
from gateway.disclosure.presentation import present, represented
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import RateLimit, peer_of, presented
from gateway.disclosure.turns import Turns
from policy.clearance import Clearance, NotCleared, Role
from policy.geography import RegionCode
from storage.errors import NotFound, StorageError, Unavailable
from storage.holds import HoldRegister
from storage.operators import OperatorRegister, person
from storage.versions import Versions

ANY: Final = "*"
_T = TypeVar("_T")


@final
class Desk:
    """An office at work."""

    def __init__(
        self, office: Office, monotonic: Callable[[], float], registry: CollectorRegistry | None = None
    ) -> None:
        self.office: Final = office
        self.metrics: Final = Metrics(registry)
        self.turns: Final = Turns()
        self.operator_rate: Final = RateLimit(office.terms.attempts_a_minute, monotonic)
        self.stranger_rate: Final = RateLimit(office.terms.strangers_a_minute, monotonic)
        self.dockets: Final[Mapping[RegionCode, Docket]] = {
            region: Docket(chamber.vault) for region, chamber in office.chambers.items()
        }
        self.operators: Final[Mapping[RegionCode, OperatorRegister]] = {
            region: OperatorRegister(chamber.vault) for region, chamber in office.chambers.items()
        }
        issuer = Issuer(office.oidc, office.clock) if office.oidc else None
        self.authentication: Final = Authentication(self.operators, office.clock, issuer=issuer)
        self._holds: Final[dict[RegionCode, HoldRegister]] = {}

    def attempt(self) -> Attempt:
        """A call that has just come in."""
        return Attempt(self.office, self.metrics)

    def holds(self, region: RegionCode) -> HoldRegister:
        """A served region's hold register, opened when it is first asked for."""
        if region not in self._holds:
            chamber = self.office.chambers[region]
            self._holds[region] = HoldRegister(
                chamber.vault, Versions(chamber.store), chamber.log, chamber.pseudonyms, self.office.clock
            )
        return self._holds[region]

    def close(self) -> None:
        """Let go of what was opened here."""
        for register in self._holds.values():
            register.versions.close()

    async def find(self, attempt: Attempt, text: str) -> tuple[Chamber, Filed]:
        """A disclosure that the asker may see: one in a region where they are cleared for anything.

        Raises Problem: 404 for what is in no region served here, 403 `clearance` for a region that
        they are not cleared for. An id has 74 bits of chance: whoever can name one has been told
        of it, and the 403 tells them nothing more.
        """
        attempt.is_whole()
        region, filed = await self._search(text)
        if not attempt.asker.is_known_in(region):
            raise Problem(Kind.CLEARANCE)
        chamber, case = self.office.chambers[region], filed.disclosure.case
        attempt.enter(chamber, case.account)
        attempt.learn(disclosure=str(case.id), instrument=case.instrument, issuer=case.issuer)
        require_match(attempt, lambda: present(filed.disclosure))
        return chamber, filed

    async def _search(self, text: str) -> tuple[RegionCode, Filed]:
        try:
            disclosure = DisclosureId.parse(text)
        except ValueError:
            raise Problem(Kind.NOT_FOUND) from None
        return await in_one_of(self.dockets, lambda region: self.dockets[region].get(disclosure))


DESK: Final = web.AppKey("desk", Desk)


async def in_one_of(
    regions: Iterable[RegionCode], read: Callable[[RegionCode], Awaitable[_T]]
) -> tuple[RegionCode, _T]:
    """What the first of the regions that has it gives to `read`.

    Raises Problem 404 where none has it, and Unavailable where one that is silent might.
    """
    silent: Unavailable | None = None
    for region in regions:
        try:
            return region, await read(region)
        except NotFound:
            continue
        except Unavailable as error:
            silent = error
    if silent is not None:
        raise silent
    raise Problem(Kind.NOT_FOUND)


def require_match(attempt: Attempt, resource: Callable[[], models.Disclosure | hold_models.Hold]) -> None:
    """RFC 9110 13.1.1: a change is made to what the caller has read, or not at all. Raises Problem 412."""
    if attempt.expects is None or any(each.value == ANY for each in attempt.expects):
        return
    tag = represented(resource()).tag
    if not any(each.value == tag and not each.is_weak for each in attempt.expects):
        raise Problem(Kind.STALE, "what stands is not what If-Match names")


async def admitted(request: web.Request, attempt: Attempt) -> None:
    """Authenticate, within the rates. Raises 401; 429, which alone is not an entry in the log.

    Whoever floods the gateway must not be able to flood the log: what is over the rate is not
    read, not answered and not an attempt. A stranger's is taken before anything is looked up, so that many
    at once are held to it as well, and given back to who turns out to be none.
    """
    desk, peer = request.app[DESK], peer_of(request)
    taken = False

    def stranger() -> None:
        nonlocal taken
        desk.stranger_rate.take(peer)
        taken = True

    try:
        asker = await attempt.authenticate(desk.authentication, presented(request, attempt.now), stranger)
    except StorageError:  # nobody can say who it was
        if taken:
            desk.stranger_rate.give_back(peer)
        raise
    if taken:
        desk.stranger_rate.give_back(peer)
    desk.operator_rate.take(person(asker.name))  # with however many credentials
    if request.method == hdrs.METH_POST:
        attempt.expects = request.if_match


def cleared(attempt: Attempt, role: Role, region: RegionCode) -> Clearance:
    """The asker's clearance for a role in a region where they have one. Raises 403 `role`."""
    try:
        return attempt.asker.cleared(role, region)
    except NotCleared:
        raise Problem(Kind.ROLE, f"the role {role} in {region} is needed") from None
