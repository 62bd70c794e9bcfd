"""Whom a jurisdiction's law lets speak: its anchors, revocation lists and authorities.

A `Trust` is read once and consulted for every order: everything about it that does not
depend on the time of the question is worked out when it is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Final, final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import Store

from policy.geography import Jurisdiction
from policy.keys import KeyRefused, issuer_key
from policy.order import IssuerRole

# `is_signature_valid` would take MD5 and SHA-1 as well; the path's signatures are held to these too.
_CRL_DIGESTS: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

_REMEMBERED_PATHS: Final = 1024


@lru_cache(maxsize=1024)
def spki_sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of the SubjectPublicKeyInfo in hex: the name of a key, whatever certifies it."""
    return sha256(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


@final
@dataclass(frozen=True, slots=True)
class Authority:
    """An office whose signature counts. `spki_sha256` is lower-case hex."""

    name: str
    spki_sha256: str
    roles: frozenset[IssuerRole]


@final
@dataclass(frozen=True, slots=True)
class JurisdictionTrust:
    """What one jurisdiction lists."""

    anchors: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...]
    authorities: tuple[Authority, ...]


@final
@dataclass(frozen=True, slots=True)
class TrustFault:
    """One thing that is wrong with a trust list. `subject` is the thing itself."""

    jurisdiction: Jurisdiction
    subject: x509.Certificate | x509.CertificateRevocationList | Authority
    rule: str


class TrustError(ValueError):
    """A trust list that cannot be used; `faults` holds every reason at once."""

    def __init__(self, faults: tuple[TrustFault, ...]) -> None:
        super().__init__("; ".join(f"{fault.jurisdiction}: {fault.rule}" for fault in faults))
        self.faults: Final = faults


@final
@dataclass(frozen=True, slots=True, eq=False)
class RevocationList:
    """A CRL with its serial numbers at hand."""

    issuer: x509.Name
    this_update: datetime
    next_update: datetime
    revoked: Mapping[int, datetime]
    crl: x509.CertificateRevocationList
    _signers: dict[str, bool] = field(default_factory=dict)

    def signed_by(self, issuer: x509.Certificate) -> bool:
        """Whether this issuer's key made the signature: a fact without a date, so it is kept.

        Raises KeyRefused for a key that no CA may have."""
        spki = spki_sha256(issuer)
        known = self._signers.get(spki)
        if known is None:
            known = self._signers[spki] = self.crl.is_signature_valid(issuer_key(issuer))
        return known


@final
@dataclass(frozen=True, slots=True)
class Path:
    """A certificate, what certifies it, and so on to an anchor of `jurisdiction`.

    All of them are valid from `not_before` until `not_after`, both inclusive.
    """

    jurisdiction: Jurisdiction
    certificates: tuple[x509.Certificate, ...]
    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, jurisdiction: Jurisdiction, certificates: tuple[x509.Certificate, ...]) -> Path:
        """The path, with the period that its certificates share."""
        return cls(
            jurisdiction,
            certificates,
            max(certificate.not_valid_before_utc for certificate in certificates),
            min(certificate.not_valid_after_utc for certificate in certificates),
        )


