"""Attacks on the form of an order: what a reader could be made to read differently, or to choke on.

Each must end in MalformedOrder, which names the field, before any key or certificate is used.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from policy import jws
from policy.strict_json import MAX_DEPTH
from policy.verification import MalformedOrder, read_order
from tests.policy.pki import b64, claims, forge, general, judge, parts, realm, unb64


def malformed(order: str | bytes) -> MalformedOrder:
    with pytest.raises(MalformedOrder) as caught:
        read_order(order)
    return caught.value


def header(**changes: Any) -> dict[str, Any]:
    return judge("IE").header() | changes


def compact() -> str:
    return judge("IE").sign(claims())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jwk", {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        ("jku", "https://attacker.example/keys"),
        ("x5u", "https://attacker.example/chain.pem"),
        ("kid", "../../dev/null"),
        ("crit", ["exp"]),
        ("crit", []),
        ("b64", False),
        ("zip", "DEF"),
        ("cty", "JWT"),
    ],
)
def test_a_header_parameter_that_would_choose_the_key_or_change_the_reading(name: str, value: object) -> None:
    order = forge(header(**{name: value}), claims(), judge("IE"))
    assert malformed(order).field == f"signatures[0].header.{name}"


def test_an_unencoded_payload_that_crit_announces() -> None:
    order = forge(header(b64=False, crit=["b64"]), claims(), judge("IE"))  # RFC 7797
    assert malformed(order).field.startswith("signatures[0].header.")


@pytest.mark.parametrize("name", ["alg", "typ", "role", "x5c"])
def test_a_header_parameter_left_out(name: str) -> None:
    short = header()
    del short[name]
    assert malformed(forge(short, claims(), judge("IE"))).field == f"signatures[0].header.{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alg", None),
        ("alg", ["ES256"]),
        ("typ", "JWT"),  # a token for something else must not become an order
        ("typ", "application/lawful-order+jws"),
        ("role", "approve"),
        ("role", ["issue"]),
        ("role", "ISSUE"),
        ("x5c", []),
        ("x5c", "MIIB"),
        ("x5c", [1]),
        ("x5c", ["AAAA"]),
        ("x5c", ["not base64!"]),
        ("x5c", ["AAAA"] * 10_000),
    ],
)
def test_a_header_parameter_of_the_wrong_kind(name: str, value: object) -> None:
    fault = malformed(forge(header(**{name: value}), claims(), judge("IE")))
    assert fault.field.startswith(f"signatures[0].header.{name}") or fault.field == "signatures[0].header"


def test_a_certificate_in_base64url_or_with_octets_after_it() -> None:
    first, *rest = header()["x5c"]
    for bent in (first.replace("+", "-").replace("/", "_").rstrip("="), first + "\n", b64(b"\0" * 900)):
        assert malformed(forge(header(x5c=[bent, *rest]), claims(), judge("IE"))).field.endswith("x5c[0]")


def test_a_certificate_in_a_second_spelling() -> None:
    """Base64 whose unused bits are not zero (RFC 4648 3.5) decodes to the same certificate."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    signer = judge("IE")
    while not signer.header()["x5c"][0].endswith("="):  # a length that leaves unused bits
        signer = realm("IE").signer("another court")
    first, *rest = signer.header()["x5c"]
    digits = first.rstrip("=")
    bent = digits[:-1] + alphabet[alphabet.index(digits[-1]) + 1] + first[len(digits) :]
    assert base64.b64decode(bent) == base64.b64decode(first)
    fault = malformed(forge(signer.header() | {"x5c": [bent, *rest]}, claims(), signer))
    assert fault.field == "signatures[0].header.x5c[0]"


def test_a_chain_of_seven() -> None:
    first, *rest = header()["x5c"]
    assert read_order(forge(header(x5c=[first, *rest * 5]), claims(), judge("IE")))
    fault = malformed(forge(header(x5c=[first, *rest * 6]), claims(), judge("IE")))
    assert str(fault).startswith("signatures[0].header.x5c: a list of 1 to 6 certificates")


