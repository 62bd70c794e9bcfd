"""The lawbook: every jurisdiction's rules, cross-checked, indexed and named by its digest.

A lawbook is read whole or not at all. It is pure data: reading files is `gateway.law`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, final

from policy.assessment import Finding, unconfirmed
from policy.geography import GeographyError, Jurisdiction, Region, RegionCode
from policy.lawfile import Fault, Table
from policy.lawtables import read_law
from policy.rules import (
    Agreement,
    Instrument,
    JurisdictionKind,
    Law,
    Membership,
    Opens,
    Recognition,
)

REGIONS_FILE: Final = "regions.toml"


class LawbookError(ValueError):
    """A lawbook that is none: `faults` has every fault of every file, one a line in the message."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults: Final = tuple(faults)


class UnknownRegion(ValueError):
    """The lawbook's table of regions does not say in which country a region stands."""


@final
class Lawbook:
    """What the law is. Made by `read_lawbook`; never changed afterwards."""

    def __init__(self, laws: Sequence[Law], regions: Mapping[RegionCode, Jurisdiction], digest: str) -> None:
        self.digest: Final = digest
        self.laws: Final = tuple(laws)
        self.regions: Final = regions
        self._by_code: Final = {law.code: law for law in laws}
        self._instruments: Final = {item.id: item for law in laws for item in law.instruments}
        self._memberships: Final = {item.id: item for law in laws for item in law.memberships}
        self._recognitions: Final = {
            (law.code, instrument.id): tuple(
                r for r in law.recognitions if _accepts(r, law, instrument, laws)
            )
            for law in laws
            for instrument in self._instruments.values()
        }
        self._agreements: Final = {
            (law.code, id_): tuple(a for a in law.agreements if id_ in a.instruments)
            for law in laws
            for id_ in self._instruments
        }
        # What depends on no date is worked out once: a decision is made in microseconds.
        states = {law.code for law in laws} | {
            state for m in self._memberships.values() for state in m.states
        }
        self._candidates: Final = {
            state: tuple(item for item in self._instruments.values() if self._may_apply(state, item))
            for state in states
            if state is not None
        }
        self._doubts: Final = {item.id: _doubts(item) for item in self._instruments.values()}

    def instrument(self, id_: str) -> Instrument | None:
        return self._instruments.get(id_)

    def law(self, code: Jurisdiction | None) -> Law | None:
        """A jurisdiction's own file; None as code means what is the same anywhere."""
        return self._by_code.get(code)

    def membership(self, instrument: Instrument) -> Membership | None:
        """Whom the act behind a union's instrument binds; None for a state's instrument."""
        return self._memberships[instrument.membership] if instrument.membership else None

    def recognitions(self, state: Jurisdiction, instrument: Instrument) -> tuple[Recognition, ...]:
        """The rules by which `state` takes up a foreign request of this kind."""
        return self._recognitions.get((state, instrument.id), ())

    def agreements(self, state: Jurisdiction, instrument: Instrument) -> tuple[Agreement, ...]:
        """The agreements by which `state` lets a foreign instrument in."""
        return self._agreements.get((state, instrument.id), ())

    def instruments_at(self, state: Jurisdiction, at: datetime) -> Iterator[Instrument]:
        """What may open a mailbox stored in `state`: its own law, its union's, agreements, assistance."""
        for instrument in self._candidates.get(state, ()):
            if not instrument.dates.cover(at, at):
                continue
            membership = self.membership(instrument)
            if membership is not None and not membership.binds(state, at, at):
                continue
            if instrument.opens is Opens.RECOGNITION:
                applies = any(rule.dates.cover(at, at) for rule in self.recognitions(state, instrument))
            elif instrument.opens is Opens.AGREEMENT:
                applies = any(rule.dates.cover(at, at) for rule in self.agreements(state, instrument))
            else:
                applies = True
            if applies:
                yield instrument

    def doubts(self, instrument: Instrument) -> tuple[Finding, ...]:
        """The remarks on those of an instrument's own rules that no source confirms."""
        return self._doubts[instrument.id]

    def region(self, code: RegionCode) -> Region:
        """A region known by name alone, such as `eu-west-1`. Raises UnknownRegion naming it."""
        try:
            return Region(code, self.regions[code])
        except KeyError:
            raise UnknownRegion(
                f"{code}: the lawbook's {REGIONS_FILE} does not say in which country this region stands"
            ) from None

    def _may_apply(self, state: Jurisdiction, instrument: Instrument) -> bool:
        """Whether, at some date, `state`'s law could carry this instrument."""
        if instrument.opens is Opens.RECOGNITION:
            return bool(self.recognitions(state, instrument))
        if instrument.opens is Opens.AGREEMENT:
            return bool(self.agreements(state, instrument))
        return instrument.home == state or instrument.membership is not None