@final
class Trust:
    """The trust lists of all jurisdictions.

    Raises TrustError where they cannot be used: an anchor that is no CA, a CRL with a critical
    extension, and whatever would leave it open for which jurisdiction a signature speaks.
    """

    def __init__(self, by_jurisdiction: Mapping[Jurisdiction, JurisdictionTrust]) -> None:
        self.by_jurisdiction: Final = MappingProxyType(dict(by_jurisdiction))
        faults: list[TrustFault] = []
        self._stores: Final[dict[Jurisdiction, Store]] = {}
        self._anchors: Final[dict[x509.Certificate, Jurisdiction]] = {}
        self._subjects: Final[dict[x509.Name, set[Jurisdiction]]] = defaultdict(set)
        self._lists: Final[dict[tuple[Jurisdiction, x509.Name], list[RevocationList]]] = defaultdict(list)
        self._authorities: Final[dict[tuple[Jurisdiction, str], Authority]] = {}
        self._paths: Final[dict[tuple[x509.Certificate, ...], Path]] = {}
        for jurisdiction, listed in sorted(self.by_jurisdiction.items()):
            self._take_anchors(jurisdiction, listed, faults)
            self._take_revocation_lists(jurisdiction, listed, faults)
            self._take_authorities(jurisdiction, listed, faults)
        faults += _spoken_for_twice(self.by_jurisdiction)
        if faults:
            raise TrustError(tuple(faults))

    def jurisdictions_of(self, last: x509.Certificate) -> tuple[Jurisdiction, ...]:
        """Where a chain that ends in `last` may be anchored: as an anchor itself, or by its issuer's name."""
        found = set(self._subjects.get(last.issuer, ()))
        if last in self._anchors:
            found.add(self._anchors[last])
        return tuple(sorted(found))

    def remembered_path(self, chain: tuple[x509.Certificate, ...]) -> Path | None:
        """The path that this chain was once found to be. Its period is the caller's to check."""
        return self._paths.get(chain)

    def remember_path(self, chain: tuple[x509.Certificate, ...], path: Path) -> None:
        """Keep a path that was found valid, so that it need not be worked out again."""
        if len(self._paths) >= _REMEMBERED_PATHS:
            self._paths.clear()
        self._paths[chain] = path

    def store(self, jurisdiction: Jurisdiction) -> Store:
        """The jurisdiction's anchors, and nobody else's."""
        return self._stores[jurisdiction]

    def revocation_lists(self, jurisdiction: Jurisdiction, issuer: x509.Name) -> tuple[RevocationList, ...]:
        """The jurisdiction's CRLs in the issuer's name, newest first. Not checked further."""
        return tuple(self._lists.get((jurisdiction, issuer), ()))

    def authority(self, jurisdiction: Jurisdiction, spki: str) -> Authority | None:
        """The authority that this key belongs to, as the jurisdiction lists it."""
        return self._authorities.get((jurisdiction, spki))

    def _take_anchors(
        self, jurisdiction: Jurisdiction, listed: JurisdictionTrust, faults: list[TrustFault]
    ) -> None:
        for anchor in listed.anchors:
            rule = _anchor_fault(anchor)
            if rule:
                faults.append(TrustFault(jurisdiction, anchor, rule))
            else:
                self._anchors[anchor] = jurisdiction
                self._subjects[anchor.subject].add(jurisdiction)
        if listed.anchors:
            self._stores[jurisdiction] = Store(list(listed.anchors))

    def _take_revocation_lists(
        self, jurisdiction: Jurisdiction, listed: JurisdictionTrust, faults: list[TrustFault]
    ) -> None:
        for crl in listed.crls:
            taken = _revocation_list(crl)
            if isinstance(taken, str):
                faults.append(TrustFault(jurisdiction, crl, taken))
            else:
                self._lists[jurisdiction, taken.issuer].append(taken)
        for lists in self._lists.values():
            lists.sort(key=lambda each: each.this_update, reverse=True)

    def _take_authorities(
        self, jurisdiction: Jurisdiction, listed: JurisdictionTrust, faults: list[TrustFault]
    ) -> None:
        for authority in listed.authorities:
            key = (jurisdiction, authority.spki_sha256)
            if key in self._authorities:
                faults.append(
                    TrustFault(jurisdiction, authority, f"{authority.name}: this key is listed twice")
                )
            self._authorities[key] = authority


def _anchor_fault(anchor: x509.Certificate) -> str | None:
    try:
        issuer_key(anchor)
        constraints = anchor.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = anchor.extensions.get_extension_for_class(x509.KeyUsage).value
    except KeyRefused as error:
        return f"the anchor's key: {error}"
    except (x509.ExtensionNotFound, ValueError):
        return "an anchor has basicConstraints and keyUsage (RFC 5280 4.2.1)"
    if not constraints.ca or not usage.key_cert_sign:
        return "an anchor is a CA with keyCertSign (RFC 5280 4.2.1.3)"
    return None


def _revocation_list(crl: x509.CertificateRevocationList) -> RevocationList | str:
    """The CRL read, or the rule of RFC 5280 section 5 that it breaks."""
    if not isinstance(crl.signature_hash_algorithm, _CRL_DIGESTS):
        return "a CRL is signed over SHA-256, SHA-384 or SHA-512"
    if crl.next_update_utc is None:
        return "a CRL says when the next is due, nextUpdate (RFC 5280 5.1.2.5)"
    try:
        for extension in crl.extensions:
            # RFC 5280 5.2.4 and 5.2.5: a delta or an indirect CRL, or one that is made for some
            # certificates only. Each would leave certificates that nobody vouches for.
            if extension.critical or isinstance(extension.value, x509.IssuingDistributionPoint):
                return f"the CRL has the critical extension {extension.oid.dotted_string} (RFC 5280 5.2)"
        revoked = {}
        for entry in crl:
            for extension in entry.extensions:
                if extension.critical:
                    return f"an entry has the critical extension {extension.oid.dotted_string} (RFC 5280 5.3)"
            revoked[entry.serial_number] = entry.revocation_date_utc
    except ValueError as error:
        return f"the CRL's extensions cannot be read: {error}"
    return RevocationList(
        crl.issuer, crl.last_update_utc, crl.next_update_utc, MappingProxyType(revoked), crl
    )


def _spoken_for_twice(by_jurisdiction: Mapping[Jurisdiction, JurisdictionTrust]) -> list[TrustFault]:
    """A key that two jurisdictions list could speak for either: neither may list it."""
    faults = []
    cas: dict[str, Jurisdiction] = {}
    offices: dict[str, Jurisdiction] = {}
    for jurisdiction, listed in sorted(by_jurisdiction.items()):
        for anchor in listed.anchors:
            other = cas.setdefault(spki_sha256(anchor), jurisdiction)
            if other != jurisdiction:
                faults.append(TrustFault(jurisdiction, anchor, f"this CA is an anchor of {other} too"))
        for authority in listed.authorities:
            other = offices.setdefault(authority.spki_sha256, jurisdiction)
            if other != jurisdiction:
                faults.append(
                    TrustFault(
                        jurisdiction, authority, f"{authority.name}: this key is listed by {other} too"
                    )
                )
    return faults
