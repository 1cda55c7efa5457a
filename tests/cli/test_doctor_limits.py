"""`doctor` reports the limits of the store, and low disk space."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tastemaker.cli.doctor.limits import check_limits, check_temporary_folder
from tastemaker.project.sections import StoreSection
from tastemaker.store import Store
from tastemaker.store.look import look
from tests.store.conftest import row


def verdicts(folder: Path, used: int | None = None, **settings: Any) -> dict[str, str]:
    """The verdict on each setting, for a store with four events from HTTP."""
    with Store(folder / "store.db") as store:
        store.append([row() for _ in range(4)]).result()
    stored = look(folder / "store.db")
    stored = stored if used is None else replace(stored, used_bytes=used)
    found = check_limits(folder / "store.db", StoreSection(**settings), stored)
    findings = {
        name: one for one in found for name in ("max_events", "max_size") if name in one.message
    }
    return {name: one.verdict for name, one in findings.items()}


@pytest.mark.parametrize(("most", "verdict"), [(4, "bad"), (5, "note"), (6, "ok")])
def test_the_limit_on_events_is_reported(tmp_path: Path, most: int, verdict: str) -> None:
    assert verdicts(tmp_path, max_events=most) == {"max_events": verdict, "max_size": "ok"}


@pytest.mark.parametrize(("used", "verdict"), [(1 << 20, "bad"), (900_000, "note"), (9, "ok")])
def test_the_limit_on_bytes_is_reported(tmp_path: Path, used: int, verdict: str) -> None:
    assert verdicts(tmp_path, used, max_size=1 << 20)["max_size"] == verdict


def test_the_reserve_and_the_temporary_folder_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tastemaker.cli.doctor.limits.free_bytes", lambda *_: (1_000, 2_000))
    with Store(tmp_path / "store.db") as store:
        path = store.path
    found = [*check_limits(path, StoreSection(), look(path))]
    assert (found[-1].verdict, "decisions are not logged" in found[-1].message) == ("note", True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (found,) = check_temporary_folder()
    assert f"in the folder for temporary files, {tmp_path}" in found.message


def test_doctor_checks_the_limits(shop: Any, run: Any) -> None:
    assert run("train").code == 0
    assert run("store", "stats").code == 0
    shown = run("doctor").out
    assert "0 events over HTTP of at most 100,000,000 ([store] max_events)" in shown
    assert "([store] max_size)" in shown
    assert "reserved for events, and free" in shown
    assert "folder for temporary files" in shown
