"""The quickstart of the README runs as written, given the sample's frames and init's file."""

import re
from pathlib import Path

import polars as pl
import pytest

import tastemaker as tm
from tastemaker.cli.demo import prepare

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_the_quickstart_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"```python\n(import tastemaker as tm\n.*?)```", README.read_text(), re.DOTALL)
    assert code, "the README has no quickstart"
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    events, items = tm.load_sample()
    scope: dict[str, object] = {"events": events, "items": items}
    exec(compile(code[1], "README.md", "exec"), scope)  # noqa: S102
    shown = capsys.readouterr().out
    for system in ("popular", "trending", "item_knn", "ease", "als"):
        assert system in shown
    assert (tmp_path / "artifacts/v1/manifest.json").is_file()
    assert isinstance(scope["events"], pl.DataFrame)
