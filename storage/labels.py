"""Retention labels: `labels/<account>/<message>` says to which class of records a message belongs.

A label lies under the message's own name, so that one key range lists both side by side. Its text
is sealed to the region's record key: that somebody's mail is labelled "dismissal" is nobody's business.
"""

from __future__ import annotations

from typing import Final

from policy.retention import LabelName, RetentionError, parse_label
from storage.errors import Conflict, Corrupt, NotFound
from storage.identity import AccountId, MessageId
from storage.vault import Vault

LABELS: Final = "labels/"


def label_key(account: AccountId, message: MessageId) -> str:
    return f"{LABELS}{account}/{message}"


async def put_label(vault: Vault, account: AccountId, message: MessageId, label: LabelName) -> None:
    """Put a label on a message, in place of an earlier one. Raises Unavailable, Forbidden."""
    key = label_key(account, message)
    while True:
        try:
            etag = (await vault.get(key)).etag
        except NotFound:
            etag = None
        try:
            await vault.compare_and_swap(key, label.encode(), etag)
        except Conflict:
            continue
        return


async def read_label(vault: Vault, key: str) -> LabelName:
    """The label of a message, by the label's own key. Raises NotFound, Corrupt, Unavailable."""
    try:
        return parse_label((await vault.get(key)).body.decode())
    except (RetentionError, UnicodeDecodeError) as error:
        raise Corrupt(key, str(error)) from None
