"""Who is asking: tokens at rest, in memory and on the way; regions that know them, and regions down."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from gateway.disclosure.authentication import Asker, Authentication, Presented, Unauthenticated
from policy.clearance import NotCleared, Role, RolesConflict
from policy.geography import RegionCode
from storage.errors import AlreadyExists, Corrupt, NotFound, Unavailable
from storage.operators import OperatorRecord, OperatorRegister, Token, one_script, person
from tests.disclosure.desk import MovableClock
from tests.disclosure.documents import Documents
from tests.policy.pki import NOW

IE, DE = RegionCode("eu-west-1"), RegionCode("eu-central-1")
TOKEN = Token.new()
OTHERS = Token.new().hash()
RECORD = OperatorRecord(
    TOKEN.id,
    "Ína Ní Bhriain",
    frozenset({Role.INTAKE}),
    frozenset({IE, DE}),
    TOKEN.hash(),
    NOW,
    NOW + timedelta(days=90),
)


class Gate:
    """Two regions, a clock, and the authentication between them."""

    def __init__(self) -> None:
        self.documents = {IE: Documents(), DE: Documents()}
        self.registers = {region: OperatorRegister(found) for region, found in self.documents.items()}
        self.clock = MovableClock(NOW)
        self.authentication = Authentication(self.registers, self.clock)

    async def knock(self, header: str | None = f"Bearer {TOKEN.text}") -> Asker:
        return await self.authentication.authenticate(Presented(header))


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def test_a_record_clears_for_the_region_it_lies_in_and_no_other(gate: Gate) -> None:
    """Ireland's record says Germany too; Germany has no such record: nobody is cleared there."""
    await gate.registers[IE].add(RECORD)
    asker = await gate.knock()
    assert asker.cleared(Role.INTAKE, IE).operator.name == "ína ní bhriain"
    with pytest.raises(NotCleared):
        asker.cleared(Role.INTAKE, DE)
    assert asker.name == "Ína Ní Bhriain"


async def test_a_record_about_another_region_clears_nobody(gate: Gate) -> None:
    """Germany's own record, copied into Ireland's bucket."""
    await gate.registers[IE].add(replace(RECORD, regions=frozenset({DE})))
    with pytest.raises(Unauthenticated):
        await gate.knock()


async def test_a_wrong_secret_is_nobody(gate: Gate) -> None:
    await gate.registers[IE].add(RECORD)
    with pytest.raises(Unauthenticated):
        await gate.knock(f"Bearer {replace(TOKEN, secret='0' * 64).text}")


async def test_what_is_revoked_opens_nothing_after_fifteen_seconds(gate: Gate) -> None:
    await gate.registers[IE].add(RECORD)
    await gate.knock()
    await gate.registers[IE].revoke(TOKEN.id, NOW)
    gate.clock.advance(seconds=15)
    with pytest.raises(Unauthenticated):
        await gate.knock()


async def test_a_token_is_over_at_the_very_second(gate: Gate) -> None:
    """However lately it was good: what is remembered ends with the first of the records."""
    for region, expires in ((IE, RECORD.expires), (DE, RECORD.expires + timedelta(days=1))):
        await gate.registers[region].add(replace(RECORD, expires=expires))
    gate.clock.now = RECORD.expires - timedelta(seconds=1)
    assert (await gate.knock()).regions(Role.INTAKE) == {IE, DE}
    gate.clock.advance(seconds=1)
    assert (await gate.knock()).regions(Role.INTAKE) == {DE}
    gate.clock.advance(days=1)
    with pytest.raises(Unauthenticated):
        await gate.knock()


class _Counting:
    """argon2, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def verify(self, phc: str, secret: str) -> bool:
        self.asked += 1
        return PasswordHasher().verify(phc, secret)


@pytest.fixture
def hasher(monkeypatch: pytest.MonkeyPatch) -> _Counting:
    counting = _Counting()
    monkeypatch.setattr("storage.operators._HASHER", counting)
    return counting


async def test_a_wrong_secret_costs_its_sender_more_than_us(gate: Gate, hasher: _Counting) -> None:
    """Who knows a token's id could otherwise have 64 MiB and a core used for each guess."""
    await gate.registers[IE].add(replace(RECORD, hint=TOKEN.hint))
    for secret in (Token.new().secret for _ in range(1000)):
        with pytest.raises(Unauthenticated):
            await gate.knock(f"Bearer {Token(TOKEN.id, secret).text}")
    assert hasher.asked == 0
    await gate.knock()
    assert hasher.asked == 1


