"""`situs package verify`: the receiving side's check. Needs nothing of the provider's but its public key."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.disclosure.receipt import NoPackage, check_package
from storage.audit.note import NoteError, VerifierKey

_WORDS = {True: "ok", False: "NO", None: "-"}


@click.group()
def package() -> None:
    """Check a disclosure package."""


@package.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--key", metavar="VERIFIER_KEY", help="The log's verifier key; checks the proof of the release."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def verify(directory: Path, key: str | None, as_json: bool) -> None:
    """Check DIRECTORY: manifest.json, and each part decrypted under its name.

    Decrypt a part with: openssl cms -decrypt -inform DER -binary -in NAME.p7m -recip CERT -inkey KEY
    -out NAME
    """
    try:
        verifier = VerifierKey.parse(key) if key else None
        checks = list(check_package(directory, verifier))
    except NoteError as error:
        raise UsageFault(f"--key: {error}") from None
    except NoPackage as error:
        raise UsageFault(str(error)) from None
    failed = [check.name for check in checks if check.ok is False]
    if as_json:
        told = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
        click.echo(json.dumps({"ok": not failed, "checks": told}))
    else:
        for check in checks:
            click.echo(f"{_WORDS[check.ok]:<3} {check.name}: {check.detail}")
    if failed:
        raise AnswerIsNo(f"{directory}: {len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")
