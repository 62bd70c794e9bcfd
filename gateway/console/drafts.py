"""A form that could not be taken: shown again as it was typed, with what is wrong beside each field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, final

from gateway.disclosure.problems import AuditReference, Kind, Problem

# What whoever sent the form can mend there. What is refused for another reason has a page of its own.
_MENDED: Final = frozenset({Kind.INVALID_REQUEST, Kind.MALFORMED_ORDER, Kind.STATE})


@final
@dataclass(frozen=True, slots=True)
class Draft:
    """`form` names which of a page's forms it was; no name: none was sent, and the page is as ever.

    `faults` are by the form's own fields; `unplaced` is what is wrong with none of them alone.
    """

    form: str = ""
    typed: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    unplaced: tuple[str, ...] = ()
    status: int = 200
    audit: AuditReference | None = None

    def of(self, form: str) -> Draft:
        """What there is to show in that form: nothing, where another one was sent."""
        return self if self.form == form else BLANK

    def value(self, name: str) -> str:
        return self.typed.get(name, "")

    def fault(self, name: str) -> str:
        """What is wrong with that field; empty where nothing is."""
        return self.faults.get(name, "")


BLANK: Final = Draft()


def drafted(
    problem: Problem,
    form: str,
    typed: Mapping[str, str],
    fields: Mapping[str, str],
    *,
    also: Mapping[Kind, str] | None = None,
) -> Draft:
    """The form as it was sent, with the problem beside its fields. Raises the problem where it has none.

    `fields`: which field of the form a field of the API's model is, the parts of one included.
    `also`: problems of other kinds that are about one field.
    """
    if also is not None and problem.kind in also:
        found = [(also[problem.kind], problem.detail or problem.kind.title)]
    else:
        found = _told(problem) if problem.kind in _MENDED else []
    if not found:
        raise problem
    faults: dict[str, str] = {}
    unplaced = []
    for name, rule in found:
        place = _place(name, fields)
        if place is None:
            unplaced.append(f"{name}: {rule}")
        else:
            faults.setdefault(place, rule)
    return Draft(form, typed, faults, tuple(unplaced), problem.kind.status, problem.audit)


def _told(problem: Problem) -> list[tuple[str, str]]:
    """Each field and its rule, as the problem names them."""
    if problem.kind is Kind.MALFORMED_ORDER:
        return [("order", problem.detail or problem.kind.title)]
    return [(each["field"], each["rule"]) for each in problem.members.get("faults", [])]


def _place(name: str, fields: Mapping[str, str]) -> str | None:
    """`query.parties.0` is the field of `query.parties` where that has one, else of `query`."""
    while name not in fields:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return None
    return fields[name]