async def test_a_hint_alone_lets_nobody_in(gate: Gate, hasher: _Counting) -> None:
    """Another token's hash beside the hint of this one; and a record from before there were hints."""
    await gate.registers[IE].add(replace(RECORD, hint=TOKEN.hint, credential=OTHERS))
    with pytest.raises(Unauthenticated):
        await gate.knock()
    await gate.registers[DE].add(RECORD)
    assert (await gate.knock()).regions(Role.INTAKE) == {DE}
    assert hasher.asked == 3  # the other's hash for either request, and then its own


async def test_what_was_found_right_is_not_hashed_again(gate: Gate, hasher: _Counting) -> None:
    await gate.registers[IE].add(RECORD)
    for _ in range(3):
        await gate.knock()
        gate.clock.advance(seconds=15)
    assert hasher.asked == 1
    await gate.registers[IE].revoke(TOKEN.id, NOW)
    with pytest.raises(Unauthenticated):
        await gate.knock()


async def test_who_was_here_lately_is_no_stranger_and_who_was_turned_away_is(gate: Gate) -> None:
    await gate.registers[IE].add(RECORD)
    called: list[str] = []

    async def knock(who: str, header: str = f"Bearer {TOKEN.text}") -> None:
        await gate.authentication.authenticate(Presented(header), lambda: called.append(who))

    await knock("new")
    gate.clock.advance(minutes=10)
    await knock("known")
    await gate.registers[IE].revoke(TOKEN.id, NOW)
    gate.clock.advance(minutes=10)
    for who, header in (("revoked", TOKEN.text), ("again", TOKEN.text), ("garbage", "x"), ("none", "")):
        with pytest.raises(Unauthenticated):
            await knock(who, f"Bearer {header}")
    assert called == ["new", "again", "garbage", "none"]


async def test_a_verified_token_is_remembered_for_a_moment(gate: Gate) -> None:
    for region in (IE, DE):
        await gate.registers[region].add(RECORD)
    await gate.knock()
    reads = gate.documents[IE].reads
    assert (await gate.knock()).regions(Role.INTAKE) == {IE, DE}
    assert gate.documents[IE].reads == reads
    gate.clock.advance(seconds=15)
    await gate.knock()
    assert gate.documents[IE].reads == reads + 1


async def test_a_region_that_is_down_clears_nobody_and_is_asked_again(gate: Gate) -> None:
    for region in (IE, DE):
        await gate.registers[region].add(RECORD)
    gate.documents[DE].down = True
    assert (await gate.knock()).regions(Role.INTAKE) == {IE}
    gate.documents[DE].down = False
    assert (await gate.knock()).regions(Role.INTAKE) == {IE, DE}  # half an answer is not remembered


async def test_whether_somebody_is_known_cannot_be_said_while_a_region_is_down(gate: Gate) -> None:
    gate.documents[DE].down = True
    with pytest.raises(Unavailable):
        await gate.knock()


