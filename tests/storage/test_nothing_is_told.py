"""Addresses, subjects, peers and content stand nowhere but in sealed objects of the home region.

Marked values go through every door of storage, in success and in failure; then all that was logged, every
error's text, every file that the process or an engine has written, in either region, is searched.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from policy.address import Address
from storage.errors import StorageError
from storage.mailbox import append
from storage.traffic import Envelope
from storage.vault import Vault
from tests.engines import GERMANY, IRELAND, EngineKind, Engines, settings_on
from tests.storage.grounds import NOW, World, world

# No one of them is a part of another, or of anything else.
MARKS: Final = ("zzlocal", "zzdomain", "zzalias", "zzname", "zzsubject", "zzcontent", "zzhelo", "zzpassword")
PEER: Final = "203.0.113.77"
OWNER: Final = Address.parse("zzlocal@zzdomain.test")
ALIAS: Final = Address.parse("zzalias@zzdomain.test")
NOBODY: Final = Address.parse("zzlocal.nobody@zzdomain.test")
MAIL: Final = b"From: zzlocal@x\r\nSubject: zzsubject\r\n\r\nzzcontent zzcontent\r\n"
ENVELOPE: Final = Envelope("zzlocal@x.test", str(OWNER), PEER, "zzhelo", NOW, "ESMTP")


def marked(octets: bytes) -> list[str]:
    lower = octets.lower()
    return [mark for mark in (*MARKS, PEER) if mark.encode() in lower]


def files_under(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in folder.rglob("*") if path.is_file())


async def told(work: Awaitable[object], said: list[str]) -> None:
    """Do it, and keep what an error says, with what it came from."""
    try:
        await work
    except StorageError as error:
        cause: BaseException | None = error
        while cause is not None:
            said.append(f"{type(cause).__name__}: {cause}")
            cause = cause.__cause__


async def every_door(earth: World, said: list[str]) -> None:
    directory = earth.directory
    await told(directory.create(OWNER, IRELAND.code, password="zzpassword", display_name="zzname"), said)
    await told(directory.create(OWNER, GERMANY.code), said)
    await told(directory.add_alias(ALIAS, OWNER), said)
    await told(directory.add_alias(OWNER, ALIAS), said)
    await told(directory.set_catch_all(OWNER.domain, OWNER), said)
    await told(directory.set_catch_all(OWNER.domain, None), said)
    await told(directory.remove_alias(NOBODY), said)
    await told(directory.rotate(OWNER), said)
    for seen_from in (IRELAND, GERMANY):
        await told(earth.seen_from(seen_from).locate(NOBODY), said)
    located = await directory.locate(ALIAS)
    home = earth.ground.home(located)
    await told(append(home, located, ENVELOPE, MAIL), said)
    await told(append(earth.store(GERMANY), located, ENVELOPE, MAIL), said)
    await told(Vault(home).put_if_absent("orders/a", MAIL), said)
    await told(Vault(home).put_if_absent("orders/a", MAIL), said)
    for region in (IRELAND, GERMANY):
        earth.place(region).goes_down()
        await told(append(home, located, ENVELOPE, MAIL), said)
        await told(directory.suspend(OWNER), said)
        await told(earth.seen_from(region).locate(NOBODY), said)
        await told(directory.book.mend(), said)
        earth.place(region).comes_back()
    await told(earth.close(OWNER), said)
    await told(directory.locate(OWNER), said)
    for key in [each.key async for each in home.mail.list("mail")]:
        await home.mail.put(key, b"damaged")
    await told(directory.book.sync(), said)


async def test_nothing_is_told_outside_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    running = {
        region: Engines.start(EngineKind.SEAWEEDFS, tmp_path / str(region.code))
        for region in (IRELAND, GERMANY)
    }
    said: list[str] = []
    try:
        caplog.set_level(logging.INFO)
        with capture_logs() as logged:
            async with world(
                lambda _, region: settings_on(running[region].engine, region, tmp_path),
                (IRELAND, GERMANY),
                EngineKind.SEAWEEDFS,
                deadline=2,
            ) as earth:
                await every_door(earth, said)
    finally:
        for engine in running.values():
            engine.stop()

    assert len(said) >= 10  # the failing doors did fail, and were heard
    assert logged  # and something was logged of it
    for text in (*said, *map(repr, logged), caplog.text):
        assert not marked(text.encode()), text
    written = list(files_under(tmp_path))
    # The engines keep their data there: the mail is in these files, sealed.
    assert sum(path.stat().st_size for path in written) > 20_000
    for path in written:
        assert not marked(path.read_bytes()), path
    assert list(files_under(temporary)) == []


def test_the_search_finds_what_is_there() -> None:
    assert marked(MAIL) == ["zzlocal", "zzsubject", "zzcontent"]
    assert marked(f"connection from {PEER}".encode()) == [PEER]
