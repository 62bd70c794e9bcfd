"""What an owner's mail carried where it came from: folder and flags, kept beside each message.

`flags/<account>/<message>`, sealed to the account's record key: whether somebody has read or
answered a message is theirs. An export writes it back, and the owner's folders can be built from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from storage.errors import AlreadyExists, Corrupt, NotFound
from storage.identity import AccountId, MessageId
from storage.keyring import Keyring
from storage.keys import PublicKeys, Purpose
from storage.region import RegionStore
from storage.sealing import Binding, open_document, read_document_header, seal_document

FLAGS: Final = "flags/"

# RFC 3501 9: a keyword is an atom, a system flag an atom after a backslash.
FLAG: Final = r"^\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]{1,60}$"
MOST_FLAGS: Final = 100  # of one message

_Flag = Annotated[str, Field(pattern=FLAG)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    folder: Annotated[str, Field(max_length=1000)]
    flags: Annotated[list[_Flag], Field(max_length=MOST_FLAGS)]
    internal_date: AwareDatetime | None = None


@final
@dataclass(frozen=True, slots=True)
class Flags:
    """A folder's name, and IMAP flags (RFC 9051 2.3.2) such as `\\Seen`.

    `internal_date` (aware) where it is not the time at which the message was received here: an APPEND's.
    """

    folder: str = "INBOX"
    flags: frozenset[str] = frozenset()
    internal_date: datetime | None = None


def flags_key(account: AccountId, message: MessageId) -> str:
    return f"{FLAGS}{account}/{message}"


def seal_flags(keys: PublicKeys, home: RegionStore, key: str, flags: Flags) -> bytes:
    document = _Document(folder=flags.folder, flags=sorted(flags.flags), internal_date=flags.internal_date)
    return seal_document(keys, Binding(home.region.code, key), document.model_dump_json().encode())


async def put_flags(
    home: RegionStore, keys: PublicKeys, account: AccountId, message: MessageId, flags: Flags
) -> None:
    """Keep them. What stands already is not replaced: the owner may have changed it since."""
    key = flags_key(account, message)
    try:
        await home.mail.put_if_absent(key, seal_flags(keys, home, key, flags))
    except AlreadyExists:
        return


async def read_flags(home: RegionStore, keyring: Keyring, account: AccountId, message: MessageId) -> Flags:
    """What was kept, or a plain message in the inbox. Raises Corrupt, Forbidden, Unavailable."""
    key = flags_key(account, message)
    try:
        sealed = (await home.mail.get(key)).body
    except NotFound:
        return Flags()
    binding = Binding(home.region.code, key)
    generation = read_document_header(binding, sealed).generation
    private = await keyring.private(Purpose.RECORD, generation, opens=key)
    try:
        found = _Document.model_validate_json(open_document(private, binding, sealed))
    except ValidationError:
        raise Corrupt(key, "it opens, and holds no flags") from None
    return Flags(found.folder, frozenset(found.flags), found.internal_date)
