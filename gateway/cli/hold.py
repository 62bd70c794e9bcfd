"""`situs hold`: legal holds. Whoever gives these commands is a custodian, by token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.bar import Bar
from gateway.cli.configured import config_option
from gateway.cli.credentials import cleared, token_option
from gateway.cli.errand import about, parse_address, run
from gateway.cli.hold_words import (
    moment,
    parse_domain_name,
    parse_hold,
    query_of,
    show_hold,
    span_of,
    tell,
    told,
)
from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.cli.region import configured
from gateway.config import Config
from gateway.house import House
from gateway.law import packaged_lawbook
from gateway.trust import TrustDirectory
from policy.address import Address
from policy.clearance import Clearance, NotCleared, Role
from policy.geography import RegionCode
from policy.hold import (
    Basis,
    DomainScope,
    Hold,
    HoldId,
    MailboxScope,
    MatterScope,
    OrderBasis,
    OwnLitigation,
    Phase,
)
from policy.verification import MalformedOrder, Unverified, read_order, verify_order
from storage.audit.entry import Entry, Event
from storage.coverage import Coverage, Coverer, Proof
from storage.errors import NotFound
from storage.holds import HoldRegister, Terms
from storage.keeping import HoldKeeper
from storage.operators import Token
from storage.placing import place_on_address, scoped

_json_option = click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")


@click.group()
def hold() -> None:
    """Legal holds: what must not be deleted, by whom, until when."""


@hold.command()
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
@click.option("--domain", metavar="NAME", help="Every mailbox of the region with an address in the domain.")
@click.option("--region", metavar="CODE", help="The region of a domain's hold.")
@click.option("--matter", metavar="REF", help="The case. With several addresses: one hold on all of them.")
@click.option("--reason", metavar="TEXT", help="The provider's own litigation, in a sentence.")
@click.option("--order", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A signed order.")
@click.option("--received-from", callback=moment, metavar="TIME", help="Only mail received from then on.")
@click.option("--received-before", callback=moment, metavar="TIME", help="Only mail received before.")
@click.option("--party", "parties", metavar="ADDRESS", multiple=True, help="Only mail to or from them.")
@click.option("--with-domain", "domains", metavar="NAME", multiple=True, help="Only mail with the domain.")
@click.option("--message-id", "message_ids", metavar="ID", multiple=True, help="Only this message.")
@click.option("--until", callback=moment, metavar="TIME", help="When it ends by itself; else never.")
@_json_option
@token_option
@config_option
def place(
    config: Config,
    token: Token,
    json_: bool,
    addresses: tuple[str, ...],
    domain: str | None,
    region: str | None,
    matter: str | None,
    reason: str | None,
    order: Path | None,
    received_from: datetime | None,
    received_before: datetime | None,
    parties: tuple[str, ...],
    domains: tuple[str, ...],
    message_ids: tuple[str, ...],
    until: datetime | None,
) -> None:
    """Place a hold on ADDRESS, on several of a matter, or on a domain.

    A hold is of one region and stands under its law: a matter that reaches into several has one in each,
    and so has a domain. Mailboxes of several regions in one command are refused, and nothing is held.

    When this returns, nothing in its scope can be deleted by anybody: not by the owner, by
    retention, by erasure, by a move. The bucket's own lock follows in the background; `hold status`
    says how far it has come.
    """
    wanted = tuple(map(parse_address, addresses))
    if (reason is None) == (order is None):
        raise UsageFault("--reason TEXT or --order FILE is expected, and one of them")
    if bool(wanted) == (domain is not None) or (domain is None) != (region is None):
        raise UsageFault("ADDRESS, or --domain NAME with --region CODE, is expected")
    if len(wanted) > 1 and matter is None:
        raise UsageFault("--matter REF is expected where several addresses are named")
    span, query = span_of(received_from, received_before), query_of(parties, domains, message_ids)

    async def work(house: House) -> Hold:
        basis: Basis = OwnLitigation(reason) if reason is not None else _ordered(house, order, wanted)
        terms = Terms(MailboxScope("", _FIRST), basis, span, query, matter, until)
        if domain is not None and region is not None:
            code = configured(config, region)
            return await _place(house, token, code, terms, DomainScope(parse_domain_name(domain)))
        if len(wanted) == 1:
            return await _place_on(house, token, wanted[0], terms)
        code, accounts = await _of_one_region(house, wanted)
        return await _place(house, token, code, terms, MatterScope(matter or "", accounts))

    placed = run(config, lambda house: about(" ".join(addresses), told(work(house))))
    show_hold(placed, json_)
    if domain is not None:
        click.echo(
            f"It holds the mailboxes at home in {placed.region}, and none of another region.", err=True
        )


@hold.command(name="list")
@click.option("--region", "regions", metavar="CODE", multiple=True, help="A region served here; else all.")
@click.option("--matter", metavar="REF", help="Only the holds of this case.")
@click.option("--all", "all_", is_flag=True, help="Those that have ended, too.")
@_json_option
@token_option
@config_option
def list_(
    config: Config, token: Token, json_: bool, regions: tuple[str, ...], matter: str | None, all_: bool
) -> None:
    """List the holds of the regions where you are a custodian."""
    codes = [configured(config, code) for code in regions] or list(config.serves)

    async def work(house: House) -> list[Hold]:
        found = []
        for code in codes:
            by = await cleared(house, token, Role.CUSTODIAN, code)
            await _note_view(house, by)
            async for one in (await house.holds(code)).list():
                ended = one.phase(house.clock()) is Phase.ENDED
                if (all_ or not ended) and (matter is None or matter in (one.matter, _matter(one))):
                    found.append(one)
        return found

    tell(run(config, work), json_)


@hold.command()
@click.argument("reference", metavar="HOLD")
@click.option("--quick", is_flag=True, help="Only what is written down; do not ask the bucket.")
@_json_option
@token_option
@config_option
def status(config: Config, token: Token, json_: bool, reference: str, quick: bool) -> None:
    """Show HOLD, and prove that the bucket has its own lock on everything in scope.

    Each version is asked for. Exit status 1 if one is not locked: it is kept by the register all the
    same, and is locked in the background.
    """
    wanted = parse_hold(reference)

    async def work(house: House) -> tuple[Hold, Coverage, Proof | None]:
        code, found, by = await _find(house, token, wanted)
        await _note_view(house, by, found)
        coverer = Coverer((await house.chamber(code)).store, await house.holds(code))
        if quick:
            return found, await coverer.stands(wanted), None
        with Bar("asking the bucket", None) as bar:
            proof = await coverer.prove(wanted, lambda _: bar.advance())
        return found, await coverer.stands(wanted), proof

    found, stands, proof = run(config, lambda house: told(work(house)))
    coverage: dict[str, Any] = {"status": stands.status, "covered": stands.covered, "total": stands.total}
    if proof is not None:
        coverage |= {"locked": proof.locked, "in_scope": proof.total, "not_locked": len(proof.missing)}
    show_hold(found, json_, coverage=coverage)
    if proof is not None and proof.missing:
        raise AnswerIsNo(f"{len(proof.missing)} of {proof.total} versions are not locked by the bucket yet")


@hold.command()
@click.argument("reference", metavar="HOLD")
@_json_option
@token_option
@config_option
def cover(config: Config, token: Token, json_: bool, reference: str) -> None:
    """Put the bucket's own lock on everything in scope now, instead of waiting for the server."""
    wanted = parse_hold(reference)

    async def work(house: House) -> tuple[Hold, Coverage]:
        code, found, _ = await _find(house, token, wanted)
        chamber, register = await house.chamber(code), await house.holds(code)
        with Bar("locking", None) as bar:
            await HoldKeeper(chamber.store, register, house.directory).keep_one(
                found, lambda _, now: bar.stands(now.covered, now.total)
            )
        return found, await Coverer(chamber.store, register).stands(wanted)

    found, stands = run(config, lambda house: told(work(house)))
    coverage = {"status": stands.status, "covered": stands.covered, "total": stands.total}
    show_hold(found, json_, coverage=coverage)


