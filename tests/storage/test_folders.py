"""The owner's folders, on both engines: names, arrivals, flags, filing, deletion."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from storage.exporting import Exported, owners_mail
from storage.flags import Flags
from storage.folder_filing import Filing
from storage.folders import (
    INBOX,
    FlagChange,
    FlagMode,
    Folder,
    FolderExists,
    FolderRefused,
    Folders,
    NoSuchFolder,
    View,
)
from storage.header_block import LONGEST, LONGEST_STRUCTURE, Editions, Telling, Wanted
from storage.identity import MessageIds
from storage.importing import Found, announce, import_message
from storage.keyring import Keyholder, rotate_keyring
from storage.mailbox import Envelope, append, message_key
from storage.objects import Listed
from storage.region import RegionStore
from storage.tombstones import hidden
from tests.holds.people import AOIFE, NORA, NOW, on
from tests.holds.ward import MAIL, Ward, ward

HEADER = MAIL.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
SEEN, DELETED, FLAGGED = "\\Seen", "\\Deleted", "\\Flagged"


@pytest.fixture
async def it(shared_region: RegionStore) -> AsyncIterator[Ward]:
    async with ward(shared_region) as made:
        yield made


async def signed_in(it: Ward) -> Folders:
    return await Folders.open(it.store, it.located, it.register, lambda: it.now)


async def inbox_of(it: Ward) -> tuple[Folder, View]:
    folder = await (await signed_in(it)).folder(INBOX)
    return folder, await folder.refresh()


def add(*flags: str) -> FlagChange:
    return FlagChange(FlagMode.ADD, frozenset(flags))


async def headers_of(folder: Folder, view: View) -> dict[int, bytes]:
    return {uid: header async for uid, header in folder.headers(view, view.uids)}


async def contents_of(folder: Folder, view: View) -> list[tuple[int, bytes]]:
    return [one async for one in folder.contents(view, view.uids)]


async def test_every_account_has_the_folders_that_clients_look_for(it: Ward) -> None:
    names = await (await signed_in(it)).names()
    assert [(one.name, one.special_use) for one in names] == [
        ("INBOX", None),
        ("Archive", "\\Archive"),
        ("Drafts", "\\Drafts"),
        ("Junk", "\\Junk"),
        ("Sent", "\\Sent"),
        ("Trash", "\\Trash"),
    ]
    assert len({one.uid_validity for one in names}) == 6
    assert await (await signed_in(it)).names() == names


async def test_mail_shows_in_the_order_of_its_coming(it: Ward) -> None:
    ids = await it.deliver(5)
    folder, view = await inbox_of(it)
    assert list(view.uids) == [1, 2, 3, 4, 5]
    assert view.recent == {1, 2, 3, 4, 5}
    assert (view.uid_next, view.unseen) == (6, 5)
    entries = await folder.entries(view, view.uids)
    assert [entry.message for entry in entries] == ids
    assert {entry.size for entry in entries} == {len(MAIL)}
    assert entries[0].internal_date == ids[0].received_at
    assert set((await headers_of(folder, view)).values()) == {MAIL.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"}
    assert await contents_of(folder, view) == [(uid, MAIL) for uid in view.uids]
    (later,) = await it.deliver(1)
    view = await folder.refresh()
    assert view.recent == {6}
    assert (await folder.entries(view, [6]))[0].message == later
    assert (await inbox_of(it))[1].recent == frozenset()


async def test_flags(it: Ward) -> None:
    await it.deliver(3)
    folder, view = await inbox_of(it)
    outcome = await folder.store([1, 3], add("\\seen", "$Forwarded"))
    both = frozenset({SEEN, "$Forwarded"})
    assert [(one.uid, one.flags) for one in outcome.entries] == [(1, both), (3, both)]
    after = await folder.refresh()
    assert (after.unseen, after.highest_modseq) == (1, view.highest_modseq + 1)
    assert [one.uid for one in await folder.changed(after, view.highest_modseq)] == [1, 3]
    # RFC 7162 3.1.3: what has changed since is left alone.
    outcome = await folder.store([1, 2], add(FLAGGED), unchanged_since=view.highest_modseq)
    assert ([one.uid for one in outcome.entries], outcome.modified) == ([2], (1,))
    again = await folder.store([1], add(SEEN))
    assert again.entries[0].modseq == after.highest_modseq  # nothing changed: nobody is told
    for wrong in ("\\Recent", "\\Own", "a b", "", "a" * 61, "(", "ü"):
        with pytest.raises(FolderRefused):
            await folder.store([1], add(wrong))
    other, seen_there = await inbox_of(it)
    assert (await other.entries(seen_there, [1]))[0].flags == {SEEN, "$Forwarded"}
    await folder.store([1], FlagChange(FlagMode.SET, frozenset()))
    await folder.store([2], FlagChange(FlagMode.REMOVE, frozenset({FLAGGED})))
    assert (await folder.refresh()).unseen == 2


async def test_append_and_its_date(it: Ward) -> None:
    folder = await (await signed_in(it)).folder("Sent")
    sent = datetime(2024, 2, 29, 12, tzinfo=UTC)
    uid = await folder.append(b"Subject: x\r\n\r\nbody\r\n", frozenset({SEEN}), sent)
    view = await folder.refresh()
    (entry,) = await folder.entries(view, [uid])
    assert (entry.internal_date, entry.flags, entry.size) == (sent, frozenset({SEEN}), 20)
    # It was received now, and an order's timespan is measured by that.
    assert entry.message.received_at == it.now
    assert (await inbox_of(it))[1].count == 0
    assert (await folder.refresh()).count == 1


EDGES = (
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-12))),
)


async def test_a_date_that_utc_cannot_hold_does_not_close_the_folder(it: Ward) -> None:
    """By an APPEND, and by what an import has noted beside the message."""
    folder = await (await signed_in(it)).folder(INBOX)
    for date in EDGES:
        await folder.append(MAIL, internal_date=date)
        found = Found(f"cur/{date.year}", MAIL, NOW, flags=Flags(INBOX, frozenset(), date))
        assert await import_message(it.store, it.located, str(AOIFE), found)
    await announce(it.store, it.located, it.now)
    it.now += timedelta(hours=1)
    view = await folder.refresh()
    assert view.count == 4
    shown = [entry.internal_date.astimezone(UTC).year for entry in await folder.entries(view, view.uids)]
    again, view = await inbox_of(it)
    read = [entry.internal_date.astimezone(UTC).year for entry in await again.entries(view, view.uids)]
    assert sorted(shown) == sorted(read) == [1, 1, 9999, 9999]


async def test_a_header_that_is_too_long_for_the_index_is_read_from_its_message(it: Ward) -> None:
    """Nor does a sender who writes no empty line make an index of his mail."""
    folder, _ = await inbox_of(it)
    long = b"Subject: a\r\nX: ".ljust(LONGEST, b"x") + b"\r\n\r\n"
    mails = [b"Subject: b\r\n\r\nb", long + b"body", b"x" * (LONGEST + 1), b"Subject: c\r\n\r\nc"]
    for mail in mails:
        await folder.append(mail)
    view = await folder.refresh()
    assert [one async for one in folder.headers(view, view.uids)] == [
        (1, b"Subject: b\r\n\r\n"), (2, long), (3, mails[2]), (4, b"Subject: c\r\n\r\n")
    ]  # fmt: skip
    # It is no longer than that wherever the message goes.
    archive = await (await signed_in(it)).folder("Archive")
    await folder.copy([2], archive)
    await folder.move([2], archive)
    view = await archive.refresh()
    assert [header async for _, header in archive.headers(view, view.uids)] == [long, long]
    prefix = f"folders/{it.located.account}/"
    sizes = [one.size async for one in it.store.mail.list(prefix) if "/headers/" in one.key]
    assert max(sizes) < 10_000


async def test_what_a_door_tells_of_headers_is_made_once(it: Ward) -> None:
    """As mail comes in, wherever it goes after; anew where the rules have changed, or none was kept."""
    told: list[bytes] = []

    def tell(header: bytes) -> bytes:
        told.append(header)
        return b"%d octets" % len(header)

    async def inbox(edition: int) -> tuple[Folder, Folders]:
        folders = await Folders.open(
            it.store,
            it.located,
            it.register,
            lambda: it.now,
            Telling(Editions(edition, 0), tell, lambda _: b""),
        )
        return await folders.folder(INBOX), folders

    async def of(folder: Folder) -> list[bytes]:
        view = await folder.refresh()
        return [one.told async for _, one in folder.headings(view, view.uids, Wanted(told=True))]

    long = b"X: ".ljust(LONGEST, b"x") + b"\r\n\r\n"
    plain = await (await signed_in(it)).folder(INBOX)
    await plain.append(b"Subject: from a door that tells nothing\r\n\r\n")
    first, folders = await inbox(1)
    await it.deliver(1)
    await first.refresh()
    await first.append(long)
    assert await of(first) == [b"43 octets", b"%d octets" % len(HEADER), b"%d octets" % len(long)]
    # Made now: what was put by the other door, and what is too long to be kept. The third was made at intake.
    assert sorted(map(len, told)) == sorted([43, len(long), len(HEADER)])
    archive = await folders.folder("Archive")
    await first.move([2], archive)
    assert await of(archive) == [b"%d octets" % len(HEADER)]
    assert len(told) == 3
    second, _ = await inbox(2)
    assert len(await of(second)) == 2
    later = await (await inbox(2))[1].folder("Archive")
    assert await of(later) == [b"%d octets" % len(HEADER)]
    assert len(told) == 6


async def test_what_a_door_tells_of_a_whole_message_is_made_once(it: Ward) -> None:
    """As it comes in, wherever it goes after. Of what is too long to be kept, or was put by a door with
    other rules, the message is read, and the order stays that of the UIDs."""
    read: list[str] = []

    async def inbox(edition: int) -> tuple[Folder, Folders]:
        def structure(content: bytes) -> bytes:
            return b"%d of %d" % (edition, len(content)) + b" " * content.count(b"part")

        telling = Telling(Editions(0, edition), lambda _: b"", structure)
        folders = await Folders.open(it.store, it.located, it.register, lambda: it.now, telling)
        return await folders.folder(INBOX), folders

    async def of(folder: Folder) -> list[tuple[int, bytes]]:
        view = await folder.refresh()
        read.clear()
        stream = folder.headings(view, view.uids, Wanted(structure=True))
        return [(uid, one.structure.rstrip()) async for uid, one in stream]

    get_range = it.store.mail.get_range

    async def counted(key: str, start: int, length: int) -> bytes:
        read.append(key)
        return await get_range(key, start, length)

    it.store.mail.get_range = counted  # type: ignore[method-assign]
    many = b"Subject: many\r\n\r\n" + b"part" * LONGEST_STRUCTURE
    first, folders = await inbox(1)
    await it.deliver(1)
    await first.refresh()
    await first.append(many)
    await first.append(b"Subject: x\r\n\r\n")
    size = len(MAIL)
    assert await of(first) == [(1, b"1 of %d" % size), (2, b"1 of %d" % len(many)), (3, b"1 of 14")]
    assert len(read) == 1, "the long one, which is not kept"
    archive = await folders.folder("Archive")
    await first.copy([1], archive)
    await first.move([3], archive)
    assert await of(archive) == [(1, b"1 of %d" % size), (2, b"1 of 14")]
    assert not read
    _, others = await inbox(2)
    later = await others.folder("Archive")
    await later.append(b"Subject: y\r\n\r\n")
    assert await of(later) == [(1, b"2 of %d" % size), (2, b"2 of 14"), (3, b"2 of 14")]
    assert len(read) == 2, "what the first door has kept is not shown by the second"
    _, again = await inbox(1)
    archive = await again.folder("Archive")
    view = await archive.refresh()
    await it.store.mail.delete(message_key(it.located.account, (await archive.entries(view, [3]))[0].message))
    assert await of(archive) == [(1, b"1 of %d" % size), (2, b"1 of 14")], "one that is gone is left out"


async def test_copy_makes_a_message_of_the_same_time(it: Ward) -> None:
    ids = await it.deliver(3)
    folders = await signed_in(it)
    inbox, archive = await folders.folder(INBOX), await folders.folder("Archive")
    await inbox.refresh()
    await inbox.store([2], add(SEEN))
    assert await inbox.copy([2, 3, 9], archive) == ((2, 1), (3, 2))
    view = await archive.refresh()
    copies = await archive.entries(view, view.uids)
    assert [one.message.received_at for one in copies] == [one.received_at for one in ids[1:]]
    assert not {one.message for one in copies} & set(ids)
    assert [one.flags for one in copies] == [{SEEN}, frozenset()]
    assert await contents_of(archive, view) == [(1, MAIL), (2, MAIL)]
    it.now += timedelta(days=8)  # a whole comparison is due, and finds nothing to do
    assert (await inbox.refresh()).count == 3
    assert (await archive.refresh()).count == 2


async def test_a_move_changes_heads_and_no_object(it: Ward) -> None:
    await it.deliver(4)
    folders = await signed_in(it)
    inbox, trash = await folders.folder(INBOX), await folders.folder("Trash")
    before = await it.present()
    await inbox.refresh()
    assert await inbox.move([2, 4], trash) == ((2, 1), (4, 2))
    assert list((await inbox.refresh()).uids) == [1, 3]
    view = await trash.refresh()
    assert await contents_of(trash, view) == [(1, MAIL), (2, MAIL)]
    assert len(await headers_of(trash, view)) == 2
    assert await it.present() == before
    assert await trash.move([1], inbox) == ((1, 5),)
    assert await inbox.move([1], inbox) == ((1, 6),)  # RFC 6851 3.3: a new UID
    assert list((await inbox.refresh()).uids) == [3, 5, 6]


async def test_a_move_that_is_under_way_is_left_to_who_began_it(
    it: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is moved to where it is, while it leaves, would stand in two folders: whoever expunged
    it from one would take it from the other."""
    ids = await it.deliver(2)
    here, there = await signed_in(it), await signed_in(it)
    inbox, trash = await here.folder(INBOX), await here.folder("Trash")
    await inbox.refresh()
    other = await there.folder(INBOX)
    await other.refresh()
    carry = Filing._carry

    async def overtaken(filing: Filing, *given: object) -> tuple[int, ...]:
        monkeypatch.setattr(Filing, "_carry", carry)
        assert await other.move([1], other) == ()
        assert await other.move([2], other) == ((2, 3),)
        return await carry(filing, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Filing, "_carry", overtaken)
    assert await inbox.move([1], trash) == ((1, 1),)
    standing = []
    for name in (INBOX, "Trash"):
        folder = await (await signed_in(it)).folder(name)
        view = await folder.refresh()
        standing += [(name, one.message) for one in await folder.entries(view, view.uids)]
    assert standing == [(INBOX, ids[1]), ("Trash", ids[0])]


