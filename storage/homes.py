"""Every account's home, read out of the directory at once.

The directory finds an account by its address; to ask the other way round means to read all of it.
Its records carry a code under the deployment's directory key, so the bucket that they are read
from need not be believed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, Self, final

from policy.geography import RegionCode
from storage.directory_record import PREFIX, AccountRecord, DirectoryKey, Name, Reservation
from storage.errors import Corrupt, NotFound
from storage.identity import AccountId
from storage.in_order import in_order
from storage.objects import Bucket, Listed

_READ_AT_ONCE: Final = 32


class HomeOf(Protocol):
    """Where an account is at home; None where the directory knows no such account."""

    def __call__(self, account: AccountId) -> RegionCode | None: ...


@final
class Homes:
    """The homes of all accounts at one moment: about 150 bytes of memory for each."""

    def __init__(self) -> None:
        self._codes: Final[list[RegionCode]] = []
        self._home: Final[dict[bytes, int]] = {}
        self.corrupt: Final[list[Corrupt]] = []

    def __call__(self, account: AccountId) -> RegionCode | None:
        index = self._home.get(bytes.fromhex(account.value))
        return None if index is None else self._codes[index]

    def __len__(self) -> int:
        return len(self._home)

    @classmethod
    async def read(
        cls, registrar: Bucket, key: DirectoryKey, progress: Callable[[int], None] = lambda _: None
    ) -> Self:
        """Read the registrar's directory. Records that are not this deployment's are in `corrupt`.

        Raises Unavailable, Forbidden.
        """
        homes = cls()

        async def record_at(listed: Listed) -> AccountRecord | Reservation | None:
            try:
                blob = await registrar.get(listed.key)
                record = key.read(Name(listed.key.removeprefix(PREFIX)), blob.body)
            except NotFound:
                return None  # gone since it was listed
            except Corrupt as error:
                homes.corrupt.append(error)
                return None
            # A reservation counts: an account's first objects are written before its record.
            return record if isinstance(record, AccountRecord | Reservation) else None

        async for record in in_order(registrar.list(PREFIX), record_at, _READ_AT_ONCE):
            if record is not None:
                homes._add(record.account, record.home)
                progress(len(homes))
        return homes

    def _add(self, account: AccountId, home: RegionCode) -> None:
        if home not in self._codes:
            self._codes.append(home)
        self._home[bytes.fromhex(account.value)] = self._codes.index(home)
