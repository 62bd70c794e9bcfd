"""What ought to be where, who ought to see it and what ought to be held: in memory, in plain Python.

Written from the rules (LAW.md, "Legal holds"), not from the code: it shares with the store the
names of things and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from policy.address import Address
from policy.geography import RegionCode
from policy.hold import HoldId
from storage.identity import AccountId, MessageId

GRACE: Final = timedelta(days=30)


@dataclass
class Letter:
    """One message. `hidden`: its owner has deleted it."""

    id: MessageId
    received: datetime
    sender: str
    content: bytes
    label: str | None
    hidden: bool = False


@dataclass(eq=False)
class Box:
    """One account, and what lies in it. `shredded`: an erasure has begun, and nothing opens any more."""

    address: Address
    account: AccountId
    home: RegionCode
    alias: Address | None = None
    closed: bool = False
    shredded: bool = False
    erased: bool = False
    disclosure_open: bool = False
    letters: dict[MessageId, Letter] = field(default_factory=dict)

    @property
    def domains(self) -> set[str]:
        return {self.address.domain} | ({self.alias.domain} if self.alias else set())


@dataclass(eq=False)
class Custody:
    """One hold. `on`: an account, a domain, or the accounts of a matter."""

    id: HoldId
    region: RegionCode
    on: AccountId | str | set[AccountId]
    ordered: bool
    span: tuple[datetime, datetime] | None = None
    sender: str | None = None
    until: datetime | None = None
    destroys: bool = False
    proposed_by: str | None = None
    shorter: datetime | None = None
    released: datetime | None = None

    @property
    def ends(self) -> datetime | None:
        ends = [self.released + GRACE] if self.released else []
        if self.until:
            ends.append(self.until if self.ordered or self.destroys else self.until + GRACE)
        return min(ends, default=None)

    def keeps(self, now: datetime) -> bool:
        return self.ends is None or now < self.ends

    def is_open(self, now: datetime) -> bool:
        """Whether custodians may still change it."""
        return self.released is None and (self.until is None or now < self.until)

    def concerns(self, box: Box) -> bool:
        if self.region != box.home:
            return False
        if isinstance(self.on, str):
            return self.on in box.domains
        return self.on == box.account if isinstance(self.on, AccountId) else box.account in self.on

    def means(self, box: Box, letter: Letter) -> bool:
        if self.span and not self.span[0] <= letter.received < self.span[1]:
            return False
        # What nobody can open any more may be what is meant.
        return self.sender is None or box.shredded or self.sender == letter.sender


@dataclass(frozen=True)
class Rule:
    """A retention rule, in days. `reach`: label, account, domain or region."""

    reach: str
    name: str
    delete_after: int | None
    keep_at_least: int | None


@dataclass
class Model:
    """All of it, at one moment."""

    now: datetime
    boxes: list[Box] = field(default_factory=list)
    holds: list[Custody] = field(default_factory=list)
    rules: dict[RegionCode, list[Rule]] = field(default_factory=dict)

    def at_home(self, region: RegionCode) -> Iterator[Box]:
        return (box for box in self.boxes if box.home == region and not box.erased)

    def forbidding(self, box: Box, letter: Letter | None) -> set[HoldId]:
        """The holds that keep a letter, or (None) the account itself."""
        return {
            hold.id
            for hold in self.holds
            if hold.keeps(self.now) and hold.concerns(box) and (letter is None or hold.means(box, letter))
        }

    def is_due(self, box: Box, letter: Letter) -> bool:
        """Whether a letter is to go, if no hold keeps it."""
        rule = self._rule_for(box, letter)
        age = self.now - letter.received
        if rule and rule.keep_at_least is not None and age < timedelta(days=rule.keep_at_least):
            return False
        if letter.hidden:
            return True
        return bool(rule and rule.delete_after is not None and age >= timedelta(days=rule.delete_after))

    def _rule_for(self, box: Box, letter: Letter) -> Rule | None:
        wanted: dict[str, set[str | None]] = {
            "label": {letter.label},
            "account": {str(box.account)},
            "domain": {*box.domains},
            "region": {""},
        }
        for reach, names in wanted.items():
            found = [
                rule for rule in self.rules.get(box.home, ()) if rule.reach == reach and rule.name in names
            ]
            if found:
                return max(found, key=lambda rule: (rule.delete_after or 10**6, rule.keep_at_least or 0))
        return None

    def clear(self, box: Box, letters: list[Letter]) -> tuple[int, int]:
        """What is due among these goes, what is held stays; how many did which."""
        due = [letter for letter in letters if self.is_due(box, letter)]
        gone = [letter for letter in due if not self.forbidding(box, letter)]
        for letter in gone:
            del box.letters[letter.id]
        return len(gone), len(due) - len(gone)

    def move(self, box: Box, to: RegionCode) -> None:
        """The holds on the mailbox itself that have ended go with it, as its history."""
        box.home = to
        for hold in self.holds:
            if hold.on == box.account:
                hold.region = to