@hold.command()
@click.argument("reference", metavar="HOLD")
@click.option("--reason", metavar="TEXT", help="Why it may end: the first of the two people says it.")
@click.option("--until", callback=moment, metavar="TIME", help="An earlier end, in place of a release.")
@click.option("--reject", is_flag=True, help="Take what was proposed off the table.")
@_json_option
@token_option
@config_option
def release(
    config: Config,
    token: Token,
    json_: bool,
    reference: str,
    reason: str | None,
    until: datetime | None,
    reject: bool,
) -> None:
    """End HOLD. Two custodians: one gives the reason, another one gives the same command to confirm.

    What it kept is kept for 30 days more, so that a mistake can be taken back: place it again.
    """
    wanted = parse_hold(reference)

    async def work(house: House) -> Hold:
        code, found, by = await _find(house, token, wanted)
        register = await house.holds(code)
        if reject:
            return await register.reject_end(wanted, by)
        if found.proposal is None:
            if reason is None:
                raise UsageFault("--reason TEXT is expected from the first of the two")
            return await register.propose_end(wanted, by, reason, until=until)
        if until is not None and until != found.proposal.until:
            raise AnswerIsNo(f"{wanted}: another end is proposed: look at it with `situs hold status`")
        return await register.confirm_end(wanted, by, found.proposal)

    changed = run(config, lambda house: told(work(house)))
    show_hold(changed, json_)
    if changed.proposal is not None:
        click.echo("Proposed. Another custodian gives the same command to confirm.", err=True)


@hold.command()
@click.argument("reference", metavar="HOLD")
@click.option("--until", callback=moment, metavar="TIME", help="The later end; left out: none.")
@_json_option
@token_option
@config_option
def prolong(config: Config, token: Token, json_: bool, reference: str, until: datetime | None) -> None:
    """Give HOLD a later end, or none. One custodian suffices: more is kept, not less.

    What an order preserves is prolonged no further than its law goes.
    """
    wanted = parse_hold(reference)

    async def work(house: House) -> Hold:
        code, _, by = await _find(house, token, wanted)
        lawbook = packaged_lawbook(house.config.lawbook)
        return await (await house.holds(code)).prolong(wanted, by, until, lawbook)

    show_hold(run(config, lambda house: told(work(house))), json_)


