"""What strangers get for trying, and an issuer's other papers: refused, and never by a fault of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OctKey, RSAKey

from gateway.disclosure.authentication import Presented, Unauthenticated
from policy.clearance import Role
from storage.errors import Unavailable
from tests.disclosure.test_oidc import AUDIENCE, IE, Gate, Idp, gate, idp
from tests.policy import pki
from tests.policy.pki import NOW

__all__ = ["gate", "idp"]
HEADER = {"alg": "ES256", "kid": "one"}


def written(idp: Idp, header: object, payload: object, key: ECKey | None = None) -> str:
    """A token signed as it stands, whatever stands there: texts and octets as they are, the rest as JSON."""
    signing = (key or idp.keys[0]).private_key
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    text = ".".join(
        pki.b64(each if isinstance(each, str | bytes) else json.dumps(each)) for each in (header, payload)
    )
    r, s = decode_dss_signature(signing.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{pki.b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def claims(idp: Idp, **changes: Any) -> dict[str, Any]:
    end = int((NOW + timedelta(minutes=5)).timestamp())
    return {"iss": idp.issuer, "aud": AUDIENCE, "sub": "ina@idp", "exp": end} | changes


async def refused(gate: Gate, token: str) -> str:
    """Why, as it stands in our own log: one that can be written there."""
    with pytest.raises(Unauthenticated) as error:
        await gate.knock(token)
    assert error.value.reason.encode()
    return error.value.reason


async def test_a_token_written_here_by_hand_is_as_good_as_the_librarys(idp: Idp, gate: Gate) -> None:
    """So that what is refused below is refused for what it says."""
    assert await gate.knock(written(idp, HEADER, claims(idp))) == "ína"
    assert await gate.knock(written(idp, HEADER | {"typ": "at+jwt"}, claims(idp))) == "ína"


@pytest.mark.parametrize(
    "header",
    [
        '["alg"]',
        "5",
        "null",
        "[" * 300,
        '{"alg":"ES256","kid":"one","crit":5}',
        '{"alg":"ES256","kid":"one","crit":["exp"]}',
        '{"alg":"ES256","kid":"one","crit":[]}',
        '{"alg":"ES256","kid":"one","crit":["b64"],"b64":false}',
        '{"alg":"none","alg":"ES256","kid":"one"}',
        '{"alg":"ES256","kid":"two","kid":"one"}',
        '{"alg":"ES256","kid":"\\ud800"}',
        '{"alg":"ES256","kid":["one"]}',
        '{"alg":["ES256"],"kid":"one"}',
        '{"alg":"ES256","kid":NaN}',
        '{"alg":"ES256","kid":"one"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"alg":"ES256","kid":"one"}',
        b'{"alg":"ES256","kid":"\xff"}',
    ],
    ids=[
        "a list", "a number", "null", "deep", "crit is a number", "crit names a claim", "crit is empty",
        "b64", "alg twice", "kid twice", "half a character", "kid is a list", "alg is a list", "NaN",
        "UTF-16", "BOM", "not UTF-8",
    ],
)  # fmt: skip
async def test_a_header_that_is_none_is_nobodys(idp: Idp, gate: Gate, header: str | bytes) -> None:
    await refused(gate, written(idp, header, claims(idp)))


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk"])
async def test_a_token_does_not_choose_its_own_key(idp: Idp, gate: Gate, name: str) -> None:
    """RFC 8725 3.10: nothing is fetched from where a token says, and no key counts that it brings."""
    mine = ECKey.generate_key("P-256", {"kid": "mine"})
    brought: dict[str, object] = {"jwk": dict(mine.as_dict(private=False))}
    brought |= {"jku": f"{idp.issuer}/mine", "x5u": f"{idp.issuer}/mine"}
    for kid in ("mine", "one"):
        header = {"alg": "ES256", "kid": kid, name: brought[name]}
        await refused(gate, written(idp, header, claims(idp), mine))
    assert not [path for path in idp.calls if path.endswith("mine")]


@pytest.mark.parametrize(
    "bend",
    [
        lambda text: text[:-1] + ',"sub":"eve@idp"}',
        lambda text: '{"sub":"eve@idp",' + text[1:],
        lambda text: text.replace("ina@idp", "\\ud800"),
        lambda text: '{"a":' * 5000 + "1" + "}" * 5000,
        lambda text: "[" * 20_000,
        lambda text: "[]",
        lambda text: text.replace("ina@idp", "ina@idp\\u0000"),
        lambda text: text.replace('"exp": ', '"exp": 1e'),
        lambda text: text.encode("utf-16"),
    ],
    ids=[
        "sub twice", "sub twice, ours last", "half a character", "deep", "deeper", "a list", "NUL",
        "exp beyond numbers", "UTF-16",
    ],
)  # fmt: skip
async def test_claims_that_two_readers_read_differently_are_nobodys(
    idp: Idp, gate: Gate, bend: Callable[[str], str | bytes]
) -> None:
    await refused(gate, written(idp, HEADER, bend(json.dumps(claims(idp)))))


@pytest.mark.parametrize(
    ("header", "more"),
    [
        ({"typ": "logout+jwt"}, {}),
        ({"typ": "secevent+jwt"}, {}),
        ({"typ": "dpop+jwt"}, {}),
        ({"typ": "application/LOGOUT+JWT"}, {}),
        ({"typ": "JWT"}, {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
        ({}, {"events": {}}),
    ],
    ids=["logout", "event", "dpop", "logout in full", "an event that calls itself JWT", "an event"],
)
async def test_another_paper_of_the_issuers_is_no_sign_in(
    idp: Idp, gate: Gate, header: dict[str, str], more: dict[str, Any]
) -> None:
    """RFC 8725 3.11: a logout token has our audience, her subject and a good signature, and is no token."""
    await refused(gate, written(idp, HEADER | header, claims(idp, **more)))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [AUDIENCE + "-test"]},
        {"aud": []},
        {"aud": [[AUDIENCE]]},
        {"aud": {AUDIENCE: True}},
        {"aud": AUDIENCE.upper()},
        {"iss": None},
        {"exp": True},
        {"exp": "9999999999"},
        {"iat": "now"},
        {"sub": ["ina@idp"]},
        {"sub": "INA@idp"},
        {"sub": "ina@idp "},
    ],
    ids=lambda changes: json.dumps(changes),
)
async def test_claims_that_are_nearly_ours_are_not(idp: Idp, gate: Gate, changes: dict[str, Any]) -> None:
    await refused(gate, written(idp, HEADER, claims(idp, **changes)))


@pytest.mark.parametrize("aud", [AUDIENCE, [AUDIENCE], ["another", AUDIENCE]], ids=["one", "list", "several"])
async def test_an_audience_is_one_or_several(idp: Idp, gate: Gate, aud: object) -> None:
    """RFC 7519 4.1.3. `azp` names the client that asked for an access token: another than we, always."""
    assert await gate.knock(written(idp, HEADER, claims(idp, aud=aud, azp="a client"))) == "ína"


@pytest.mark.parametrize(
    ("name", "offset", "good"),
    [("exp", -29, True), ("exp", -30, False), ("nbf", 30, True), ("nbf", 31, False), ("iat", 31, False)],
)
async def test_clocks_may_differ_by_half_a_minute(
    idp: Idp, gate: Gate, name: str, offset: int, good: bool
) -> None:
    token = written(idp, HEADER, claims(idp, **{name: int(NOW.timestamp()) + offset}))
    if good:
        assert await gate.knock(token) == "ína"
    else:
        await refused(gate, token)


async def test_a_token_is_over_when_it_is_although_it_was_just_good(idp: Idp, gate: Gate) -> None:
    """What is remembered is the person, never that the token was good."""
    token = written(idp, HEADER, claims(idp, exp=int(NOW.timestamp()) + 5))
    await gate.knock(token)
    gate.clock.advance(seconds=34)
    await gate.knock(token)
    gate.clock.advance(seconds=1)
    await refused(gate, token)


async def test_a_key_that_the_issuer_takes_back_opens_nothing_after_ten_minutes(idp: Idp, gate: Gate) -> None:
    token = written(idp, HEADER, claims(idp, exp=int((NOW + timedelta(hours=9)).timestamp())))
    assert await gate.knock(token) == "ína"
    idp.keys = [ECKey.generate_key("P-256", {"kid": "two"})]
    gate.clock.advance(minutes=10)
    await refused(gate, token)


@pytest.mark.parametrize(
    "odd",
    [
        {"kty": "EC", "crv": "BP-256", "x": "AA", "y": "AA", "kid": "odd"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "odd"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "odd"},
        {"kty": "RSA", "e": "AQAB", "kid": "odd"},
        {"kty": ["RSA"], "kid": "odd"},
        {"kid": "odd"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": 7},
        "odd",
        None,
    ],
    ids=[
        "a curve of others", "no point", "post-quantum", "half a key", "kty is a list", "no kty",
        "kid is a number", "a text", "null",
    ],
)  # fmt: skip
async def test_a_key_that_nobody_here_understands_does_not_take_the_others_with_it(
    idp: Idp, gate: Gate, odd: object
) -> None:
    """RFC 7517 5: one new kind of key in the issuer's set must not lock out everybody."""
    idp.beside = [odd]
    assert await gate.knock(idp.token()) == "ína"