async def test_what_another_session_has_expunged_is_not_copied(it: Ward) -> None:
    """RFC 3501 6.4.8: a UID that is not there is passed over, though this session has not heard of it yet."""
    await it.deliver(2)
    here, there = await signed_in(it), await signed_in(it)
    inbox, archive = await here.folder(INBOX), await here.folder("Archive")
    await inbox.refresh()
    other = await there.folder(INBOX)
    await other.refresh()
    await other.store([1], add(DELETED))
    assert await other.expunge() == (1,)
    assert await inbox.copy([1, 2], archive) == ((2, 1),)
    assert await inbox.copy([1], archive) == ()


async def test_what_came_in_is_recent_in_one_session_that_claims_it(it: Ward) -> None:
    """RFC 3501 2.3.2; 6.3.2 and 6.3.10: in none that only looks."""
    await it.deliver(2)
    here, there = await signed_in(it), await signed_in(it)
    inbox, other = await here.folder(INBOX), await there.folder(INBOX)
    for folder in (inbox, other, inbox):
        assert (await folder.refresh(claims=False)).recent == {1, 2}
    await inbox.store([1], add(DELETED))
    assert await inbox.expunge() == (1,)
    await it.deliver(1)
    view = await other.refresh()
    assert (view.count, set(view.recent)) == (2, {2, 3})
    assert (await inbox.refresh()).recent == frozenset()
    assert (await other.refresh(claims=False)).recent == frozenset()