@hold.command()
@click.argument("reference", metavar="HOLD")
@click.argument("address")
@_json_option
@token_option
@config_option
def enrol(config: Config, token: Token, json_: bool, reference: str, address: str) -> None:
    """Take the mailbox of ADDRESS into a matter's HOLD. In force for it when this returns."""
    wanted, whose = parse_hold(reference), parse_address(address)

    async def work(house: House) -> Hold:
        code, _, by = await _find(house, token, wanted)
        located = await house.directory.find(whose)
        if located.home.code != code:
            raise AnswerIsNo(f"{whose} is at home in {located.home.code}, the hold is of {code}")
        return await (await house.holds(code)).enrol(wanted, by, located.account)

    show_hold(run(config, lambda house: about(whose, told(work(house)))), json_)


_FIRST = Address("nobody", "invalid")  # stands for the mailbox until it has been found


async def _place_on(house: House, token: Token, address: Address, terms: Terms) -> Hold:
    served = {code: await house.holds(code) for code in house.config.serves}
    located = await house.directory.find(address)
    codes = {located.home.code, *served}
    clearances: dict[RegionCode, Clearance] = {}
    for code in codes & served.keys():
        try:
            clearances[code] = await cleared(house, token, Role.CUSTODIAN, code)
        except AnswerIsNo:
            if code == located.home.code:
                raise

    def register_of(code: RegionCode) -> HoldRegister:
        if code not in served:
            raise AnswerIsNo(f"{address} is at home in {code}, which is not served here")
        return served[code]

    def clearance_for(code: RegionCode) -> Clearance:
        if code not in clearances:
            raise NotCleared(f"a custodian's clearance for {code} is needed: the mailbox has moved there")
        return clearances[code]

    return await place_on_address(house.directory, address, scoped(terms), register_of, clearance_for)


async def _place(
    house: House, token: Token, code: RegionCode, terms: Terms, scope: DomainScope | MatterScope
) -> Hold:
    by = await cleared(house, token, Role.CUSTODIAN, code)
    wanted = Terms(
        scope, terms.basis, terms.timespan, terms.query, terms.matter, terms.until, terms.at_expiry
    )
    return await (await house.holds(code)).place(wanted, by)


async def _of_one_region(house: House, addresses: Sequence[Address]) -> tuple[RegionCode, frozenset[str]]:
    located = [await house.directory.find(address) for address in addresses]
    homes = sorted({one.home.code for one in located})
    if len(homes) > 1:
        # Each region's holds stand under its law, and are let go by its custodians.
        at_home: dict[RegionCode, list[str]] = {code: [] for code in homes}
        for address, one in zip(addresses, located, strict=True):
            at_home[one.home.code].append(str(address))
        named = "; ".join(f"{code}: {' '.join(found)}" for code, found in at_home.items())
        raise AnswerIsNo(f"nothing is held: a hold is of one region, place one in each ({named})")
    return homes[0], frozenset(str(one.account) for one in located)


def _ordered(house: House, order: Path | None, addresses: Sequence[Address]) -> OrderBasis:
    """The order as the basis: genuine, in force, and about the mailbox that is named."""
    text = order.read_text() if order is not None else ""
    try:
        verified = verify_order(read_order(text), TrustDirectory(house.config.trust)(), house.clock())
    except MalformedOrder as error:
        raise UsageFault(f"{order}: {error}") from None
    except Unverified as error:
        raise AnswerIsNo(f"{order}: {error.code}: {error}") from None
    claims = verified.order
    if list(addresses) != [claims.target]:
        raise UsageFault(f"{order}: the order names another mailbox")
    return OrderBasis(
        claims.instrument, claims.reference, verified.issuer.name, claims.issuing_state, verified.digest
    )


async def _find(house: House, token: Token, reference: HoldId) -> tuple[RegionCode, Hold, Clearance]:
    """A hold of a region served here. Raises AnswerIsNo where there is none or no clearance for it."""
    for code in house.config.serves:
        try:
            found = await (await house.holds(code)).get(reference)
        except NotFound:
            continue
        return code, found, await cleared(house, token, Role.CUSTODIAN, code)
    raise AnswerIsNo(f"{reference}: no such hold in the regions served here")


async def _note_view(house: House, by: Clearance, found: Hold | None = None) -> None:
    chamber = await house.chamber(by.region)
    await chamber.log.append(
        Entry(
            time=house.clock(),
            event=Event.HOLD_VIEWED,
            region=by.region,
            operator=chamber.pseudonyms.operator(by.operator.name),
            hold=str(found.id) if found is not None else None,
        )
    )


def _matter(one: Hold) -> str | None:
    return one.scope.matter if isinstance(one.scope, MatterScope) else None
