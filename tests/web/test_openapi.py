"""The OpenAPI document: valid, complete, and true to the answers."""

import re
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from tallystream.web.openapi import openapi_document
from tests.web.conftest import Web
from tests.web.test_ingest import event


@pytest.fixture
def document(web: Web) -> dict[str, Any]:
    found = web.client.get("/v1/openapi.json").json()
    assert isinstance(found, dict)
    return found


def test_it_is_valid() -> None:
    OpenAPIV31SpecValidator(openapi_document("1.0")).validate()


def test_it_has_every_route_and_no_other(web: Web, document: dict[str, Any]) -> None:
    served = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in web.app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    served |= {(path, "post") for path in web.app.ingest.paths}
    assert served == {(path, method) for path, methods in document["paths"].items() for method in methods}


def test_answers_are_as_it_says(web: Web, document: dict[str, Any]) -> None:
    web.post(event() + b"\n{broken")
    web.count()
    asked = {
        "/v1/definition": "", "/v1/ledger": "", "/v1/health": "", "/v1/rejected": "",
        "/v1/query": "?counter=events&window=1h&compare=previous", "/v1/groups": "?counter=events&field=event",
    }  # fmt: skip
    for path, query in asked.items():
        check(document, path, "get", web.client.get(path + query))
    check(document, "/v1/sources/{source}", "get", web.client.get("/v1/sources/a"))
    check(document, "/v1/events", "post", web.post(event() + b"\n{broken"))
    check(document, "/v1/events", "post", web.post(b""))
    check(document, "/v1/track", "post", web.post(event(), "/v1/track"))
    check(document, "/v1/rejected/retry", "post", web.client.post("/v1/rejected/retry"))


def check(document: dict[str, Any], path: str, method: str, answer: Any) -> None:
    described = document["paths"][path][method]["responses"][str(answer.status_code)]
    schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
    OAS31Validator(schema).validate(answer.json())