@pytest.mark.filterwarnings("ignore:Key size should be")
async def test_a_key_that_is_too_weak_signs_for_nobody(idp: Idp, gate: Gate) -> None:
    """RFC 7518 3.3: 2048 bits at least."""
    weak = RSAKey.import_key(rsa.generate_private_key(65537, 1024), {"kid": "weak"})
    idp.beside = [dict(weak.as_dict(private=False))]
    await gate.knock(idp.token())
    await refused(gate, idp.token(weak, alg="RS256"))


async def test_a_shared_secret_in_the_key_set_signs_for_nobody(idp: Idp, gate: Gate) -> None:
    shared = OctKey.generate_key(256, {"kid": "shared"})
    idp.beside = [dict(shared.as_dict(private=True))]
    await gate.knock(idp.token())
    head = pki.b64(json.dumps({"alg": "HS256", "kid": "shared"}))
    await refused(gate, f"{head}.{pki.b64(json.dumps(claims(idp)))}.{pki.b64(b'x' * 32)}")
    await refused(gate, written(idp, HEADER | {"kid": "shared"}, claims(idp)))


async def test_a_key_for_one_algorithm_or_use_serves_no_other(idp: Idp, gate: Gate) -> None:
    pss = RSAKey.generate_key(2048, {"kid": "pss", "alg": "PS256"})
    sealing = ECKey.generate_key("P-256", {"kid": "sealing", "use": "enc"})
    large = ECKey.generate_key("P-384", {"kid": "large"})
    idp.keys += [pss, sealing, large]
    plain = RSAKey.import_key(pss.raw_value, {"kid": "pss"})
    assert await gate.knock(idp.token(plain, alg="PS256")) == "ína"
    await refused(gate, idp.token(plain, alg="RS256"))
    await refused(gate, written(idp, HEADER | {"kid": "sealing"}, claims(idp), sealing))
    await refused(gate, written(idp, HEADER | {"kid": "large"}, claims(idp)))


