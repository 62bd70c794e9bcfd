"""Erasure: nothing left in any version, a certificate that anybody can check, and no hold overridden."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy.order import Timespan
from policy.retention import parse_label
from storage.audit.entry import Event
from storage.audit.log import AuditLog
from storage.audit.note import NoteError
from storage.audit.records import Erased, RecordRoom
from storage.audit.source import BackendSource
from storage.audit.verify import Demands, verify
from storage.deletion import Eraser
from storage.erasure import Erasure
from storage.errors import Corrupt, KeyRefused, NotFound, StorageError, Unavailable
from storage.flags import Flags, put_flags
from storage.holds import Held
from storage.keyring import Keyholder, Keyring, create_keyring
from storage.labels import put_label
from storage.layout import ACCOUNT_FOLDERS
from storage.mailbox import message_key
from storage.opening import Opener
from storage.region import RegionStore
from storage.tombstones import hide
from storage.unheld import refuse_if_held
from tests.audit.logs import REGION, SIGNER, entry
from tests.holds.people import NORA, NOW, on
from tests.holds.ward import PSEUDONYMS, Ward, ward


def erasure(it: Ward) -> Erasure:
    return Erasure(it.store, it.register, SIGNER, settle=0)


async def left(it: Ward) -> list[str]:
    """Every version and marker of the account, in every folder that is an account's."""
    return [
        version.key
        for folder in sorted(ACCOUNT_FOLDERS)
        async for version in it.versions.list(f"{folder}/{it.account}/")
    ]


async def furnished(it: Ward) -> None:
    """Mail, hidden mail, deleted mail, a label, flags, rotated keys, a changed subscriber record."""
    ids = await it.deliver(5)
    await hide(it.store.mail, it.account, ids[0])
    await it.store.mail.delete(message_key(it.account, ids[1]))
    await put_label(it.vault, it.account, ids[2], parse_label("work"))
    await put_flags(it.store, it.located.keys, it.account, ids[3], Flags(flags=frozenset({"\\Seen"})))
    keyring = Keyholder(it.store.region.code, it.account).key
    for key in (keyring, f"accounts/{it.account}/account.json"):
        blob = await it.store.mail.get(key)
        await it.store.mail.compare_and_swap(key, blob.body + b" ", blob.etag)
        await it.store.mail.compare_and_swap(key, blob.body, (await it.store.mail.get(key)).etag)
    await it.store.mail.put(f"folders/{it.account}/INBOX", b"an index")


async def test_nothing_is_left_and_the_certificate_says_what_was_there(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        await furnished(it)
        certificate = await erasure(it).erase(it.account, "ada")
        assert await left(it) == []
        certificate.verify(SIGNER.key)
        text = certificate.text
        assert f"account: {PSEUDONYMS.account(it.account)}\n" in text
        assert "3 versions\n" in text, "each version of the keyring"
        assert "destroyed: 5 messages," in text
        assert "aoife" not in text
        assert str(it.account) not in text
        with pytest.raises(NoteError):
            replace(certificate, note=certificate.note.replace(b"5 messages", b"6 messages")).verify(
                SIGNER.key
            )
        (entry,) = it.ledger.entries
        assert (entry.event, entry.subject) == (Event.ACCOUNT_ERASED, certificate.digest)
        assert await erasure(it).erase(it.account, "ada") == certificate
        assert len(it.ledger.entries) == 1
        note = await it.versions.of(f"erasures/{it.account}.json")
        assert len(note) == 1, "no earlier version of it names the address"
        assert b"aoife" not in (await it.vault.get(note[0].key)).body


async def test_shredded_keys_open_no_copy_of_the_mail(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        (message,) = await it.deliver(1)
        sealed = (await it.store.mail.get(message_key(it.account, message))).body
        assert (await Opener(it.store, it.account).unseal(message, sealed))[1]
        await erasure(it).erase(it.account, "ada")
        with pytest.raises(NotFound):
            await Opener(it.store, it.account).unseal(message, sealed)
        # Not even keys of the same name made anew.
        await create_keyring(it.store.mail, it.store.keys, Keyholder(it.store.region.code, it.account), NOW)
        with pytest.raises((Corrupt, KeyRefused)):
            await Opener(it.store, it.account).unseal(message, sealed)


async def test_erasure_is_refused_under_any_hold_with_its_reference_and_logged(
    shared_region: RegionStore,
) -> None:
    async with ward(shared_region) as it:
        ids = await it.deliver(2)
        narrow = Timespan(ids[0].received_at, ids[1].received_at)
        held = await it.register.place(replace(on(it.account), timespan=narrow), NORA)
        before = await left(it)
        with pytest.raises(Held) as refused:
            await erasure(it).erase(it.account, "ada")
        assert refused.value.holds == (held.id,)
        assert await left(it) == before
        entry = it.ledger.entries[-1]
        assert (entry.event, entry.hold) == (Event.DELETION_REFUSED, str(held.id))
        with pytest.raises(Held, match="closure"):
            await refuse_if_held(it.register, it.mailbox, "closure", "ada")


async def test_an_unreadable_register_refuses_too(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        await it.store.mail.put(f"holds/{it.account}/{'7' * 32}.json", b"no hold")
        with pytest.raises(Corrupt):
            await erasure(it).erase(it.account, "ada")
        assert await Keyring.load(it.store.mail, it.store.keys, Keyholder(it.store.region.code, it.account))


@pytest.mark.parametrize("after", range(1, 7))
async def test_a_crash_after_any_step_is_resumed(
    shared_region: RegionStore, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The process dies after the n-th batch that it destroyed, or after the n-th note that it wrote."""
    monkeypatch.setattr("storage.erasure.BATCH", 2)
    async with ward(shared_region) as it:
        await furnished(it)
        with monkeypatch.context() as crashing:
            calls = 0
            destroy = Eraser.destroy

            async def dying(self: Eraser, candidates: object) -> object:
                nonlocal calls
                outcome = await destroy(self, candidates)  # type: ignore[arg-type]
                calls += 1
                if calls == after:
                    raise Unavailable("the process died here")
                return outcome

            crashing.setattr(Eraser, "destroy", dying)
            with pytest.raises(StorageError):
                await erasure(it).erase(it.account, "ada")
        certificate = await erasure(it).erase(it.account, "ada")
        assert await left(it) == []
        certificate.verify(SIGNER.key)


async def test_the_log_stays_valid_and_the_records_of_the_erased_cannot_be_read(region: RegionStore) -> None:
    """Whoever was asked about is forgotten; that somebody asked, when, and with what end, is not."""
    async with ward(region) as it, await AuditLog.open(region.audit, REGION, SIGNER) as log:
        await it.deliver(1)
        room = RecordRoom(it.store, it.vault)
        about = await room.keep({"order": "of the District Court"}, (it.account, it.located.keys))
        other = await room.keep({"operator": "nora"})
        for number, digest in enumerate((about, other)):
            await log.append(replace(entry(number), record=digest))
        assert (await room.open(about))["order"] == "of the District Court"

        await Erasure(it.store, it.register, SIGNER, settle=0).erase(it.account, "ada")

        with pytest.raises(Erased):
            await room.open(about)
        await log.published(2)
        report = await verify(BackendSource(region.audit), SIGNER.key, Demands(records=room))
    assert (report.faults, report.entries) == ([], 2)
    assert (report.records, report.erased) == (1, 1)
