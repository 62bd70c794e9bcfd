"""The shape of `situs.toml`: each field is a key, each section a table, and nothing else is allowed.

What the words mean is read in `gateway.config`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.ingress.limits import WhenUnreachable
from storage.audit.note import KeyKind, VerifierKey
from storage.settings import SIX_YEARS_IN_DAYS


def _listen_address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("'HOST:PORT' is expected, such as '127.0.0.1:2525'")
    return text


ListenAddress = Annotated[str, AfterValidator(_listen_address)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class KeyFileSection(Section):
    service: Literal["file"]
    path: str


class KmsSection(Section):
    service: Literal["kms"]
    key_id: str
    endpoint: str | None = None


def _witness_key(text: str) -> str:
    if VerifierKey.parse(text).kind is not KeyKind.COSIGNATURE:
        raise ValueError("a witness's verifier key (type 4) is expected, as `situs audit witness` prints it")
    return text


class WitnessSection(Section):
    url: Annotated[str, Field(pattern=r"^https?://")]
    key: Annotated[str, AfterValidator(_witness_key)]


class AuditSection(Section):
    signing_key_file: str
    pseudonym_key_file: str
    witness: list[WitnessSection] = []


class ProfileSection(Section):
    profile: str
    file: str | None = None


class RegionSection(Section):
    country: str
    endpoint: str
    bucket: str
    audit_bucket: str
    access_key_id: str | None = None
    secret_access_key: str | None = None
    credentials: ProfileSection | None = None
    audit_retention_days: Annotated[int, Field(ge=1, le=36500)] = SIX_YEARS_IN_DAYS
    deadline_seconds: Annotated[float, Field(gt=0, le=30)] = 10.0
    gateway_url: str | None = None
    imap_host: str | None = None
    keys: Annotated[KeyFileSection | KmsSection, Field(discriminator="service")] | None = None
    audit: AuditSection


class DirectorySection(Section):
    key_file: str
    registrar: str
    reads: str


class LawSection(Section):
    trust: str
    lawbook: str | None = None


class ListenerSection(Section):
    """A further listener of a door: what is left out here is as the door has it."""

    listen: Annotated[list[ListenAddress], Field(min_length=1)]
    certificate: str | None = None
    key: str | None = None
    implicit_tls: bool | None = None
    require_tls: bool | None = None
    proxy_from: list[str] | None = None
    connect_from: list[str] | None = None


class DoorSection(Section):
    """A mail door: where it listens, and who may come in."""

    listen: list[ListenAddress] = []
    hostname: str = "localhost"
    certificate: str | None = None
    key: str | None = None
    implicit_tls: bool = False
    require_tls: bool = False
    proxy_from: list[str] = []
    connect_from: list[str] = []
    listener: list[ListenerSection] = []


class MailSection(DoorSection):
    unix: str | None = None


class SmtpSection(MailSection):
    postmaster: str | None = None


class ImapSection(DoorSection):
    poll_seconds: Annotated[float, Field(gt=0, le=300)] = 15.0


class OidcSection(Section):
    issuer: str
    audience: str


class GatewaySection(Section):
    listen: ListenAddress
    seat: str
    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    package_lifetime_days: Annotated[int, Field(ge=1, le=365)] = 14
    requests_per_minute: Annotated[int, Field(ge=10, le=1_000_000)] = 600
    strangers_per_minute: Annotated[int, Field(ge=10, le=1_000_000)] = 600
    nearly_due_hours: Annotated[int, Field(ge=1, le=720)] = 24
    oidc: OidcSection | None = None


class RspamdSection(Section):
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+/?$")]
    timeout: Annotated[float, Field(gt=0)] = 10.0
    unreachable: WhenUnreachable = Field(default=WhenUnreachable.DEFER, strict=False)
    password_file: str | None = None


class MetricsSection(Section):
    listen: ListenAddress


class ConfigFile(Section):
    """The file's own shape: each field is a key, each section a table."""

    deployment: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
    serves: list[str]
    provider_entities: list[str]
    directory: DirectorySection
    law: LawSection
    regions: dict[str, RegionSection]
    smtp: SmtpSection = SmtpSection()
    lmtp: MailSection = MailSection()
    imap: ImapSection = ImapSection()
    gateway: GatewaySection
    metrics: MetricsSection | None = None
    rspamd: RspamdSection | None = None
    limits: dict[str, Any] = {}
