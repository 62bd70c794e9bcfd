"""What can go wrong at rest: one tree, so that one map turns it into SMTP, IMAP and HTTP replies.

StorageError
 ├─ Unavailable         for now: deadline passed, connection lost, 5xx, SlowDown. Nothing is known of a
 │                      write that ends so, except that it was never acknowledged. Try again.
 ├─ NotFound            the engine says that there is no such object
 ├─ AlreadyExists       put-if-absent found somebody else's object
 ├─ Conflict            compare-and-swap lost: the object is no longer what was read
 ├─ Forbidden           these credentials may not do that
 │   └─ KeyRefused      the key service did not wrap this key, or not for this use
 ├─ Rejected            the engine calls the request itself wrong (a bucket without Object Lock, say)
 ├─ Corrupt             the object is not what was written: names the object, never shows it
 ├─ FenceBroken         a region is not what its settings say: gives the one reason
 ├─ UnknownAddress      no account, alias or catch-all takes mail for the address
 ├─ AddressTaken        an account or alias has the address already
 ├─ AccountSuspended    the account takes no mail for now
 └─ AccountClosed       the account takes no mail any more

Whatever is not in this tree is a fault of ours: 451 to a mail client, 500 to an HTTP client.
"""

from __future__ import annotations

from typing import Final


class StorageError(Exception):
    """Anything that storage can raise on purpose. Its text never holds an address or content."""


class Unavailable(StorageError):
    """A temporary failure: the caller may try again, and must never go to another region."""


class NotFound(StorageError):
    """There is no such object; `key` says which."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key}")
        self.key: Final = key


class AlreadyExists(StorageError):
    """The key holds an object that this call did not write."""

    def __init__(self, key: str) -> None:
        super().__init__(f"object {key} exists already")
        self.key: Final = key


class Conflict(StorageError):
    """The object changed after it was read, or is gone."""

    def __init__(self, key: str) -> None:
        super().__init__(f"object {key} has changed since it was read")
        self.key: Final = key


class Forbidden(StorageError):
    """The engine or the key service refuses these credentials."""


class KeyRefused(Forbidden):
    """A wrapped key that this region's key service does not open: another's, misused or changed."""


class Rejected(StorageError):
    """The engine understood the request and calls it invalid: trying again will not help."""


class Corrupt(StorageError):
    """The object named by `key` cannot be what was written there; `rule` says what it breaks."""

    def __init__(self, key: str, rule: str) -> None:
        super().__init__(f"object {key} is corrupt: {rule}")
        self.key: Final = key
        self.rule: Final = rule


class FenceBroken(StorageError):
    """A region is not what its settings say. `reason` names the thing and the expected value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


class UnknownAddress(StorageError):
    """Nobody here takes mail for that address."""


class AddressTaken(StorageError):
    """The address belongs to an account or alias already."""


class AccountSuspended(StorageError):
    """The account exists and takes no mail for now."""


class AccountClosed(StorageError):
    """The account existed and takes no mail any more."""
