"""The shape and the size of what a server answers."""

import json

import pytest

from tastemaker.serving import errors
from tastemaker.serving.errors import answer


def test_an_answer_has_at_most_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "LARGEST_ANSWER", 1_000)
    assert answer({"items": ["x" * 900]}).status_code == 200
    refused = answer({"items": ["x" * 1_000]})
    assert refused.status_code == 422
    error = json.loads(refused.body)["error"]
    assert error["code"] == "too_large"
    assert "1,000 are allowed: ask for fewer items, or without 'explain'" in error["message"]
