"""What keeps a region's private keys closed: a key file on one machine, or AWS KMS in the region.

A wrapped key names the key service that wrapped it, so that `situs fence verify` can tell a key
that belongs to another region without asking any key service to open it:

    "SKW" 01 | length of the key id, 2 bytes | key id, UTF-8 | what the service made

Everything before the service's part is bound to it where the service allows (key file), and
checked against the service's own answer where not (KMS).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, final

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.errors import FenceBroken, Forbidden, KeyRefused, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_MAGIC: Final = b"SKW\x01"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_KMS_LIMIT: Final = 4096  # bytes that KMS Encrypt takes
# KMS answers these when it is not the request that is wrong.
_KMS_FOR_NOW: Final = frozenset(
    {"ThrottlingException", "LimitExceededException", "DependencyTimeoutException",
     "KMSInternalException", "KeyUnavailableException", "ServiceUnavailable", "InternalFailure",
     "RequestTimeout", "500", "502", "503", "504"}
)  # fmt: skip
_KMS_NOT_OURS: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})

_T = TypeVar("_T")


class KeyService(Protocol):
    """Wraps private keys, and opens them again for whoever may ask, under the same context."""

    @property
    def key_id(self) -> str:
        """What `wrapped_by` finds in everything that this service wraps. Not secret."""
        ...

    async def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Close a key, bound to `context`. Raises Forbidden, Unavailable."""
        ...

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Open a key again. Raises KeyRefused where this service did not wrap it under this
        context, or it has been changed; Forbidden; Unavailable."""
        ...


def wrapped_by(wrapped: bytes) -> str:
    """The id of the key service that wrapped these bytes. Raises KeyRefused if none did."""
    return _split(wrapped)[0]


@final
class KeyFile:
    """A 32-byte key in a file that only its owner can read: the key service of a single machine.

    Keys are wrapped with AES-256-GCM under random nonces, which is safe for 2^32 of them
    (NIST SP 800-38D 8.3): three for each generation of each account.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise FenceBroken(f"a key file holds {_KEY_BYTES} bytes, this one {len(key)}")
        self._aead: Final = AESGCM(key)
        # The id must tell nothing of the key but whether it is the same one.
        self.key_id: Final = "file:" + hashlib.sha256(b"situs key file id\0" + key).hexdigest()[:32]

    @classmethod
    def load(cls, path: Path) -> KeyFile:
        """Raises FenceBroken if the file is missing, too short or long, or readable by others."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise FenceBroken(f"key file {path}: {error.strerror}, expected a file of mode 0600") from None
        with os.fdopen(descriptor, "rb") as file:
            # The mode of the file that is open, not of whatever the name means a moment later.
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            if mode & 0o077:
                raise FenceBroken(f"key file {path}: mode {mode:04o}, expected 0600: others can read it")
            key = file.read(_KEY_BYTES + 1)
        if len(key) != _KEY_BYTES:
            raise FenceBroken(f"key file {path}: expected exactly {_KEY_BYTES} bytes")
        return cls(key)

    @classmethod
    def create(cls, path: Path) -> KeyFile:
        """Make the file if there is none, and load it. A crash leaves a whole file or none."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: of two that make the key at once the second must not replace the first's.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
        return cls.load(path)

    async def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        header = _header(self.key_id)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return header + nonce + self._aead.encrypt(nonce, plaintext, header + _canonical(context))

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        key_id, made = _split(wrapped)
        _must_be(self.key_id, key_id)
        nonce, sealed = made[:_NONCE_BYTES], made[_NONCE_BYTES:]
        try:
            return self._aead.decrypt(nonce, sealed, _header(key_id) + _canonical(context))
        except (InvalidTag, ValueError):
            raise KeyRefused("the wrapped key is damaged, or was wrapped for something else") from None


@final
class Kms:
    """A single-region AWS KMS key. Opened by `storage.region`, which proves where it lies.

    The context goes to KMS as EncryptionContext: it is in CloudTrail, so it names regions,
    account ids and purposes, and never an address.
    """

    def __init__(self, client: KMSClient, arn: str) -> None:
        self._client: Final = client
        self.key_id: Final = arn

    async def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        if len(plaintext) > _KMS_LIMIT:
            raise ValueError(f"AWS KMS encrypts at most {_KMS_LIMIT} bytes")
        answer = await self._ask(
            lambda: self._client.encrypt(
                KeyId=self.key_id, Plaintext=plaintext, EncryptionContext=dict(context)
            )
        )
        return _header(self.key_id) + answer["CiphertextBlob"]

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        key_id, made = _split(wrapped)
        _must_be(self.key_id, key_id)
        answer = await self._ask(
            lambda: self._client.decrypt(
                KeyId=self.key_id, CiphertextBlob=made, EncryptionContext=dict(context)
            )
        )
        _must_be(self.key_id, answer["KeyId"])
        return answer["Plaintext"]

    async def _ask(self, request: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(request)
        except ClientError as error:
            raise _kms_error(error) from error
        except BotoCoreError as error:
            raise Unavailable(f"key service {self.key_id}: {type(error).__name__}") from error


def _kms_error(error: ClientError) -> Exception:
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    what = f"key service: {code}"
    if code in _KMS_NOT_OURS:
        return KeyRefused("the wrapped key is damaged, or was wrapped for something else")
    if code in _KMS_FOR_NOW or status >= 500:
        return Unavailable(what)
    return Forbidden(what)


def _header(key_id: str) -> bytes:
    name = key_id.encode()
    return _MAGIC + len(name).to_bytes(2, "big") + name


def _split(wrapped: bytes) -> tuple[str, bytes]:
    start = len(_MAGIC) + 2
    if len(wrapped) < start or not wrapped.startswith(_MAGIC):
        raise KeyRefused("these bytes are not a wrapped key of version 1")
    end = start + int.from_bytes(wrapped[len(_MAGIC) : start], "big")
    try:
        return wrapped[start:end].decode(), wrapped[end:]
    except UnicodeDecodeError:
        raise KeyRefused("these bytes are not a wrapped key of version 1") from None


def _must_be(expected: str, found: str) -> None:
    if found != expected:
        raise KeyRefused(f"wrapped by key service {found!r}, expected {expected!r}")


def _canonical(context: Mapping[str, str]) -> bytes:
    return json.dumps(dict(context), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
