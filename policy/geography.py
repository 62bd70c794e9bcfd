"""Where a thing lies: jurisdictions and storage regions as types, made by parsing.

A region is a place with buckets; a jurisdiction is a body of law. The two are kept
apart because a bucket's place is a fact and its law is a consequence: `IE` is the
country of `eu-west-1`, and the lawbook says that the law of `EU` holds there too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_JURISDICTION: Final = re.compile(r"[A-Z]{2}\Z")
_REGION_CODE: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+){1,4}\Z")


class GeographyError(ValueError):
    """A text names no jurisdiction or no region code; the message quotes it."""


@dataclass(frozen=True, slots=True, order=True)
class Jurisdiction:
    """A body of law: an ISO 3166-1 alpha-2 country code, or `EU`."""

    code: str

    @classmethod
    def parse(cls, text: str) -> Jurisdiction:
        """`"IE"` -> Jurisdiction. Raises GeographyError for anything but two capitals."""
        if not isinstance(text, str) or not _JURISDICTION.match(text):
            raise GeographyError(f"{text!r} is not an ISO 3166-1 alpha-2 code such as 'IE'")
        return cls(text)

    def __str__(self) -> str:
        return self.code


@dataclass(frozen=True, slots=True, order=True)
class RegionCode:
    """The name of a storage region, such as `eu-west-1`. A name alone opens nothing."""

    value: str

    @classmethod
    def parse(cls, text: str) -> RegionCode:
        """`"eu-west-1"` -> RegionCode. Raises GeographyError otherwise."""
        if not isinstance(text, str) or len(text) > 40 or not _REGION_CODE.match(text):
            raise GeographyError(f"{text!r} is not a region code such as 'eu-west-1'")
        return cls(text)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """A storage region and the country that its buckets stand in."""

    code: RegionCode
    country: Jurisdiction

    def __str__(self) -> str:
        return f"{self.code} ({self.country})"
