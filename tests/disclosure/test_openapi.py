"""`/openapi.json` is valid OpenAPI 3.1, and describes exactly the routes that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.disclosure.models import Disclosure, ProblemDocument
from gateway.disclosure.openapi import description
from gateway.disclosure.operations import OPERATIONS
from tests.disclosure.desk import GERMANY, IRELAND, Gateway, order, warrant

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_document_is_valid_openapi(desk: Gateway) -> None:
    served = (await desk.ask("GET", "/openapi.json", None)).json
    OpenAPIV31SpecValidator(served).validate()
    assert served == description((GERMANY.code, IRELAND.code))


def _templates(app: web.Application) -> set[tuple[str, str]]:
    """Each route as OpenAPI writes it: patterns stripped of their expressions. The console's are pages."""
    found = set()
    for route in app.router.routes():
        if route.method != "HEAD" and route.resource is not None:
            path = re.sub(r"\{(\w+):[^{}]*(\{[^{}]*\})*[^{}]*\}", r"{\1}", route.resource.canonical)
            if path.startswith("/console"):
                continue
            found.add((route.method.lower(), path.replace("/{tile}", "/tile/{level}/{tile}")))
    return found


async def test_every_route_is_described_and_every_description_routed(desk: Gateway) -> None:
    assert _templates(desk.app) == {(operation.method, operation.path) for operation in OPERATIONS}


async def test_answers_are_what_their_models_say(desk: Gateway) -> None:
    granted: dict[str, Any] = (await desk.present(order())).json
    assert Disclosure.model_validate(granted).links.self == f"/v1/disclosures/{granted['id']}"
    refused = ProblemDocument.model_validate((await desk.present(warrant())).json)
    assert refused.decision is not None
    assert refused.decision.conflict is not None
