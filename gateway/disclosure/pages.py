"""Page tokens: where a list goes on. They are ours to read, and anybody's to send."""

from __future__ import annotations

import base64
import json

from gateway.disclosure.problems import Kind, Problem


def encode_token(place: list[str]) -> str:
    """The place after which the next page begins, as text for a URL."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def decode_token(token: str, length: int) -> list[str]:
    """A place of `length` texts. Raises Problem 422 for anything that `encode_token` did not make."""
    try:
        place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError:
        place = None
    if not isinstance(place, list) or len(place) != length or not all(isinstance(p, str) for p in place):
        raise Problem(Kind.INVALID_REQUEST, "pageToken: not one that this list has given")
    return place
