"""Where everything lies: the folders of a region's two buckets, and whose they are.

`situs fence verify` takes whatever lies elsewhere for a stray, so a new kind of object is at home
when it stands here. The folders of an account are those that move, and are erased, with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from storage.identity import AccountId, IdentityError

# <folder>/<account>/...
ACCOUNT_FOLDERS: Final = frozenset({"accounts", "mail", "folders", "deleted", "deleting", "labels", "flags"})
# <folder>/...: the region's own, sealed to its own keys or without anything personal
REGION_FOLDERS: Final = frozenset(
    {"situs", "directory", "uncopied", "operators", "orders", "disclosures", "packages", "records", "repeats"}
    | {"retention", "sweeps", "erasures", "moves", "lived", "recordkeys", "validations", "forms", "console"}
)
# holds/<account>/... are the account's, the others the region's
_HOLDS: Final = "holds"
_REGION_HOLDS: Final = frozenset({"wide", "index", "coverage"})
AUDIT_FOLDERS: Final = frozenset({"situs", "log", "lock", "staging"})


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Whose an object is by its key: an account's, or (None) the region's own."""

    account: AccountId | None


class NoPlace(ValueError):
    """A key that nothing of ours writes. The message says what it lacks."""


def place_of(key: str) -> Place:
    """Whose object this is in a mail bucket. Raises NoPlace."""
    folder, _, rest = key.partition("/")
    second, _, name = rest.partition("/")
    if rest and (folder in REGION_FOLDERS or (folder == _HOLDS and second in _REGION_HOLDS)):
        return Place(None)
    if folder not in ACCOUNT_FOLDERS and folder != _HOLDS:
        raise NoPlace(f"{folder!r} is no folder of a mail bucket")
    try:
        account = AccountId.parse(second)
    except IdentityError:
        raise NoPlace(f"{folder}/ holds folders of accounts, and {second!r} names none") from None
    if not name:
        raise NoPlace(f"{folder}/ holds folders of accounts, and this is an object")
    return Place(account)


def is_in_audit_layout(key: str) -> bool:
    """Whether an audit bucket may hold this key."""
    return key.partition("/")[0] in AUDIT_FOLDERS
