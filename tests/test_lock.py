import os
from pathlib import Path

import pytest

from tastemaker.errors import ArtifactError, StoreError, TastemakerError
from tastemaker.lock import Presence, is_held, locked


@pytest.mark.parametrize("error", [ArtifactError, StoreError])
def test_a_lock_timeout_names_the_holder_with_the_given_error(
    tmp_path: Path, error: type[TastemakerError]
) -> None:
    path = tmp_path / "deep" / "lock"
    with (
        locked(path, StoreError),
        pytest.raises(error, match=rf"\(id {os.getpid()}\) has held .*lock for 0 s: wait"),
        locked(path, error, patience=0),
    ):
        pass
    with locked(path, error, patience=0):
        assert is_held(path)
    assert not is_held(path)


def test_a_missing_lock_file_is_not_held(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_the_first_process_knows_and_the_last_may_exclude_others(tmp_path: Path) -> None:
    path = tmp_path / "open"
    one, two = Presence(path), Presence(path)
    assert (one.first, two.first) == (True, False)
    assert not one.excludes()
    two.close()
    assert one.excludes()
    assert is_held(path)
    one.close()
    three = Presence(path)
    assert three.first
    three.close()


def test_a_presence_that_cannot_exclude_others_remains(tmp_path: Path) -> None:
    path = tmp_path / "open"
    one, two = Presence(path), Presence(path)
    assert not one.excludes()
    assert not two.excludes()
    two.close()
    assert is_held(path)
    with one.alone(patience=0) as alone:
        assert alone
    three = Presence(path)  # does not wait
    with one.alone(patience=0.05) as alone:
        assert not alone
    three.close()
    one.close()


def test_without_a_lock_file_no_process_is_alone(tmp_path: Path) -> None:
    presence = Presence(tmp_path / "none" / "open")
    assert not presence.first
    assert not presence.excludes()
    presence.close()