async def test_a_token_that_names_no_key_where_there_are_two_is_nobodys(idp: Idp, gate: Gate) -> None:
    """OpenID Connect Core 10.1: it must name one."""
    end = int((NOW + timedelta(hours=9)).timestamp())
    nameless = written(idp, {"alg": "ES256"}, claims(idp, exp=end))
    assert await gate.knock(nameless) == "ína"
    idp.keys.append(ECKey.generate_key("P-256", {"kid": "two"}))
    gate.clock.advance(minutes=10)
    await refused(gate, nameless)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'[["keys", []]]', b"null", b'{"keys":[],"keys":[]}', b"[" * 9000, b" " * 300_000],
    ids=["nothing", "half", "a list", "pairs", "null", "a name twice", "deep", "too large"],
)
@pytest.mark.parametrize("which", ["openid-configuration", "keys"])
async def test_an_answer_that_is_none_vouches_for_nobody(
    idp: Idp, gate: Gate, which: str, body: bytes
) -> None:
    idp.instead[which] = body
    with pytest.raises(Unavailable):
        await gate.knock(idp.token())


async def test_an_issuer_that_never_answers_is_given_up(
    idp: Idp, gate: Gate, slow: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once: whoever comes within the next half minute is told so without waiting for it."""
    with monkeypatch.context() as patch:
        patch.setattr("gateway.disclosure.issuer_keys._TIMEOUT", aiohttp.ClientTimeout(total=0.1))
        for _ in range(3):
            with pytest.raises(Unavailable):
                await gate.knock(idp.token())
    assert len(idp.calls) <= 1  # none, where the machine was so busy that not even the question was heard
    slow.set()
    gate.clock.advance(seconds=30)
    assert await gate.knock(idp.token()) == "ína"


async def test_what_a_token_says_of_roles_gives_none(idp: Idp, gate: Gate) -> None:
    """The issuer says who somebody is. What they may do is the region's record, and that alone."""
    said = {"roles": ["administrator", 7, None], "role": "approver", "groups": {"situs": True}}
    said |= {"scope": "approver", "name": "Art", "regions": ["eu-central-1", "nowhere"]}
    presented = Presented(f"Bearer {written(idp, HEADER, claims(idp, **said))}")
    asker = await gate.authentication.authenticate(presented)
    assert (asker.name, asker.regions(*Role)) == ("Ína", frozenset({IE}))
    assert asker.operators[IE].roles == {Role.INTAKE}


async def test_an_issuer_that_sends_us_elsewhere_is_not_followed(idp: Idp, gate: Gate) -> None:
    idp.moved = f"{idp.issuer}/elsewhere"
    with pytest.raises(Unavailable):
        await gate.knock(idp.token())
    assert not [path for path in idp.calls if path.endswith("elsewhere")]


@pytest.fixture
async def slow(idp: Idp) -> AsyncIterator[asyncio.Event]:
    """An issuer that answers once the event is set."""
    idp.waits = asyncio.Event()
    yield idp.waits
    idp.waits.set()


async def test_many_that_come_at_once_fetch_once(idp: Idp, gate: Gate, slow: asyncio.Event) -> None:
    crowd = [asyncio.create_task(gate.knock(idp.token())) for _ in range(50)]
    await idp.asked.wait()
    slow.set()
    assert await asyncio.gather(*crowd) == ["ína"] * 50
    assert len(idp.calls) == 2


async def test_an_invented_key_id_holds_up_nobody_whose_key_is_known(idp: Idp, gate: Gate) -> None:
    """While the issuer is slow to say that it has no such key, everybody else goes in and out."""
    await gate.knock(idp.token())
    gate.clock.advance(seconds=31)
    idp.waits, idp.asked = asyncio.Event(), asyncio.Event()
    inventor = asyncio.create_task(gate.knock(idp.token(ECKey.generate_key("P-256", {"kid": "invented"}))))
    await idp.asked.wait()
    assert await gate.knock(idp.token()) == "ína"
    assert not inventor.done()
    idp.waits.set()
    with pytest.raises(Unauthenticated):
        await inventor
