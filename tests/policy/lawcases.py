"""The policy cases: `cases/*.toml`, one scenario and what the law makes of it to a file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gateway.law import packaged_lawbook
from policy.lawbook import Lawbook

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class PolicyCase:
    """`scenario` is what `situs law explain` reads; `expect` what it must say."""

    name: str
    why: str
    scenario: dict[str, Any]
    expect: dict[str, Any]


@cache
def policy_cases() -> tuple[PolicyCase, ...]:
    return tuple(
        PolicyCase(**tomllib.loads(path.read_text("utf-8"))) for path in sorted(CASES.glob("*.toml"))
    )


@cache
def shipped_lawbook() -> Lawbook:
    return packaged_lawbook()
