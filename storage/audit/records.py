"""The full record behind an entry: sealed in the region, bound to the entry by a salted digest.

An entry says `record: sha256:<digest>`. The record itself is a JSON document with a salt, so
that nobody can test a guess against the published digest, at `records/<digest>.json` in the
region's vault. Where it is about an account, it is sealed once more, inside, to that account's
record key: erasing the account destroys the key, and with it every record about the account
(in each region where it has lived: `storage.record_keys`),
while the log, which holds the digest alone, stays as valid as it was.

Order of writing: the record first, then the entry. If we crash between the two, a record is
left that no entry names. The other way round, the log would promise a record that is not there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, final

from storage.audit.verify import RecordState
from storage.errors import Corrupt, NotFound
from storage.identity import AccountId
from storage.keyring import Keyholder, Keyring
from storage.keys import PrivateKey, PublicKeys, Purpose
from storage.operators import Documents
from storage.record_keys import RecordKeys
from storage.region import RegionStore
from storage.sealing import Binding, open_document, read_document_header, seal_document

_SEALED_TO: Final = "sealed_to"
_SEALED: Final = "sealed"


class Erased(NotFound):
    """The record is there, and the key that opens it was destroyed with its account."""


@final
class RecordRoom:
    """One region's records."""

    def __init__(self, store: RegionStore, documents: Documents) -> None:
        """`documents`: the region's vault."""
        self._store: Final = store
        self._documents: Final = documents

    async def keep(self, full: Mapping[str, Any], about: tuple[AccountId, PublicKeys] | None = None) -> str:
        """Seal a record -> the digest for the entry. `about`: the account that it is about."""
        body = json.dumps({"salt": secrets.token_hex(16), **full}, ensure_ascii=False).encode()
        digest = hashlib.sha256(body).hexdigest()
        key = _key(digest)
        if about is not None:
            account, public = about
            sealed = seal_document(public, Binding(self._store.region.code, key), body)
            outer = {_SEALED_TO: str(account), _SEALED: base64.b64encode(sealed).decode()}
            body = json.dumps(outer).encode()
        await self._documents.put_if_absent(key, body)
        return f"sha256:{digest}"

    async def open(self, digest: str) -> dict[str, Any]:
        """The record, its digest checked. Raises NotFound, Erased, Corrupt, Unavailable."""
        key = _key(digest.removeprefix("sha256:"))
        body = await self._body(key)
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise Corrupt(key, "it is not the record that the entry names")
        record = json.loads(body)
        if not isinstance(record, dict):
            raise Corrupt(key, "it is not a record")
        return record

    async def state(self, digest: str) -> RecordState:
        """For a verifier (`storage.audit.verify.Records`). Raises Unavailable, Forbidden."""
        try:
            await self.open(digest)
        except Erased:
            return RecordState.ERASED
        except NotFound:
            return RecordState.MISSING
        except Corrupt:
            return RecordState.CHANGED
        return RecordState.MATCHES

    async def _body(self, key: str) -> bytes:
        body = (await self._documents.get(key)).body
        try:
            outer = json.loads(body)
        except ValueError:
            raise Corrupt(key, "it is not JSON") from None
        if not isinstance(outer, dict) or outer.keys() != {_SEALED_TO, _SEALED}:
            return body
        try:
            account = AccountId.parse(str(outer[_SEALED_TO]))
            sealed = base64.b64decode(outer[_SEALED], validate=True)
        except (ValueError, TypeError) as error:
            raise Corrupt(key, str(error)) from None
        return await self._open_for(account, key, sealed)

    async def _open_for(self, account: AccountId, key: str, sealed: bytes) -> bytes:
        binding = Binding(self._store.region.code, key)
        generation = read_document_header(binding, sealed).generation
        return open_document(await self._private(account, generation, key), binding, sealed)

    async def _private(self, account: AccountId, generation: int, key: str) -> PrivateKey:
        """From the account's keyring, or from what it left here when it moved away."""
        store, holder = self._store, Keyholder(self._store.region.code, account)
        keyring: Keyring | None = None
        with suppress(NotFound):
            keyring = await Keyring.load(store.mail, store.keys, holder)
        if keyring is None or not keyring.has(generation):
            left = await RecordKeys.find(store.mail, holder)
            if left is not None and left.has(generation):
                return await left.private(store.keys, generation)
        if keyring is None:
            raise Erased(key)
        return await keyring.private(Purpose.RECORD, generation, opens=key)


def _key(digest: str) -> str:
    return f"records/{digest}.json"
