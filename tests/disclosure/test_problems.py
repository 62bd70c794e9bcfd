"""Problems are RFC 9457, their types are stable, and the page that lists them says what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.disclosure.problems import AuditReference, Kind, Problem

PAGE = Path(__file__).parents[2] / "deploy" / "problems.md"
ROW = re.compile(r"\| `([a-z-]+)` \| (\d{3}) \| ([^|]+?) \|")


def test_the_page_lists_exactly_the_kinds_of_the_code() -> None:
    listed = [(code, int(status), title) for code, status, title in ROW.findall(PAGE.read_text())]
    assert listed == [(kind.code, kind.status, kind.title) for kind in Kind]


def test_codes_are_unique_and_fit_an_audit_entry() -> None:
    assert len({kind.code for kind in Kind}) == len(Kind)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code) for kind in Kind)


@pytest.mark.parametrize("kind", Kind, ids=str)
def test_a_problem_document_has_the_members_of_rfc_9457(kind: Kind) -> None:
    problem = Problem(kind, "why", members={"field": "order"}).audited(AuditReference("eu-west-1", 7))
    response = problem.response()
    document = json.loads(bytes(response.body))  # type: ignore[arg-type]
    assert response.status == kind.status
    assert response.content_type == "application/problem+json"
    assert document.pop("instance").startswith("urn:uuid:")
    assert document == {
        "type": f"https://situs.example/problems/{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "why",
        "audit": {"region": "eu-west-1", "index": 7},
        "field": "order",
    }


def test_an_extension_never_overrides_a_member_of_the_standard() -> None:
    problem = Problem(Kind.STATE, members={"status": 200, "type": "about:blank"})
    assert problem.document()["status"] == 409
    assert problem.document()["type"].endswith("/state")


def test_two_occurrences_are_two_instances() -> None:
    problem = Problem(Kind.CLEARANCE)
    assert problem.document()["instance"] != problem.document()["instance"]
