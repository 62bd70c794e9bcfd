"""`situs.toml`, read strictly: an unknown key, a wrong type or a dangling name is one clear line.

Paths in the file are relative to the file. Secrets stand in files of their own, so that the
configuration itself can be shown, diffed and kept under version control.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, final

from pydantic import ValidationError

from gateway.config_file import (
    ConfigFile,
    DoorSection,
    GatewaySection,
    ImapSection,
    KeyFileSection,
    ListenerSection,
    MailSection,
    OidcSection,
    ProfileSection,
    RegionSection,
    RspamdSection,
)
from gateway.disclosure.oidc import IssuerSettings
from gateway.disclosure.terms import Terms
from gateway.disclosure.tls import GatewayTls
from gateway.ingress.limits import Limits, RspamdSettings
from policy.address import Address, AddressError
from policy.geography import GeographyError, Jurisdiction, Region, RegionCode
from storage.audit.cosigning import WitnessAddress
from storage.audit.note import VerifierKey
from storage.credentials import Credentials, Machine, Profile, StaticKeys
from storage.region import KeyFileSettings, KmsSettings, RegionSettings


class ConfigError(Exception):
    """The configuration cannot be used. The message names file, key and what was expected."""


@final
@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Where a region's log gets its signing key and its pseudonym key, and who cosigns it."""

    signing_key_file: Path
    pseudonym_key_file: Path
    witnesses: tuple[WitnessAddress, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class MailSettings:
    """One mail door: where it listens and who may come in. `more`: listeners of it that differ."""

    listen: tuple[str, ...]
    unix: Path | None
    hostname: str
    certificate: Path | None
    key: Path | None
    implicit_tls: bool
    require_tls: bool
    proxy_from: tuple[str, ...]
    connect_from: tuple[str, ...]
    more: tuple[MailSettings, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every `HOST:PORT` of the door."""
        return (*self.listen, *(address for each in self.more for address in each.listen))


@final
@dataclass(frozen=True, slots=True)
class ImapSettings:
    """The owners' door. `poll_seconds`: how soon an idle client hears of what another process did."""

    door: MailSettings
    poll_seconds: float
    # Where the owners of a region's mailboxes sign in: a client at the wrong door is sent there (RFC 2221).
    hosts: Mapping[RegionCode, str]


@final
@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, parsed: regions and jurisdictions are types, paths are absolute."""

    path: Path
    deployment: str
    serves: tuple[RegionCode, ...]
    provider_entities: frozenset[Jurisdiction]
    regions: Mapping[RegionCode, RegionSettings]
    gateway_urls: Mapping[RegionCode, str]
    audit: Mapping[RegionCode, AuditSettings]
    directory_key_file: Path
    registrar: RegionCode
    reads: RegionCode
    seat: RegionCode
    trust: Path
    lawbook: Path | None
    smtp: MailSettings
    postmaster: Address | None
    lmtp: MailSettings
    imap: ImapSettings
    gateway_listen: str
    gateway_tls: GatewayTls | None
    gateway_terms: Terms
    oidc: IssuerSettings | None
    metrics_listen: str | None
    limits: Limits
    rspamd: RspamdSettings | None


def load_config(path: Path) -> Config:
    """Reads `situs.toml`. Raises ConfigError with one line for the first fault."""
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; `situs demo` writes one, deploy/situs.toml explains each key"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        parsed = ConfigFile.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_fault(error)}") from None
    return _Reader(path.absolute(), parsed).config()


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    # A discriminated union puts the chosen branch into the location; it is no key of the file.
    key = ".".join(str(part) for part in fault["loc"] if part not in ("file", "kms"))
    match fault["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{key}: unknown key"
        case "missing":
            return f"{key}: this key is required"
        case _:
            return f"{key}: {fault['msg'].removeprefix('Value error, ')}"


@final
class _Reader:
    """Turns the words of the file into types, naming the key where that fails."""

    def __init__(self, path: Path, parsed: ConfigFile) -> None:
        self._path: Final = path
        self._file: Final = parsed
        self._codes: Final = {name: self._code(f"regions.{name}", name) for name in parsed.regions}

    def config(self) -> Config:
        file = self._file
        if not file.serves:
            raise self._fault("serves", "at least one region is expected")
        serves = tuple(self._known(f"serves[{i}]", name) for i, name in enumerate(file.serves))
        seat = self._known("gateway.seat", file.gateway.seat)
        if seat not in serves:
            raise self._fault("gateway.seat", "must be one of the regions in `serves`")
        return Config(
            path=self._path,
            deployment=file.deployment,
            serves=serves,
            provider_entities=frozenset(
                self._jurisdiction(f"provider_entities[{i}]", code)
                for i, code in enumerate(file.provider_entities)
            ),
            regions={
                self._codes[name]: self._region(name, section) for name, section in file.regions.items()
            },
            gateway_urls={
                self._codes[name]: section.gateway_url
                for name, section in file.regions.items()
                if section.gateway_url
            },
            audit={
                self._codes[name]: AuditSettings(
                    self._at(section.audit.signing_key_file),
                    self._at(section.audit.pseudonym_key_file),
                    tuple(
                        WitnessAddress(one.url, VerifierKey.parse(one.key)) for one in section.audit.witness
                    ),
                )
                for name, section in file.regions.items()
            },
            directory_key_file=self._at(file.directory.key_file),
            registrar=self._known("directory.registrar", file.directory.registrar),
            reads=self._known("directory.reads", file.directory.reads),
            seat=seat,
            trust=self._at(file.law.trust),
            lawbook=self._at(file.law.lawbook) if file.law.lawbook else None,
            smtp=self._mail("smtp", file.smtp),
            postmaster=self._address("smtp.postmaster", file.smtp.postmaster),
            lmtp=self._mail("lmtp", file.lmtp),
            imap=self._imap(file.imap),
            gateway_listen=file.gateway.listen,
            gateway_tls=self._gateway_tls(file.gateway),
            gateway_terms=Terms(
                package_lifetime=timedelta(days=file.gateway.package_lifetime_days),
                attempts_a_minute=file.gateway.requests_per_minute,
                strangers_a_minute=file.gateway.strangers_per_minute,
                nearly_due=timedelta(hours=file.gateway.nearly_due_hours),
            ),
            oidc=self._oidc(file.gateway.oidc) if file.gateway.oidc else None,
            metrics_listen=file.metrics.listen if file.metrics else None,
            limits=self._limits(file.limits),
            rspamd=self._rspamd(file.rspamd) if file.rspamd else None,
        )

    def _region(self, name: str, section: RegionSection) -> RegionSettings:
        keys: KeyFileSettings | KmsSettings | None = None
        if isinstance(section.keys, KeyFileSection):
            keys = KeyFileSettings(self._at(section.keys.path))
        elif section.keys is not None:
            keys = KmsSettings(section.keys.key_id, section.keys.endpoint)
        if section.bucket == section.audit_bucket:
            raise self._fault(f"regions.{name}.audit_bucket", "mail and audit log need buckets of their own")
        return RegionSettings(
            region=Region(self._codes[name], self._jurisdiction(f"regions.{name}.country", section.country)),
            endpoint=section.endpoint,
            bucket=section.bucket,
            audit_bucket=section.audit_bucket,
            credentials=self._credentials(name, section),
            key_service=keys,
            audit_retention_days=section.audit_retention_days,
            deadline_seconds=section.deadline_seconds,
        )

    def _credentials(self, name: str, section: RegionSection) -> Credentials:
        match section.access_key_id, section.secret_access_key, section.credentials:
            case str(key_id), str(secret), None:
                return StaticKeys(key_id, secret)
            case None, None, ProfileSection(profile=profile, file=file):
                return Profile(profile, self._at(file) if file else None)
            case None, None, None:
                return Machine()
            case _, _, None:
                raise self._fault(
                    f"regions.{name}.access_key_id", "access_key_id and secret_access_key go together"
                )
            case _:
                raise self._fault(
                    f"regions.{name}.credentials", "either a profile or access_key_id and secret_access_key"
                )

    def _gateway_tls(self, section: GatewaySection) -> GatewayTls | None:
        if section.certificate is None or section.key is None:
            if section.certificate or section.key or section.client_ca:
                raise self._fault(
                    "gateway.certificate", "certificate and key go together, client_ca needs both"
                )
            return None
        client_ca = self._at(section.client_ca) if section.client_ca else None
        return GatewayTls(self._at(section.certificate), self._at(section.key), client_ca)

    def _oidc(self, section: OidcSection) -> IssuerSettings:
        try:
            return IssuerSettings(section.issuer, section.audience)
        except ValueError as error:
            raise self._fault("gateway.oidc", str(error)) from None

    def _mail(self, door: str, section: DoorSection) -> MailSettings:
        unix = section.unix if isinstance(section, MailSection) else None
        settings = self._sound(
            door,
            MailSettings(
                listen=tuple(section.listen),
                unix=self._at(unix) if unix else None,
                hostname=section.hostname,
                certificate=self._at(section.certificate) if section.certificate else None,
                key=self._at(section.key) if section.key else None,
                implicit_tls=section.implicit_tls,
                require_tls=section.require_tls,
                proxy_from=tuple(section.proxy_from),
                connect_from=tuple(section.connect_from),
            ),
        )
        more = tuple(
            self._listener(f"{door}.listener[{number}]", each, settings)
            for number, each in enumerate(section.listener)
        )
        return replace(settings, more=more)

    def _listener(self, key: str, section: ListenerSection, door: MailSettings) -> MailSettings:
        def own(networks: list[str] | None, doors: tuple[str, ...]) -> tuple[str, ...]:
            return doors if networks is None else tuple(networks)

        settings = replace(
            door,
            listen=tuple(section.listen),
            unix=None,
            certificate=self._at(section.certificate) if section.certificate else door.certificate,
            key=self._at(section.key) if section.key else door.key,
            implicit_tls=door.implicit_tls if section.implicit_tls is None else section.implicit_tls,
            require_tls=door.require_tls if section.require_tls is None else section.require_tls,
            proxy_from=own(section.proxy_from, door.proxy_from),
            connect_from=own(section.connect_from, door.connect_from),
        )
        return self._sound(key, settings)

    def _sound(self, key: str, settings: MailSettings) -> MailSettings:
        if (settings.certificate is None) != (settings.key is None):
            raise self._fault(f"{key}.certificate", "certificate and key go together")
        for name in ("implicit_tls", "require_tls"):
            if getattr(settings, name) and settings.certificate is None:
                raise self._fault(f"{key}.{name}", "needs a certificate and a key")
        return settings

    def _imap(self, section: ImapSection) -> ImapSettings:
        regions = self._file.regions.items()
        hosts = {self._codes[name]: region.imap_host for name, region in regions if region.imap_host}
        return ImapSettings(self._mail("imap", section), section.poll_seconds, hosts)

    def _limits(self, section: dict[str, Any]) -> Limits:
        kinds = {field.name: type(field.default) for field in fields(Limits)}
        for name, value in section.items():
            if name not in kinds:
                raise self._fault(f"limits.{name}", "unknown key")
            if type(value) is not int and type(value) is not kinds[name]:
                kind = "a whole number" if kinds[name] is int else "a number"
                raise self._fault(f"limits.{name}", f"{kind} is expected, not {value!r}")
        try:
            return Limits(**section)
        except ValueError as error:
            raise self._fault("limits", str(error)) from None

    def _rspamd(self, section: RspamdSection) -> RspamdSettings:
        password = None
        if section.password_file is not None:
            try:
                password = self._at(section.password_file).read_text().strip()
            except OSError as error:
                raise self._fault(
                    "rspamd.password_file", f"{section.password_file}: {error.strerror}"
                ) from None
        return RspamdSettings(section.url, section.timeout, section.unreachable, password)

    def _address(self, key: str, text: str | None) -> Address | None:
        try:
            return Address.parse(text) if text is not None else None
        except AddressError as error:
            raise self._fault(key, str(error)) from None

    def _at(self, relative: str) -> Path:
        return self._path.parent / relative

    def _known(self, key: str, name: str) -> RegionCode:
        if name not in self._codes:
            raise self._fault(
                key, f"{name!r} is not one of the regions in this file ({', '.join(self._codes)})"
            )
        return self._codes[name]

    def _code(self, key: str, name: str) -> RegionCode:
        try:
            return RegionCode.parse(name)
        except GeographyError as error:
            raise self._fault(key, str(error)) from None

    def _jurisdiction(self, key: str, code: str) -> Jurisdiction:
        try:
            return Jurisdiction.parse(code)
        except GeographyError as error:
            raise self._fault(key, str(error)) from None

    def _fault(self, key: str, expected: str) -> ConfigError:
        return ConfigError(f"{self._path}: {key}: {expected}")