async def test_one_token_of_two_people_is_nobodys(gate: Gate) -> None:
    await gate.registers[IE].add(RECORD)
    await gate.registers[DE].add(replace(RECORD, name="Somebody Else"))
    with pytest.raises(Unauthenticated):
        await gate.knock()


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "bearer", "Basic x", "Bearer a b", f"Bearer x{TOKEN.text}"],
    # The token is a new one in each process, and xdist compares the names of tests between them.
    ids=["none", "empty", "Bearer", "bearer", "Basic", "two words", "a letter too many"],
)
async def test_what_is_no_token_reads_nothing(gate: Gate, header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        await gate.knock(header)
    assert gate.documents[IE].reads == 0


async def test_the_scheme_is_spelt_as_anybody_likes(gate: Gate) -> None:
    await gate.registers[IE].add(RECORD)
    assert (await gate.knock(f"bEARER  {TOKEN.text}")).token == TOKEN.id


def test_at_rest_there_is_a_hash_and_in_a_log_there_is_nothing() -> None:
    assert RECORD.credential.startswith("$argon2id$v=19$")
    assert TOKEN.secret not in RECORD.to_bytes().decode()
    assert TOKEN.secret not in repr(TOKEN)
    assert Token.parse(TOKEN.text) == TOKEN


async def test_a_record_is_written_once_and_ends_for_good(gate: Gate) -> None:
    register = gate.registers[IE]
    await register.add(RECORD)
    with pytest.raises(AlreadyExists):
        await register.add(RECORD)
    first = await register.revoke(TOKEN.id, NOW)
    assert await register.revoke(TOKEN.id, NOW + timedelta(days=1)) == first
    assert await register.list() == (first,)
    with pytest.raises(NotFound):
        await register.revoke("0" * 16, NOW)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"version": 2}', RECORD.to_bytes().replace(b"intake", b"root")]
)
def test_a_record_that_is_none_is_corrupt(body: bytes) -> None:
    with pytest.raises(Corrupt, match="operators/x"):
        OperatorRecord.from_bytes("operators/x", body)


def test_a_record_reads_back_as_it_was_written() -> None:
    assert OperatorRecord.from_bytes("k", RECORD.to_bytes()) == RECORD
    ended = replace(RECORD, revoked=NOW, hint=TOKEN.hint)
    assert OperatorRecord.from_bytes("k", ended.to_bytes()) == ended


def test_nobody_may_approve_release_holds_and_administer_at_once() -> None:
    with pytest.raises(RolesConflict):
        replace(RECORD, roles=frozenset({Role.APPROVER, Role.CUSTODIAN, Role.ADMINISTRATOR}))


@pytest.mark.parametrize("spelling", ["INA  NI BHRIAIN", " ina ni bhriain ", "ｉna ni bhriain"])
def test_two_spellings_are_one_person(spelling: str) -> None:
    assert person(spelling) == person("Ina Ni Bhriain")


@pytest.mark.parametrize(
    "spelling",
    [
        "Ann\ufe0f O'Neill-Ó",
        "Ann O\u2019Neill-Ó",
        "Ann O\u02bcNeill\u2010Ó",
        "A\u034fnn O`Neill\u2013O\u0301",
        "\u3164Ann O\u00b4Neill-\u00d3",
        "ann o\uff07neill\u2011ó\U000e0101",
        "Ann\u00a0O\u2018Neill\uff0dÓ",
    ],
    ids=[
        "a selector",
        "another's apostrophe",
        "a modifier",
        "a joiner",
        "a filler",
        "full width",
        "no break",
    ],
)
def test_what_another_keyboard_makes_is_no_other_person(spelling: str) -> None:
    """Given to `operator add` by hand or by paste, it would be a second pair of eyes on one head."""
    assert person(spelling) == person("Ann O'Neill-Ó")


@pytest.mark.parametrize("other", ["Ann ONeill-Ó", "Ann O'Neill Ó", "Ann O'Neill-O", "Anne O'Neill-Ó"])
def test_another_name_is_another_person(other: str) -> None:
    assert person(other) != person("Ann O'Neill-Ó")


@given(st.text(max_size=20))
def test_a_persons_spelling_is_that_persons(name: str) -> None:
    with suppress(ValueError):
        assert person(person(name)) == person(name)


@pytest.mark.parametrize(
    "name",
    ["\u0410oife Byrne", "In\u0430", "\u03bfscar", "\u0412\u043e\u0440is", "\u5c71田 taro"],
    ids=["cyrillic A", "cyrillic a", "greek o", "half cyrillic", "han and latin"],
)
def test_a_name_that_looks_like_another_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="letters of one script"):
        one_script(name)


@pytest.mark.parametrize(
    "name",
    ["Siobhán O'Brien-Ó 2", "Борис", "Αθηνά", "山田 たろう カナ", "ｉna", "김 金"],
    ids=["latin", "cyrillic", "greek", "japanese", "fullwidth", "korean"],
)
def test_a_name_in_its_own_script_is_taken(name: str) -> None:
    one_script(name)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\x00b", "\ufe0f\u3164", "a\u200db"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        person(name)
