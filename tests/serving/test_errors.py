"""The format and the size of responses."""

import json

import pytest

from tastemaker.serving import errors
from tastemaker.serving.errors import answer


def test_a_response_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "LARGEST_ANSWER", 1_000)
    assert answer({"items": ["x" * 900]}).status_code == 200
    refused = answer({"items": ["x" * 1_000]})
    assert refused.status_code == 422
    error = json.loads(refused.body)["error"]
    assert error["code"] == "too_large"
    assert "1,000 are allowed: request fewer items, or omit 'explain'" in error["message"]
