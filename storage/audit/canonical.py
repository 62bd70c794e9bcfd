"""The one spelling of an entry as a regular expression: what a verifier can afford a million times.

Canonical JSON sorts its names and has no choices of its own, and an entry's values come from
small grammars: so that the whole form of an entry is a regular language. This says yes or
"look closer": whatever it does not know goes to `Entry.decode`, which has the last word and
says why. A property test holds that the two never disagree on a yes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from policy.order import DataCategory
from storage.audit.entry import ENTRY_BYTES, VERSION, Event, Result

_DIGEST: Final = r'"sha256:[0-9a-f]{64}"'
_ID: Final = r'"[0-9a-f]{32}"'
_CODE: Final = r'"[a-z0-9]+(?:[.-][a-z0-9]+)*"'
_REFERENCE: Final = r'"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"'
_ISSUER: Final = r'"[A-Za-z0-9 .,()/&-]{1,256}"'  # plain ASCII; other names take the long way


def _words(words: type[Event | Result | DataCategory]) -> str:
    return '"(?:' + "|".join(re.escape(word.value) for word in words) + ')"'


def _sorted_some(words: type[DataCategory]) -> str:
    """A non-empty list of distinct words in order, as sets are written."""
    names = sorted(word.value for word in words)
    cases = [
        ",".join(f'"{name}"' for bit, name in enumerate(names) if mask >> bit & 1)
        for mask in range(1, 1 << len(names))
    ]
    return r"\[(?:" + "|".join(cases) + r")\]"


# In the order of RFC 8785 3.2.3; all but event, id, region, time and v may be left out.
_OPTIONAL: Final = {
    "account": _ID,
    "categories": _sorted_some(DataCategory),
    "claimed_jurisdiction": r'"[A-Z]{2}"',
    "disclosure": _REFERENCE,
    "emergency": r"(?:true|false)",
    "findings": rf"\[{_CODE}(?:,{_CODE})*\]",
    "hold": _REFERENCE,
    "instrument": _CODE,
    "issuer": _ISSUER,
    "lawbook": _DIGEST,
    "operator": _ID,
    "outcome": _words(Result),
    "record": _DIGEST,
    "requested": _sorted_some(DataCategory),
    "subject": _DIGEST,
}
# Days that no month has are left to the long way.
_TIME: Final = (
    r'"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])'
    r'T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{3}Z"'
)


@lru_cache(maxsize=16)
def _pattern(region: str) -> re.Pattern[bytes]:
    needed = {
        "event": _words(Event),
        "id": _ID,
        "region": re.escape(f'"{region}"'),
        "time": _TIME,
    }
    fields = [
        rf'"{name}":{value},' if name in needed else rf'(?:"{name}":{value},)?'
        for name, value in sorted((_OPTIONAL | needed).items())
    ]
    return re.compile((r"\{" + "".join(fields) + rf'"v":{VERSION}\}}').encode())


def is_plain_entry(data: bytes, region: str) -> bool:
    """Whether these are certainly the canonical bytes of an entry of this region's log."""
    return len(data) <= ENTRY_BYTES and _pattern(region).fullmatch(data) is not None
