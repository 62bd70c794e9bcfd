"""A peer that is missing is never passed over in silence."""

from __future__ import annotations

import pytest

from tests import peers

ABSENT = "a-command-that-is-on-no-machine"


def test_a_missing_peer_is_a_skip_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SITUS_REQUIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=ABSENT):
        peers.require(ABSENT)


def test_a_missing_peer_that_is_required_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITUS_REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match=ABSENT):
        peers.require(ABSENT)


def test_a_peer_that_is_there_is_its_path() -> None:
    assert peers.require("sh").endswith("/sh")
