"""AWS Signature Version 4 of one put, in its header: what S3 takes from those who hold an access key.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. It covers everything that the
request says: method, key, host, time, the body's digest, and whether the object goes under a legal hold.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Final, final

from policy.geography import RegionCode
from storage.credentials import StaticKeys

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
# In the order of the alphabet, as the canonical request has them. S3 wants the checksum, and to be told of
# it, where Object Lock may retain the object.
_SIGNED: Final = "host;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date;x-amz-sdk-checksum-algorithm"
_SIGNED_UNDER_HOLD: Final = _SIGNED.replace(";x-amz-sdk", ";x-amz-object-lock-legal-hold;x-amz-sdk")


@final
class PutSignature:
    """Signs puts into one bucket, reached at `host` (with the port, where it is not HTTP's own)."""

    def __init__(
        self, keys: StaticKeys, region: RegionCode, host: str, bucket: str, clock: Callable[[], datetime]
    ) -> None:
        self._keys: Final = keys
        self._region: Final = region.value
        self._host: Final = host
        self._bucket: Final = bucket
        self._clock: Final = clock
        self._of_day = ("", b"")

    def head(self, key: str, body: bytes, *, legal_hold: bool) -> bytes:
        """Request line and header of the put. `key` has only octets that a URI need not escape."""
        time = f"{self._clock():%Y%m%dT%H%M%SZ}"
        scope = f"{time[:8]}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(body).digest()
        signed = _SIGNED_UNDER_HOLD if legal_hold else _SIGNED
        held = "x-amz-object-lock-legal-hold:ON\n" if legal_hold else ""
        header = (
            f"host:{self._host}\n"
            f"x-amz-checksum-sha256:{base64.b64encode(digest).decode()}\n"
            f"x-amz-content-sha256:{digest.hex()}\n"
            f"x-amz-date:{time}\n"
            f"{held}"
            "x-amz-sdk-checksum-algorithm:SHA256\n"
        )
        canonical = f"PUT\n/{self._bucket}/{key}\n\n{header}\n{signed}\n{digest.hex()}"
        to_sign = f"{_ALGORITHM}\n{time}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key_of(time[:8]), to_sign.encode(), "sha256").hex()
        sent = header.replace("\n", "\r\n")  # what is signed is what is sent: there is no second list of it
        return (
            f"PUT /{self._bucket}/{key} HTTP/1.1\r\n{sent}"
            f"authorization:{_ALGORITHM} Credential={self._keys.access_key_id}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}\r\n"
            f"user-agent:situs\r\ncontent-length:{len(body)}\r\n\r\n"
        ).encode()

    def _key_of(self, day: str) -> bytes:
        if self._of_day[0] != day:
            key = f"AWS4{self._keys.secret_access_key}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._of_day = (day, key)
        return self._of_day[1]
