"""All responses, to valid and invalid requests, match the OpenAPI document."""

from typing import Any

import schemathesis
from httpx2 import InvalidURL
from hypothesis import HealthCheck, Phase, given, reject, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,  # not the reverse: types, placements and columns vary
]
QUESTIONS = 25


def operations(client: TestClient) -> list[Any]:
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    return [found.ok() for found in schema.get_all_operations()]


def ask(client: TestClient, operation: Any, mode: GenerationMode) -> None:
    @settings(
        max_examples=QUESTIONS,
        phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url="http://127.0.0.1")
        del sent["cookies"]
        body = sent.pop("data", None)
        try:
            request = client.build_request(**sent, content=body)
        except InvalidURL:  # longer than a URL can be
            reject()
        case.validate_response(client.send(request), checks=CHECKS)

    asked()


def test_valid_requests_are_answered_as_documented(client: TestClient) -> None:
    asked = operations(client)
    assert len(asked) == 10
    for operation in asked:
        ask(client, operation, GenerationMode.POSITIVE)


def test_invalid_requests_are_rejected_as_documented(client: TestClient) -> None:
    for operation in operations(client):
        if not operation.path.startswith("/health"):  # no invalid request exists there
            ask(client, operation, GenerationMode.NEGATIVE)


def test_all_documented_errors_have_one_format(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if not status.startswith("2"):
                    shape = answer["content"]["application/json"]["schema"]
                    assert shape == {"$ref": "#/components/schemas/ErrorBody"}
            assert operation["responses"]["503"]["headers"]["Retry-After"]