def read_lawbook(files: Mapping[str, bytes]) -> Lawbook:
    """File name -> contents, every `*.toml` of a lawbook. Raises LawbookError with every fault at once."""
    faults: list[Fault] = []
    laws: list[Law] = []
    documents: dict[str, Table] = {}
    regions: dict[RegionCode, Jurisdiction] = {}
    for name in sorted(files):
        document = Table.document(name, files[name], faults)
        if document is None:
            continue
        if name == REGIONS_FILE:
            regions = _read_regions(document)
        else:
            documents[name] = document
            laws.append(read_law(document))
    _cross_check(laws, documents)
    if not laws and not faults:
        faults.append(Fault("(lawbook)", 1, "(files)", "there is no law here: no file <code>.toml"))
    if faults:
        raise LawbookError(sorted(set(faults)))
    return Lawbook(laws, regions, digest_of(files))


def digest_of(files: Mapping[str, bytes]) -> str:
    """`sha256:<hex>` over every file's name and contents, in the order of the names.

    Each part is preceded by its length, so that no two sets of files run together alike.
    """
    digest = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name]):
            digest.update(len(part).to_bytes(8, "big") + part)
    return f"sha256:{digest.hexdigest()}"


def _doubts(instrument: Instrument) -> tuple[Finding, ...]:
    rules = [(instrument.citation, instrument.id)]
    for part, what in (
        (instrument.deadline, "the deadline"),
        (instrument.preservation, "the preservation"),
        (instrument.enforcing_authority, "the enforcing authority's part"),
        (instrument.notice, "the notice"),
    ):
        if part is not None:
            rules.append((part.citation, f"{instrument.id}: {what}"))
    return tuple(unconfirmed(citation, what) for citation, what in rules if not citation.confirmed)


def _accepts(rule: Recognition, law: Law, instrument: Instrument, laws: Sequence[Law]) -> bool:
    """`any` is mutual assistance: a foreign state's order, or `mla.request`; never a union's instrument."""
    if instrument.id in rule.accepts:
        return True
    home = next((other for other in laws if other.code == instrument.home), None)
    foreign_state = home is not None and home.kind is not JurisdictionKind.UNION and home is not law
    return rule.accepts_any and foreign_state


def _read_regions(document: Table) -> dict[RegionCode, Jurisdiction]:
    regions: dict[RegionCode, Jurisdiction] = {}
    table = document.table("regions")
    if table is None:
        document.fault("", "the table [regions] is required")
    else:
        for name in table.keys():  # noqa: SIM118  a Table is no mapping
            try:
                regions[RegionCode.parse(name)] = table.jurisdiction(name)
            except GeographyError as error:
                table.fault(name, str(error))
    document.finish()
    return regions


def _cross_check(laws: Sequence[Law], documents: Mapping[str, Table]) -> None:
    """Ids that stand twice, and references that lead nowhere."""
    instruments = {item.id: item for law in laws for item in law.instruments}
    memberships = {item.id for law in laws for item in law.memberships}
    states = {law.code for law in laws if law.kind is JurisdictionKind.STATE}
    agreed = {id_ for law in laws for agreement in law.agreements for id_ in agreement.instruments}
    for law in laws:
        document = documents[law.file]
        _check_twice(law, document)
        for table, instrument in zip(document.tables("instrument"), law.instruments, strict=True):
            union = law.kind is JurisdictionKind.UNION
            if union is (instrument.membership is None):
                table.fault("membership", "a union's instrument names its membership, a state's has none")
            elif instrument.membership and instrument.membership not in memberships:
                table.fault("membership", f"there is no membership {instrument.membership!r}")
            if instrument.opens is Opens.AGREEMENT and instrument.id not in agreed:
                table.fault("opens", "no [[agreement]] of any state names this instrument")
        for table, recognition in zip(document.tables("recognition"), law.recognitions, strict=True):
            _check_references(table, "accepts", recognition.accepts, instruments)
        for table, agreement in zip(document.tables("agreement"), law.agreements, strict=True):
            _check_references(table, "instruments", agreement.instruments, instruments)
            if agreement.partner not in states:
                table.fault("partner", f"the lawbook has no file for {agreement.partner}")
            for id_ in sorted(agreement.instruments & instruments.keys()):
                if instruments[id_].home != agreement.partner:
                    table.fault("instruments", f"{id_} is no instrument of {agreement.partner}")
        for table, reach in zip(document.tables("reach"), law.reaches, strict=True):
            _check_references(table, "instruments", reach.instruments, instruments)


def _check_references(table: Table, key: str, names: frozenset[str], known: Mapping[str, Instrument]) -> None:
    for name in sorted(names - known.keys()):
        table.fault(key, f"there is no instrument {name!r}")


def _check_twice(law: Law, document: Table) -> None:
    """Ids begin with their file's code, so an id can stand twice within one file only."""
    ids = {
        "instrument": [item.id for item in law.instruments],
        "recognition": [item.id for item in law.recognitions],
        "agreement": [item.id for item in law.agreements],
    }
    for kind, names in ids.items():
        for position, (table, name) in enumerate(zip(document.tables(kind), names, strict=True)):
            if name in names[:position]:
                table.fault("id", f"{name!r} stands twice")