async def test_expunge(it: Ward) -> None:
    ids = await it.deliver(4)
    folder, _ = await inbox_of(it)
    await folder.store([1, 2, 4], add(DELETED))
    assert await folder.expunge([2, 3]) == (2,)  # RFC 4315 2.1
    assert await folder.expunge() == (1, 4)
    view = await folder.refresh()
    assert (list(view.uids), view.unseen, view.uid_next) == ([3], 1, 5)
    assert list(await headers_of(folder, view)) == [3]
    assert await it.kept() == {ids[2]}
    await it.deliver(1)
    assert list((await folder.refresh()).uids) == [3, 5]


async def test_what_a_hold_keeps_vanishes_for_its_owner_and_stays_for_the_law(it: Ward) -> None:
    ids = await it.deliver(2)
    await it.register.place(on(it.account), NORA)
    folder, _ = await inbox_of(it)
    await folder.store([1], add(DELETED))
    assert await folder.expunge() == (1,)
    assert list((await folder.refresh()).uids) == [2]
    assert list((await inbox_of(it))[1].uids) == [2]
    assert await it.present() == set(ids)
    assert [one async for one in hidden(it.store.mail, it.account)] == [ids[0]]
    # What the owner puts in while the hold lasts comes under the bucket's own lock.
    uid = await folder.append(b"Subject: y\r\n\r\n")
    (entry,) = await folder.entries(await folder.refresh(), [uid])
    (version,) = await it.versions.of(message_key(it.account, entry.message))
    assert await it.versions.is_locked(version)


