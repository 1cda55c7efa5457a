"""Memory estimates depend on a file's rows and text, not on its format."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tastemaker.data.reading_cost import bytes_to_read
from tastemaker.data.schema import ColumnRole

N = 2_000
EVENTS = [{"user_id": f"u{n}", "item_id": f"i{n}", "timestamp": n} for n in range(N)]
ROW_BYTES = 160
LABEL_BYTES = 130


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def cost(folder: Path, text: str, roles: dict[str, ColumnRole] | None = None) -> int:
    path = folder / "table.json"
    path.write_text(text)
    return bytes_to_read(path, roles)


def test_an_array_on_one_line_costs_more_than_its_lines(tmp_path: Path) -> None:
    array = cost(tmp_path, json.dumps(EVENTS))
    assert array > cost(tmp_path, lines(EVENTS)) > N * ROW_BYTES
    assert array >= N * ROW_BYTES + 5 * len(json.dumps(EVENTS))


def test_the_layout_of_an_array_hardly_changes_its_cost(tmp_path: Path) -> None:
    compact, spread = json.dumps(EVENTS), "\ufeff  " + json.dumps(EVENTS, indent=0)
    assert cost(tmp_path, spread) == pytest.approx(cost(tmp_path, compact), rel=0.1)


def test_gzip_and_utf_16_do_not_hide_an_array(tmp_path: Path) -> None:
    plain, path = cost(tmp_path, json.dumps(EVENTS)), tmp_path / "other"
    path.write_bytes(gzip.compress(json.dumps(EVENTS).encode()))
    assert bytes_to_read(path) == plain
    path.write_bytes(json.dumps(EVENTS).encode("utf-16"))
    assert bytes_to_read(path) > plain


def test_json_lines_also_cost_a_frame_of_text(tmp_path: Path) -> None:
    text = lines(EVENTS)
    assert cost(tmp_path, text) == N * ROW_BYTES + int(1.75 * len(text))


@pytest.mark.parametrize("write", [json.dumps, lines])
def test_labels_in_lists_of_json_are_counted(tmp_path: Path, write: Any) -> None:
    roles = {"tags": ColumnRole(role="tags", separator="|")}
    items = [{"item_id": f"i{n}", "tags": ["a", "b", "c"]} for n in range(N)]
    with_tags = cost(tmp_path, write(items), roles)
    without = cost(tmp_path, write(items), {})
    assert with_tags - without == 3 * N * LABEL_BYTES