def test_duplicate_json_keys_in_the_payload() -> None:
    twice = json.dumps(claims())[:-1] + ', "issuer_role": "judge"}'
    fault = malformed(forge(header(), twice.encode(), judge("IE")))
    assert fault.field == "payload"
    assert "'issuer_role' stands twice" in fault.rule


def test_duplicate_json_keys_that_are_spelt_differently() -> None:
    twice = json.dumps(claims())[:-1] + ', "\\u0069ssuer_role": "judge"}'
    assert "stands twice" in malformed(forge(header(), twice.encode(), judge("IE"))).rule


def test_duplicate_json_keys_in_a_nested_claim() -> None:
    twice = json.dumps(claims()).replace('{"address"', '{"address": "b@example.ie", "address"')
    assert "'address' stands twice" in malformed(forge(header(), twice.encode(), judge("IE"))).rule


def test_duplicate_json_keys_in_the_header() -> None:
    twice = '{"alg": "none", ' + json.dumps(header())[1:]
    fault = malformed(forge(twice.encode(), claims(), judge("IE")))
    assert fault.field == "signatures[0].header"
    assert "'alg' stands twice" in fault.rule


def test_duplicate_json_keys_in_the_outer_object() -> None:
    head, payload, signature = parts(compact())
    outer = general(payload, (head, signature))
    other = b64(json.dumps(claims(jti="another")))
    for twice in (f'{{"payload": "{other}", {outer[1:]}', f'{outer[:-1]}, "signatures": []}}'):
        assert "stands twice" in malformed(twice).rule
    inner = outer.replace('{"protected"', '{"signature": "AA", "protected"')
    assert "'signature' stands twice" in malformed(inner).rule


def test_a_detached_payload() -> None:
    head, _, signature = parts(compact())
    for empty in (f"{head}..{signature}", general("", (head, signature))):
        assert str(malformed(empty)) == "payload: a detached payload is not accepted"
    assert malformed(json.dumps({"signatures": [{"protected": head, "signature": signature}]})).field == (
        "order.payload"
    )


def test_an_unprotected_header() -> None:
    head, payload, signature = parts(compact())
    entry = {"protected": head, "signature": signature, "header": {"alg": "none"}}
    fault = malformed(json.dumps({"payload": payload, "signatures": [entry]}))
    assert fault.field == "signatures[0].header"


def test_the_flattened_form_and_both_forms_at_once() -> None:
    head, payload, signature = parts(compact())
    flat = {"payload": payload, "protected": head, "signature": signature}
    assert malformed(json.dumps(flat)).field == "order"
    both = flat | {"signatures": [{"protected": head, "signature": signature}]}
    assert malformed(json.dumps(both)).field == "order"


@pytest.mark.parametrize(
    "form", ["", ".", "a.b", "a.b.c.d", "....", "[]", "{}", "null", "{", "\ufeff{}", "ä.b.c"]
)
def test_what_is_no_jws_at_all(form: str) -> None:
    malformed(form)


def test_octets_that_are_no_text() -> None:
    malformed(b"\xff\xfe\x00")
    malformed("\ud800")
    malformed(b'{"payload": "\xff", "signatures": []}')


def test_a_second_spelling_of_the_same_octets() -> None:
    """base64url with padding, with a foreign alphabet, with white space or with stray bits."""
    head, payload, signature = parts(compact())
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = signature[:-1] + last[last.index(signature[-1]) + 1]  # 64 octets leave four unused bits
    assert unb64(stray) == unb64(signature)
    for bent in (f"{signature}==", f"{signature[:-2]}+/", f"{signature[:9]}\n{signature[9:]}", stray):
        assert malformed(f"{head}.{payload}.{bent}").field == "signatures[0].signature"
    assert malformed(f"{head}.{payload}=.{signature}").field == "payload"
    assert malformed(f"{head}=.{payload}.{signature}").field == "signatures[0].header"
    assert malformed(f"{head}.A.{signature}").field == "payload"  # no octet has six bits


def test_a_mebibyte_of_header() -> None:
    order = forge(header(role="issue", x5c=["A" * 2**20]), claims(), judge("IE"))
    started = time.process_time()
    assert malformed(order).field == "order"
    assert time.process_time() - started < 0.05