async def test_a_delivery_that_is_sent_again_is_one_message(it: Ward) -> None:
    def envelope(second: int, sent: str) -> Envelope:
        when = NOW - timedelta(hours=1) + timedelta(seconds=second)
        return Envelope("b@example.ie", str(AOIFE), "192.0.2.1", "mx", when, "ESMTP", sent)

    named = b"Message-ID: <1@example.ie>\r\n" + MAIL
    first = await append(it.store, it.located, envelope(0, "a" * 64), b"Received: 1\r\n" + named)
    again = await append(it.store, it.located, envelope(1, "a" * 64), b"Received: 2\r\n" + named)
    await append(it.store, it.located, envelope(2, "b" * 64), named)
    # Without a Message-ID, the same words sent twice are two messages.
    for second in (3, 4):
        await append(it.store, it.located, envelope(second, "c" * 64), MAIL)
    folder, view = await inbox_of(it)
    assert view.count == 4
    later = await append(it.store, it.located, envelope(600, "a" * 64), b"Received: 3\r\n" + named)
    view = await folder.refresh()
    assert (view.count, (await folder.entries(view, [1]))[0].message) == (4, first)
    assert {one async for one in hidden(it.store.mail, it.account)} == {again, later}


async def test_clocks_that_differ(it: Ward) -> None:
    """A message that is late by minutes is found, and one from the future hides none."""
    ids = MessageIds()

    async def arrives(when: datetime) -> None:
        envelope = Envelope("b@example.ie", str(AOIFE), "", "mx", when, "ESMTP")
        await append(it.store, it.located, envelope, MAIL, message=ids.issue(when))

    await arrives(NOW)
    await arrives(NOW + timedelta(minutes=30))
    folder, view = await inbox_of(it)
    assert view.count == 2
    await arrives(NOW - timedelta(minutes=9))
    await arrives(NOW + timedelta(seconds=5))
    assert (await folder.refresh()).count == 4
    it.now += timedelta(hours=1)
    await arrives(it.now)
    assert (await folder.refresh()).count == 5
    assert (await folder.refresh()).count == 5


