"""The words of `/v1/orders`, as `gateway.disclosure.models` has those of disclosures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.disclosure.models import (
    Digest,
    Finding,
    Identifier,
    Moment,
    PageQuery,
    RegionName,
    Sha256,
    Signature,
    Status,
    Told,
)


class OrderQuery(PageQuery):
    """The query of `GET /v1/orders`."""

    region: RegionName | None = None


class OrderedDisclosure(Told):
    """A disclosure on the order; `order_digest` tells which text of it that was about."""

    id: Identifier
    status: Status
    created: Moment
    order_digest: Digest
    self: str


class OrderLinks(Told):
    self: str


class OrderSummary(Told):
    """An order that an authority stands behind, and what became of it."""

    id: Sha256
    """Of its issuer and its reference: the same when it comes again with one signature more."""
    region: RegionName
    """Where the mailbox lies."""
    reference: str
    """Its `jti`."""
    issuer: str
    instrument: str
    matter: str | None
    received: Moment
    expires: Moment
    order_digest: Digest
    disclosures: Annotated[list[OrderedDisclosure], Field(min_length=1)]
    """Oldest first. An order that was refused may have come again with what it lacked."""
    links: OrderLinks


class SignedOrder(OrderSummary):
    """The same, with the order itself."""

    order: str
    """As received: JWS (RFC 7515), compact or general JSON. Where it came again, the latest."""
    signatures: list[Signature]
    """As the trust list knew their makers on receipt."""
    verification: list[Finding]
    """What was found on receipt about the order itself: signatures, offices, times, validation."""


class OrderList(Told):
    """One page."""

    orders: list[OrderSummary]
    nextPageToken: str | None = None