def test_a_header_just_over_its_limit() -> None:
    order = forge(header(x5c=["A" * jws.MAX_HEADER]), claims(), judge("IE"))
    assert malformed(order).field == "signatures[0].header"


def test_a_payload_and_a_signature_just_over_their_limits() -> None:
    head, payload, signature = parts(compact())
    too_long = malformed(f"{head}.{'A' * (jws.MAX_PAYLOAD + 4)}.{signature}")
    assert str(too_long) == f"payload: at most {jws.MAX_PAYLOAD} octets are read"
    assert malformed(f"{head}.{payload}.{'A' * (jws.MAX_SIGNATURE + 4)}").field == "signatures[0].signature"


def test_ten_thousand_signatures() -> None:
    head, payload, signature = parts(compact())
    large = general(payload, *[(head, signature)] * 10_000)
    small = general(payload, *[("e30", "")] * 10_000)[: jws.MAX_ORDER]
    started = time.process_time()
    assert malformed(large).field == "order"
    assert malformed(small).field == "order"
    fits = general(payload, *[("", "")] * 5_000)
    assert len(fits) < jws.MAX_ORDER
    assert malformed(fits).field == "signatures"
    assert time.process_time() - started < 0.2


def test_seventeen_signatures() -> None:
    head, payload, signature = parts(compact())
    assert malformed(general(payload, *[(head, signature)] * 17)).field == "signatures"
    assert len(read_order(general(payload, *[(head, signature)] * 16)).form.signatures) == 16


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 1_000, 20_000])
def test_deep_nesting(opening: str, depth: int) -> None:
    """In the outer object, in the header and in the payload; closed or left open."""
    deep = (opening * (depth + 1)).encode()
    started = time.process_time()
    for payload in (b'{"jti": ' + deep, b'{"jti": ' + b"[" * depth + b"]" * depth + b"}"):
        head, _, signature = parts(compact())
        assert malformed(f"{head}.{b64(payload)}.{signature}").field == "payload"
        assert malformed(b'{"payload": ' + payload + b"}").field == "order"
        assert malformed(f"{b64(payload)}.e30.AA").field.startswith("signatures[0].header")
    assert time.process_time() - started < 1.0


def test_brackets_within_a_text_are_not_nesting() -> None:
    matter = "[" * 100 + '"' + "{" * 100
    assert read_order(judge("IE").sign(claims(matter=matter))).order.matter == matter


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000])
def test_a_number_that_is_none(number: str) -> None:
    for claim in ('"exp"', '"iat"'):
        text = json.dumps(claims()).replace(claim, f'{claim}: {number}, "x"', 1)
        malformed(forge(header(), text.encode(), judge("IE")))


def test_half_of_a_surrogate_pair() -> None:
    text = json.dumps(claims(jti="X")).replace('"X"', '"\\ud800"')
    assert malformed(forge(header(), text.encode(), judge("IE"))).field == "payload"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"authority": "me"}, "authority"),
        ({"jti": ""}, "jti"),
        ({"jti": 7}, "jti"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": 1}, "exp"),
        ({"categories": []}, "categories"),
        ({"categories": ["content", "content"]}, "categories"),
        ({"target": {"address": "a@b", "account": "*"}}, "target.account"),
        ({"deliver_to": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "deliver_to"),
    ],
)
def test_a_claim_that_breaks_its_rule(changes: dict[str, Any], field: str) -> None:
    assert malformed(forge(header(), claims() | changes, judge("IE"))).field == field


@pytest.mark.parametrize("payload", [b"[]", b'"order"', b"null", b"", b"{}"])
def test_a_payload_that_is_no_object_of_claims(payload: bytes) -> None:
    malformed(forge(header(), payload, judge("IE")))


def test_a_fault_shows_no_control_characters_and_no_more_than_a_line() -> None:
    fault = malformed(forge(header(), claims() | {"\x1b[2J" + "x" * 9_000: 1}, judge("IE")))
    assert str(fault).isprintable()
    assert len(str(fault)) < 600