async def test_a_long_row_of_new_mail_is_listed_once(it: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken in by parts, each of which goes on where the last one stood; what came in late behind them, as
    by a clock that is slow, is for the next look."""
    monkeypatch.setattr("storage.folder_arrivals.CHUNK", 3)
    sent = await it.deliver(8)
    folder = await (await signed_in(it)).folder(INBOX)
    starts: list[str] = []
    listing = it.store.mail.list

    def listed(prefix: str, *, start_after: str | None = None) -> AsyncGenerator[Listed]:
        if prefix.startswith("mail/"):
            starts.append((start_after or "").removeprefix(prefix))
        return listing(prefix, start_after=start_after)

    monkeypatch.setattr(it.store.mail, "list", listed)
    view = await folder.refresh()
    assert starts[1:] == [str(sent[2]), str(sent[5])]
    late = MessageIds().issue(sent[1].received_at - timedelta(seconds=30))
    await append(it.store, it.located, Envelope("", "", "", "", NOW, "ESMTP"), MAIL, message=late)
    assert (await folder.refresh()).count == view.count + 1 == 9


async def test_imported_mail_shows_where_it_was_filed(it: Ward) -> None:
    await it.deliver(1)
    folder, _ = await inbox_of(it)
    then = datetime(2019, 3, 4, 5, 6, 7, tzinfo=UTC)
    for place, name in (("1", "INBOX"), ("2", "Archive/2019"), ("3", "no*name")):
        found = Found(place, MAIL, then, "b@x.ie", Flags(name, frozenset({SEEN})))
        assert await import_message(it.store, it.located, str(AOIFE), found)
    await announce(it.store, it.located, it.now)
    view = await folder.refresh()
    assert view.count == 3
    assert {entry.internal_date for entry in await folder.entries(view, [2, 3])} == {then}
    archived = await (await signed_in(it)).folder("Archive/2019")
    (entry,) = await archived.entries(await archived.refresh(), [1])
    assert entry.flags == {SEEN}
    assert (await folder.refresh()).count == 3


async def test_names(it: Ward) -> None:
    folders = await signed_in(it)
    made = await folders.create("Projects/Oak/")
    assert made.name == "Projects/Oak"
    with pytest.raises(FolderExists):
        await folders.create("Projects")
    for wrong in ("a//b", "", "/a", "a*", "a%", "a\x00b", "x" * 256, "..", "a/../b"):
        with pytest.raises(FolderRefused):
            await folders.create(wrong)
    await folders.subscribe("Projects/Oak", True)
    oak = await folders.folder("Projects/Oak")
    await oak.append(MAIL)
    await folders.rename("Projects", "Work")
    names = {one.name: one for one in await folders.names()}
    assert "Projects" not in names
    assert names["Work/Oak"].uid_validity == made.uid_validity
    assert "Projects/Oak" in await folders.subscriptions()  # RFC 3501 6.3.6: the name stays
    assert (await (await folders.folder("Work/Oak")).refresh()).count == 1
    # RFC 3501 6.3.4: a folder with others below it becomes a name that leads there.
    await folders.delete("Work")
    assert not {one.name: one for one in await folders.names()}["Work"].selectable
    with pytest.raises(NoSuchFolder):
        await folders.folder("Work")
    with pytest.raises(FolderRefused):
        await folders.delete("Work")
    await folders.delete("Work/Oak")
    await folders.delete("Work")
    assert await it.kept() == set()
    with pytest.raises(NoSuchFolder):
        await oak.refresh()
    with pytest.raises(FolderRefused):
        await folders.delete("inbox")
    again = await folders.create("Work/Oak")
    assert again.uid_validity > names["Work/Oak"].uid_validity
    # A name never goes back to a lower UIDVALIDITY, whoever comes to bear it.
    old = await folders.create("Old")
    young = await folders.create("Young")
    await folders.delete("Young")
    await folders.rename("Old", "Young")
    assert {one.name: one for one in await folders.names()}["Young"].uid_validity > young.uid_validity
    assert young.uid_validity > old.uid_validity


async def test_renaming_the_inbox_leaves_it_empty(it: Ward) -> None:
    await it.deliver(2)
    folders = await signed_in(it)
    await folders.rename("INBOX", "2026")
    assert (await (await folders.folder("2026")).refresh()).count == 2
    assert (await (await folders.folder("inbox")).refresh()).count == 0


async def test_what_the_sweeper_took_goes_out_of_the_folder(it: Ward) -> None:
    ids = await it.deliver(3)
    folder, view = await inbox_of(it)
    await it.destroy([ids[1]])
    assert [uid for uid, _ in await contents_of(folder, view)] == [1, 3]
    assert list((await folder.refresh()).uids) == [1, 3]


async def test_a_folder_that_was_deleted_meanwhile(it: Ward) -> None:
    folders, others = await signed_in(it), await signed_in(it)
    folder = await folders.folder("Drafts")
    await others.delete("Drafts")
    with pytest.raises(NoSuchFolder):
        await folder.append(MAIL)
    assert (await inbox_of(it))[1].count == 0  # nothing of it turns up anywhere
    with pytest.raises(NoSuchFolder):
        await folders.folder("Drafts")


async def test_new_keys_open_and_old_ones_still_do(it: Ward) -> None:
    await it.deliver(1)
    folder, _ = await inbox_of(it)
    holder = Keyholder(it.store.region.code, it.account)
    keys = await rotate_keyring(it.store.mail, it.store.keys, holder, NOW)
    it.located = replace(it.located, keys=keys)
    await it.deliver(1)
    other, _ = await inbox_of(it)
    await other.store([1], add(SEEN))
    view = await folder.refresh()
    assert (view.count, view.unseen) == (2, 1)
    assert len(await contents_of(folder, view)) == 2


async def test_an_export_says_where_its_owner_keeps_a_message(it: Ward) -> None:
    ids = await it.deliver(3)
    folders = await signed_in(it)
    inbox, archive = await folders.folder(INBOX), await folders.folder("Archive")
    await inbox.refresh()
    await inbox.store([2], add(SEEN))
    await inbox.move([2], archive)
    await inbox.store([3], add(DELETED))
    await inbox.expunge()
    (later,) = await it.deliver(1)
    found = [one async for one in owners_mail(it.store, it.located) if isinstance(one, Exported)]
    assert [(one.message, one.flags.folder, one.flags.flags) for one in found] == [
        (ids[0], INBOX, frozenset()),
        (ids[1], "Archive", frozenset({SEEN})),
        (later, INBOX, frozenset()),
    ]
