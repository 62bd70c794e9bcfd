"""The lawbook is read whole or not at all; its faults name file, line, key and rule, all at once."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.law import lawbook_files
from policy.geography import Jurisdiction, RegionCode
from policy.lawbook import LawbookError, UnknownRegion, digest_of, read_lawbook
from policy.order import DataCategory, IssuerRole
from policy.rules import JurisdictionKind, Opens
from policy.toml_lines import line_numbers, nearest_line
from tests.policy.lawcases import shipped_lawbook

NOW = datetime(2026, 11, 24, tzinfo=UTC)

SMALL = """\
[jurisdiction]
kind = "state"
code = "JP"
name = "Japan"

[[instrument]]
id = "jp.order"
name = "Order"
statute = "Act 1"
binds = "a provider"
deed = "produce"
opens = "issue"
in_force_from = 2020-01-01
source = "Act 1 s. 2"

[[instrument.grant]]
categories = ["content"]
issuers = ["judge"]
source = "Act 1 s. 3"

[instrument.deadline]
days = 5
source = "Act 1 s. 4"
"""


def _faults(text: str, name: str = "jp.toml", *, with_shipped: bool = False) -> list[str]:
    files = lawbook_files() if with_shipped else {}
    with pytest.raises(LawbookError) as raised:
        read_lawbook({**files, name: text.encode()})
    assert str(raised.value) == "\n".join(map(str, raised.value.faults))
    return [str(fault) for fault in raised.value.faults]


def test_the_small_lawbook_of_these_tests_is_one() -> None:
    book = read_lawbook({"jp.toml": SMALL.encode()})
    instrument = book.instrument("jp.order")
    assert instrument is not None
    assert instrument.grants[0].categories == {DataCategory.CONTENT}
    assert instrument.grants[0].issuers == {IssuerRole.JUDGE}


# What is written instead of what, and the fault: line, key, and words of the rule.
FAULTS = {
    "unknown key": ('name = "Order"', 'nmae = "Order"', (8, "instrument[1].nmae", "unknown key")),
    "unknown table": (
        "[instrument.deadline]",
        "[instrument.deadlines]",
        (21, "instrument[1].deadlines", "unknown"),
    ),
    "unknown key in a grant": (
        'source = "Act 1 s. 3"',
        'sauce = "x"',
        (19, "instrument[1].grant[1].sauce", "unknown"),
    ),
    "missing key": ('name = "Order"\n', "", (6, "instrument[1]", "'name' is required")),
    "missing dates": ("in_force_from = 2020-01-01\n", "", (6, "instrument[1]", "in_force_from")),
    "until before from": (
        "in_force_from = 2020-01-01",
        "in_force_from = 2020-01-01\nuntil = 2019-01-01",
        (14, "instrument[1].until", "after in_force_from"),
    ),
    "a time for a date": (
        "2020-01-01",
        "2020-01-01T00:00:00Z",
        (13, "instrument[1].in_force_from", "a date"),
    ),
    "unknown category": (
        '["content"]',
        '["mail"]',
        (17, "instrument[1].grant[1].categories", "'mail' is not one of"),
    ),
    "a word twice": (
        '["content"]',
        '["content", "content"]',
        (17, "instrument[1].grant[1].categories", "twice"),
    ),
    "an empty list": ('["judge"]', "[]", (18, "instrument[1].grant[1].issuers", "one or more")),
    "unknown office": (
        '["judge"]',
        '["sheriff"]',
        (18, "instrument[1].grant[1].issuers", "'sheriff' is not"),
    ),
    "unknown deed": ('"produce"', '"hand over"', (11, "instrument[1].deed", "not one of produce, preserve")),
    "empty text": ('"Act 1 s. 2"', '"  "', (14, "instrument[1].source", "not empty")),
    "not a flag": (
        'source = "Act 1 s. 2"',
        'source = "x"\nconfirmed = "no"',
        (15, "instrument[1].confirmed", "true or"),
    ),
    "negative days": ("days = 5", "days = -5", (22, "instrument[1].deadline.days", "whole number from 1")),
    "days and hours": ("days = 5", "days = 5\nhours = 5", (23, "instrument[1].deadline.hours", "not both")),
    "no deadline": ("days = 5\n", "", (21, "instrument[1].deadline", "set_by_process")),
    "two deadlines": (
        "days = 5",
        "days = 5\nset_by_process = true",
        (21, "instrument[1].deadline", "not both"),
    ),
    "a foreign id": ('"jp.order"', '"us.order"', (7, "instrument[1].id", "'jp....'")),
    "another file's law": ('code = "JP"', 'code = "KR"', (3, "jurisdiction.code", "a file named kr.toml")),
    "no jurisdiction": ('code = "JP"', 'code = "Japan"', (3, "jurisdiction.code", "not an ISO 3166-1")),
    "validators alone": (
        'issuers = ["judge"]',
        'issuers = ["judge"]\nvalidators = ["court"]',
        (16, "instrument[1].grant[1]", "come together"),
    ),
    "validated without need": (
        'issuers = ["judge"]',
        'issuers = ["judge"]\nvalidated_issuers = ["judge"]\nvalidators = ["court"]',
        (19, "instrument[1].grant[1].validated_issuers", "needs no validation"),
    ),
    "emergency without validation": (
        'issuers = ["judge"]',
        'issuers = ["judge"]\nemergency_validation_hours = 48',
        (16, "instrument[1].grant[1]", "needs validated_issuers"),
    ),
    "nobody may ask": ('issuers = ["judge"]\n', "", (16, "instrument[1].grant[1]", "nobody may ask")),
    "the same said twice": (
        "[instrument.deadline]",
        '[[instrument.grant]]\ncategories = ["content"]\nissuers = ["judge"]\n'
        'source = "x"\n\n[instrument.deadline]',
        (22, "instrument[1].grant[2].categories", "another grant already says"),
    ),
    "an offence of no years": (
        'source = "Act 1 s. 3"',
        'source = "Act 1 s. 3"\noffence = { or_listed = true }',
        (20, "instrument[1].grant[1].offence", "at_least_years"),
    ),
    "preservation of a production": (
        "[instrument.deadline]",
        '[instrument.preservation]\ndays = 5\nat_expiry = "lapse"\nsource = "x"\n\n[instrument.deadline]',
        (21, "instrument[1].preservation", "only an instrument that preserves"),
    ),
    "a preservation of no length": (
        '"produce"',
        '"preserve"',
        (11, "instrument[1].deed", "needs [instrument.preserv"),
    ),
    "a membership for a state": (
        'deed = "produce"',
        'deed = "produce"\nmembership = "jp.none"',
        (12, "instrument[1].membership", "a state's has none"),
    ),
    "an agreement that nobody made": (
        'opens = "issue"',
        'opens = "agreement"',
        (12, "instrument[1].opens", "no [[agree"),
    ),
    "a state with members": (
        "[[instrument]]",
        '[[membership]]\nid = "jp.m"\nname = "M"\nstates = ["KR"]\n'
        'in_force_from = 2020-01-01\nsource = "x"\n\n[[instrument]]',
        (6, "membership", "only a union"),
    ),
    "a dangling reference": (
        "[[instrument]]",
        '[[recognition]]\nid = "jp.mla"\nname = "M"\naccepts = ["any", "eu.eip"]\ncategories = ["content"]\n'
        'recognisers = ["court"]\nin_force_from = 2020-01-01\nsource = "x"\n\n[[instrument]]',
        (9, "recognition[1].accepts", "there is no instrument 'eu.eip'"),
    ),
    "a dangling partner": (
        "[[instrument]]",
        '[[agreement]]\nid = "jp.kr"\nname = "A"\npartner = "KR"\ninstruments = ["jp.order"]\n'
        'categories = ["content"]\nroute = "r"\nin_force_from = 2020-01-01\nsource = "x"\n\n[[instrument]]',
        (9, "agreement[1].partner", "no file for KR"),
    ),
    "an array for a table": (
        "[instrument.deadline]",
        "[[instrument.deadline]]",
        (21, "instrument[1].deadline", "a table"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_file_line_key_and_rule(name: str) -> None:
    old, new, (line, key, rule) = FAULTS[name]
    assert SMALL.count(old) == 1, old
    faults = _faults(SMALL.replace(old, new))
    assert any(fault.startswith(f"jp.toml:{line}: {key}: ") and rule in fault for fault in faults), faults


def test_every_fault_at_once() -> None:
    text = SMALL.replace('"judge"', '"sheriff"').replace("days = 5", "days = 0").replace("Act 1 s. 2", " ")
    faults = _faults(text)
    lines = {fault.split(":")[1] for fault in faults}
    assert {"14", "18", "22"} <= lines, faults


def test_an_id_that_stands_twice() -> None:
    second = SMALL[SMALL.index("[[instrument]]") :]
    faults = _faults(f"{SMALL}\n{second}")
    assert faults == ["jp.toml:26: instrument[2].id: 'jp.order' stands twice"]


def test_what_is_not_toml_names_its_line() -> None:
    assert _faults('[jurisdiction]\nkind = "state\n') == [
        "jp.toml:2: (file): not TOML: Illegal character '\\n' (at line 2, column 14)"
    ]
    assert _faults("[jurisdiction]\nkind = ")[0].startswith("jp.toml:2: (file): not TOML")
    with pytest.raises(LawbookError, match=r"jp\.toml:2: .*not UTF-8"):
        read_lawbook({"jp.toml": b"# \n# \xff"})


def test_no_law_at_all() -> None:
    with pytest.raises(LawbookError, match="there is no law here"):
        read_lawbook({})


def test_a_region_in_no_country() -> None:
    faults = _faults('[regions]\nEU_west = "IE"\nx-1 = "Ireland"\n', "regions.toml", with_shipped=True)
    assert [fault.partition(": ")[0] for fault in faults] == ["regions.toml:2", "regions.toml:3"]


def test_the_shipped_lawbook_has_every_jurisdiction_and_instrument() -> None:
    """The list is the contract's and the facts', not read off the files."""
    book = shipped_lawbook()
    assert {str(law.code) for law in book.laws if law.code} == {
        "EU", "IE", "DE", "FR", "SE", "DK", "GB", "US", "CA", "AU", "CH", "IN", "BR",
    }  # fmt: skip
    wanted = """ie.production-order eu.epoc eu.epoc-pr eu.eio de.stpo-94 de.stpo-100g de.stpo-100j fr.cpp-60-1
        fr.cpp-77-1-1 fr.cpp-706-95-1 us.sca-warrant us.sca-2703d us.sca-subpoena us.sca-2703f gb.copo-opo
        gb.ipa-warrant au.ipo ca.production-order ca.preservation-demand ca.preservation-order
        in.it-rules-3-1-j in.it-act-69 br.marco-civil mla.request""".split()
    for id_ in wanted:
        assert book.instrument(id_) is not None, id_


def test_what_no_source_confirms_is_marked() -> None:
    """Each `(?)` of the facts is `confirmed = false`."""
    book = shipped_lawbook()
    for id_ in ("ie.production-order", "us.sca-subpoena", "us.sca-2703d", "gb.ipa-warrant"):
        item = book.instrument(id_)
        assert item is not None
        assert not all(grant.citation.confirmed for grant in item.grants), id_
    french, brazilian = book.instrument("fr.cpp-60-1"), book.instrument("br.marco-civil")
    assert french is not None
    assert brazilian is not None
    doubted = {c for grant in french.grants if not grant.citation.confirmed for c in grant.categories}
    assert DataCategory.TRAFFIC in doubted
    assert DataCategory.SUBSCRIBER not in doubted
    doubted = {c for grant in brazilian.grants if not grant.citation.confirmed for c in grant.categories}
    assert doubted == {DataCategory.CONTENT}


def test_every_bound_state_has_the_unions_instruments() -> None:
    book = shipped_lawbook()
    union = next(law for law in book.laws if law.kind is JurisdictionKind.UNION)
    bound = next(item for item in union.memberships if item.id == "eu.e-evidence")
    assert len(bound.states) == 26
    for state in bound.states:
        here = {item.id for item in book.instruments_at(state, NOW)}
        assert {"eu.epoc", "eu.epoc-pr"} <= here
        before = {item.id for item in book.instruments_at(state, datetime(2026, 8, 17, tzinfo=UTC))}
        assert not {"eu.epoc", "eu.epoc-pr"} & before
    assert not {"eu.epoc", "eu.eio"} & {item.id for item in book.instruments_at(Jurisdiction("DK"), NOW)}
    assert "eu.eio" not in {item.id for item in book.instruments_at(Jurisdiction("IE"), NOW)}


def test_mutual_assistance_never_takes_up_what_travels_by_a_rule_of_its_own() -> None:
    """`any` is a foreign state's order or `mla.request`; not an EPOC, and not one's own order."""
    book = shipped_lawbook()
    ireland = Jurisdiction("IE")
    for law in book.laws:
        for item in law.instruments:
            taken_up = bool(book.recognitions(ireland, item))
            foreign = law.kind is not JurisdictionKind.UNION and law.code != ireland
            assert taken_up is foreign, item.id


def test_the_digest_names_files_and_contents() -> None:
    files = lawbook_files()
    digest = shipped_lawbook().digest
    assert digest == digest_of(files) == read_lawbook(dict(reversed(files.items()))).digest
    changed = files["ie.toml"].replace(b"2011-08-09", b"2011-08-10")
    assert read_lawbook({**files, "ie.toml": changed}).digest != digest
    assert digest_of({"a": b"bc"}) != digest_of({"ab": b"c"})
    assert digest_of({"a": b"b", "c": b"d"}) != digest_of({"a": b"bcd"})


def test_regions_are_data() -> None:
    book = shipped_lawbook()
    assert str(book.region(RegionCode.parse("eu-west-1")).country) == "IE"
    assert str(book.region(RegionCode.parse("eu-central-2")).country) == "CH"
    with pytest.raises(UnknownRegion, match="eu-north-9"):
        book.region(RegionCode.parse("eu-north-9"))


def test_recognition_instruments_open_by_recognition_alone() -> None:
    for law in shipped_lawbook().laws:
        for item in law.instruments:
            assert (item.opens is Opens.RECOGNITION) is (item.id in {"mla.request", "eu.eio"})


def test_every_citation_is_somewhere_a_lawyer_can_look() -> None:
    """A source that names a page of ours, or nothing, is none."""
    for name, body in lawbook_files().items():
        text = body.decode("utf-8")
        assert "LAW.md" not in text, name
        assert "http" not in text, name


# ---- the lines of a TOML text

_KEYS = st.sampled_from(["a", "b-c", "d_1", '"quoted key"'])
_VALUES = st.sampled_from(
    ["1", '"x"', "'y'", "true", '"[not] = a # comment"', '["a",\n  "b", # c = 1\n]', '"""\nz = 1\n[q]\n"""',
     "{ a = 1 }", "2026-08-18", "'''\n[[w]]\n'''", "[[1, 2], [3]]", '"quote \\" = here"']
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["", "[t]", "[[u]]", "[[u.v]]"]), _KEYS, _VALUES), max_size=8))
@settings(deadline=None)
def test_every_key_is_found_on_the_line_where_it_stands(entries: list[tuple[str, str, str]]) -> None:
    """Each key is given its own name as a mark in a comment, and must be found on the line of that mark."""
    text = ""
    seen: set[str] = set()
    in_array = False
    for number, (header, key, value) in enumerate(entries):
        if header == "[[u.v]]" and not in_array:
            continue
        if header and (header.startswith("[[") or header not in seen):
            text += f"# a comment with key = 1 and [brackets]\n{header}\n"
            seen = {header} | {each for each in seen if each.startswith("[t")}
            in_array = in_array or header == "[[u]]"
        unique = key.replace("a", f"a{number}").replace("b", f"b{number}").replace("d", f"d{number}")
        unique = unique.replace("quoted", f"quoted{number}")
        text += f"\n{unique} = {value}\n"
    values = tomllib.loads(text)
    lines = line_numbers(text)
    physical = text.split("\n")

    def walk(value: object, path: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                place = (*path, key)
                if place in lines:
                    line = physical[lines[place] - 1]
                    assert line.lstrip().lstrip("[").startswith((key, f'"{key}"', "u.v")), (place, line)
                elif not isinstance(item, list):
                    assert nearest_line(lines, place) == lines[path], place
                walk(item, place)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, item in enumerate(value):
                walk(item, (*path, index))

    walk(values, ())
