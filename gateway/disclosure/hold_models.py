"""The words of the API for legal holds and for the audit log, as `models` has those for disclosures."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gateway.disclosure.models import Asked, Count, GivenMoment, Identifier, Moment, RegionName, Told
from policy.hold import Phase

AddressText = Annotated[str, Field(max_length=320)]
DomainText = Annotated[str, Field(max_length=255)]
MessageIdText = Annotated[str, Field(min_length=1, max_length=998)]


class Span(Asked):
    """Half open: what was received at `end` lies outside."""

    start: GivenMoment
    end: GivenMoment


class LitigationBasis(Asked):
    """The provider's own duty to keep evidence."""

    litigation: Annotated[str, Field(min_length=1, max_length=1000, description="Why, in a sentence")]


class OrderedBasis(Asked):
    """An order that the law of the place carries."""

    order: Annotated[str, Field(description="A signed order, as for a disclosure")]


class HoldQuery(Asked):
    """Only mail whose traffic data say so. Each part that is given has to match, by any of its values."""

    parties: Annotated[tuple[AddressText, ...], Field(max_length=1000)] = ()
    domains: Annotated[tuple[DomainText, ...], Field(max_length=1000)] = ()
    message_ids: Annotated[tuple[MessageIdText, ...], Field(max_length=1000)] = ()


class HoldRequest(Asked):
    """What is to be kept, why, and until when.

    Either one mailbox (`address`), or several of a matter (`addresses` and `matter`), or every mailbox
    of a region with an address in a domain, those to come too (`domain` and `region`). A hold is of one
    region and stands under its law: mailboxes of several regions are refused, and nothing is held.
    """

    address: AddressText | None = None
    addresses: Annotated[list[AddressText] | None, Field(min_length=1, max_length=1000)] = None
    domain: DomainText | None = None
    region: RegionName | None = None
    basis: LitigationBasis | OrderedBasis
    timespan: Span | None = None
    query: HoldQuery | None = None
    matter: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    until: GivenMoment | None = None

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if sum(given is not None for given in (self.address, self.addresses, self.domain)) != 1:
            raise ValueError("one of address, addresses and domain is expected")
        if (self.domain is None) != (self.region is None):
            raise ValueError("a domain stands with its region, and a region with a domain")
        if self.addresses is not None and self.matter is None:
            raise ValueError("addresses stand with the matter that they belong to")
        return self


class HoldReleaseRequest(Asked):
    """The body of a hold's `:release`; may be left out by the one who confirms."""

    reason: Annotated[str | None, Field(min_length=1, max_length=1000)] = None
    until: Annotated[
        GivenMoment | None, Field(description="An earlier end, in place of a release at once")
    ] = None
    proposal: Annotated[
        GivenMoment | None,
        Field(description="The `at` of the proposal that is confirmed: another one is not, whatever it says"),
    ] = None


class HoldProlongRequest(Asked):
    """The body of a hold's `:prolong`. `until` null: no end."""

    until: GivenMoment | None


class HoldProposal(Told):
    """What one custodian would do, and a second one has to confirm."""

    by: str
    at: Moment
    reason: str
    until: Moment | None


class HoldQueryTold(Told):
    """The query of a hold, as it was understood."""

    parties: list[str]
    domains: list[str]
    message_ids: list[str]


class HoldLinks(Told):
    self: str


class Hold(Told):
    """A legal hold. While it is `in force`, nothing in its scope can be deleted by anybody."""

    id: Identifier
    region: RegionName
    phase: Phase
    address: str | None
    """The mailbox, as the custodian asked for it; null for a hold on a domain or a matter."""
    domain: str | None
    """The domain of whose addresses every mailbox at home in `region` is held, and none of another region;
    null for any other hold."""
    accounts: Count | None
    """How many mailboxes of the matter are held; null for any other hold."""
    matter: str | None
    basis: Literal["order", "litigation"]
    instrument: str | None
    reference: str | None
    reason: str | None
    timespan_start: Moment | None
    timespan_end: Moment | None
    query: HoldQueryTold | None
    placed_by: str
    placed: Moment
    until: Moment | None
    keeps_until: Moment | None
    """The moment from which it forbids nothing any more, its grace period included."""
    proposal: HoldProposal | None
    links: HoldLinks


class HoldList(Told):
    """One page."""

    holds: list[Hold]
    nextPageToken: str | None = None  # the names that DESIGN 9 gives


class AuditEntry(Told):
    """An entry of the log as it was committed, and where it stands."""

    index: Count
    entry: dict[str, Any]


class AuditEntryList(Told):
    """Entries in the order of the log. `next`: the index to go on from, null at the log's end."""

    region: RegionName
    entries: list[AuditEntry]
    next: Count | None


class AuditProof(Told):
    """That an entry stands in the tree that `checkpoint` signs; hashes and entry in base64."""

    index: Count
    entry: str
    path: list[str]
    checkpoint: str


class AuditQuery(Asked):
    """The query of a log's entries."""

    start: Annotated[int, Field(ge=0, alias="from")] = 0
    pageSize: Annotated[int, Field(ge=1, le=200)] = 50
