"""The demo's people and places, and the `situs.toml` that describes them.

Everything here is data: who is who in the Ireland case. `gateway.demo.site` makes it real.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from gateway.demo.engines import EngineProcess
from policy.clearance import Role


@final
@dataclass(frozen=True, slots=True)
class Place:
    """A region of the demo and the mailbox that is at home there."""

    code: str
    country: str
    address: str
    name: str


DEPLOYMENT: Final = "demo"
PLACES: Final = (
    Place("eu-west-1", "IE", "aoife@example.ie", "Aoife Byrne"),
    Place("eu-central-1", "DE", "jonas@example.de", "Jonas Weber"),
    Place("us-east-1", "US", "mary@example.com", "Mary Clarke"),
)
CODES: Final = tuple(place.code for place in PLACES)
SEAT: Final = CODES[0]
# By its duty, which is the domain's first mailbox's: a configuration has no need to name a person.
POSTMASTER: Final = "postmaster@example.ie"
# A minute, at the gateway: here one machine is every client, and a tool that tests an API asks fast.
RATE: Final = 60_000
# Two approvers, since the one who asked never is the one who approves; and somebody who is
# cleared for one region alone, to try what a region border looks like.
OPERATORS: Final[tuple[tuple[str, tuple[Role, ...], tuple[str, ...]], ...]] = (
    ("clerk", (Role.INTAKE,), CODES),
    ("counsel", (Role.APPROVER,), CODES),
    ("deputy", (Role.APPROVER,), CODES),
    ("custodian", (Role.CUSTODIAN,), CODES),
    ("auditor", (Role.AUDITOR,), CODES),
    ("administrator", (Role.ADMINISTRATOR,), CODES),
    ("sachbearbeiter", (Role.INTAKE,), ("eu-central-1",)),
    ("director", (Role.INTAKE, Role.APPROVER), CODES),
)


@final
@dataclass(frozen=True, slots=True)
class Doors:
    """Where the demo listens."""

    smtp: str
    lmtp: str
    imap: str
    gateway: str

    @classmethod
    def usual(cls) -> Doors:
        return cls("127.0.0.1:2525", "127.0.0.1:2424", "127.0.0.1:1143", "127.0.0.1:8025")

    @classmethod
    def free(cls) -> Doors:
        """Any free ports, known once they are bound."""
        return cls(*["127.0.0.1:0"] * 4)


def write_config(path: Path, engines: Mapping[str, EngineProcess], doors: Doors) -> None:
    """The demo's `situs.toml`: it holds the engines' credentials, so it is its owner's alone."""
    lines = [
        "# Written by `situs demo`. deploy/situs.toml explains every key.",
        *_keys(deployment=DEPLOYMENT, serves=list(CODES), provider_entities=["IE", "DE", "US"]),
        "[directory]",
        *_keys(key_file="secrets/directory.key", registrar=SEAT, reads=SEAT),
        "[law]",
        *_keys(trust="trust"),
        "[smtp]",
        *_keys(listen=[doors.smtp], hostname="mx.situs.example", postmaster=POSTMASTER),
        "[lmtp]",
        *_keys(listen=[doors.lmtp], hostname="mx.situs.example"),
        "[imap]",
        *_keys(listen=[doors.imap], hostname="imap.situs.example"),
        "[gateway]",
        *_keys(listen=doors.gateway, seat=SEAT, requests_per_minute=RATE, strangers_per_minute=RATE),
    ]
    for place in PLACES:
        engine = engines[place.code]
        lines += [
            f"[regions.{place.code}]",
            *_keys(
                country=place.country,
                endpoint=engine.endpoint,
                bucket=f"situs-mail-{place.country.lower()}",
                audit_bucket=f"situs-audit-{place.country.lower()}",
                access_key_id=engine.access_key_id,
                secret_access_key=engine.secret_access_key,
            ),
            f"[regions.{place.code}.keys]",
            *_keys(service="file", path=f"secrets/{place.code}.key"),
            f"[regions.{place.code}.audit]",
            *_keys(
                signing_key_file=f"secrets/{place.code}.audit.key",
                pseudonym_key_file=f"secrets/{place.code}.pseudonym.key",
            ),
        ]
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")


def _keys(**values: int | str | list[str]) -> list[str]:
    # A TOML basic string takes every escape that JSON writes (TOML 1.0, "String").
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]
