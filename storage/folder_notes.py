"""A word to whoever opens the folders next: mail lies there that looking back by the overlap does not show.

`folders/<account>/arrivals/<due><chance>`: `due` are the twelve digits of a millisecond, as in a message's
name. It needs a public key and the right to put, as delivery does, so that an import can leave one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from storage.folder_documents import milliseconds
from storage.folder_vault import FOLDERS, FolderVault, fresh_name
from storage.identity import AccountId
from storage.keys import PublicKeys
from storage.region import RegionStore
from storage.sealing import Binding, seal_document

_WHAT: Final = b'{"version":1}'


async def leave_note(home: RegionStore, keys: PublicKeys, account: AccountId, due: datetime) -> str:
    """Ask for a comparison from `due` on. Returns the note's key. Raises Unavailable, Forbidden."""
    key = f"{FOLDERS}{account}/arrivals/{milliseconds(due):012x}{fresh_name()}"
    sealed = seal_document(keys, Binding(home.region.code, key), _WHAT)
    await home.mail.put_if_absent(key, sealed, fresh_key=True)
    return key


async def due_notes(vault: FolderVault) -> list[str]:
    """The keys of the notes that are due, oldest first."""
    prefix = f"{vault.prefix}arrivals/"
    now = f"{milliseconds(vault.clock()):012x}"
    found = [listed.key async for listed in vault.home.mail.list(prefix)]
    return [key for key in found if key.removeprefix(prefix)[:12] <= now]
