"""Where each message is filed, read in one go: for the owner's export."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from storage.errors import NotFound
from storage.flags import Flags
from storage.folder_documents import read_head
from storage.folder_names import parse_names
from storage.folder_shelf import Shelf, Superseded
from storage.folder_vault import FolderDocuments
from storage.header_block import NOT_TOLD
from storage.identity import MessageId


@final
@dataclass(slots=True)
class Places:
    """`flags` for every message that a folder has; `leaving` are those that their owner has deleted, of
    which the tombstone may not be there yet."""

    flags: dict[MessageId, Flags] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)


async def places_of(documents: FolderDocuments) -> Places:
    """Nothing, where the owner has never opened the folders. Raises Corrupt, Forbidden, Unavailable."""
    places = Places()
    names = f"{documents.prefix}names"
    try:
        roster = parse_names(names, (await documents.get(names)).body)
    except NotFound:
        return places
    for name, named in roster.folders.items():
        if named.id is not None:
            await _read_folder(documents, name, named.id, places)
    return places


async def _read_folder(documents: FolderDocuments, name: str, folder: str, places: Places) -> None:
    key = f"{documents.prefix}{folder}/head"
    shelf = Shelf(documents, f"{documents.prefix}{folder}/", NOT_TOLD.editions)
    while True:
        try:
            head = read_head(key, (await documents.get(key)).body)
            entries = await shelf.entries(head, head.uids)
        except Superseded:
            continue  # the head was replaced meanwhile
        except NotFound:
            return  # the folder was deleted meanwhile
        break
    places.leaving.update(head.pending)
    for entry in entries:
        places.flags[entry.message] = Flags(name, entry.flags, entry.internal_date)
