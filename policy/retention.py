"""Retention: how long mail is kept where no hold speaks.

A hold comes first, always: it is asked for by whoever deletes (`storage.deletion`), whatever is
decided here. Below that the closest rule decides alone: a label on the message, the account, the
domain, the region (LAW.md: hold > label > policy).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NewType, final

from policy.hold import Mailbox

LabelName = NewType("LabelName", str)

_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")
_LONGEST: Final = timedelta(days=36_525)  # a hundred years: beyond it, a date is a slip of the pen


class RetentionError(ValueError):
    """A rule that cannot be; the message names the field and what was expected."""


def parse_label(text: str) -> LabelName:
    """`"invoices"` -> LabelName. Raises RetentionError."""
    if not _LABEL.match(text):
        raise RetentionError(f"label: {text[:80]!r} is not 1 to 40 of a-z, 0-9 and '-'")
    return LabelName(text)


class Reach(StrEnum):
    """What a rule is for, from the closest to the widest."""

    LABEL = "label"
    ACCOUNT = "account"
    DOMAIN = "domain"
    REGION = "region"


@final
@dataclass(frozen=True, slots=True)
class RetentionRule:
    """`delete_after`: mail older than this goes. `keep_at_least`: what is younger stays even if its
    owner deletes it (a duty to keep records). `name`: the label, account id or domain."""

    reach: Reach
    name: str
    delete_after: timedelta | None = None
    keep_at_least: timedelta | None = None

    def __post_init__(self) -> None:
        if (self.reach is Reach.REGION) != (not self.name):
            raise RetentionError("name: a region's rule has none, every other has one")
        if self.reach is Reach.LABEL:
            parse_label(self.name)
        for field, period in (("delete_after", self.delete_after), ("keep_at_least", self.keep_at_least)):
            if period is not None and not timedelta(days=1) <= period <= _LONGEST:
                raise RetentionError(f"{field}: from 1 day to 36,525 days are expected")
        if self.delete_after and self.keep_at_least and self.delete_after < self.keep_at_least:
            raise RetentionError("delete_after: is less than keep_at_least")

    def applies(self, mailbox: Mailbox, label: LabelName | None) -> bool:
        match self.reach:
            case Reach.LABEL:
                return label == self.name
            case Reach.ACCOUNT:
                return mailbox.account == self.name
            case Reach.DOMAIN:
                return any(address.domain == self.name for address in mailbox.addresses)
            case Reach.REGION:
                return True


class Due(StrEnum):
    """Why a message may go."""

    OWNER = "deleted by its owner"
    AGE = "older than its retention"


@final
@dataclass(frozen=True, slots=True)
class Retention:
    """A region's rules. Without any, mail stays until its owner deletes it."""

    rules: tuple[RetentionRule, ...] = ()

    def __post_init__(self) -> None:
        if len({(rule.reach, rule.name) for rule in self.rules}) != len(self.rules):
            raise RetentionError("two rules for the same label, account, domain or region")

    def rule_for(self, mailbox: Mailbox, label: LabelName | None) -> RetentionRule | None:
        """The closest rule that applies; of several domains' the one that keeps longer."""
        found = [rule for rule in self.rules if rule.applies(mailbox, label)]
        order = list(Reach)
        closest = min((order.index(rule.reach) for rule in found), default=None)
        same = [rule for rule in found if order.index(rule.reach) == closest]
        return max(same, key=_keeps, default=None)

    def due(
        self,
        mailbox: Mailbox,
        received_at: datetime,
        label: LabelName | None,
        now: datetime,
        *,
        deleted_by_owner: bool,
    ) -> Due | None:
        """Why a message is to go at `now`; None where it is to stay. Says nothing of holds."""
        rule = self.rule_for(mailbox, label)
        if rule and rule.keep_at_least and now < received_at + rule.keep_at_least:
            return None
        if deleted_by_owner:
            return Due.OWNER
        if rule and rule.delete_after and now >= received_at + rule.delete_after:
            return Due.AGE
        return None


def with_rule(retention: Retention, rule: RetentionRule) -> Retention:
    """The same rules with this one, in place of an earlier one for the same thing."""
    others = _without(retention.rules, rule.reach, rule.name)
    return Retention((*others, rule))


def without_rule(retention: Retention, reach: Reach, name: str) -> Retention:
    return Retention(tuple(_without(retention.rules, reach, name)))


def _without(rules: Iterable[RetentionRule], reach: Reach, name: str) -> list[RetentionRule]:
    return [rule for rule in rules if (rule.reach, rule.name) != (reach, name)]


def _keeps(rule: RetentionRule) -> tuple[timedelta, timedelta]:
    return (rule.delete_after or timedelta.max, rule.keep_at_least or timedelta(0))
