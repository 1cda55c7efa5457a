"""Exactly the packaged files are served."""

import re
from pathlib import Path

import pytest

import tastemaker.console
from tastemaker.console import ASSETS, asset

FOLDER = Path(tastemaker.console.__file__).parent / "assets"


def test_assets_are_exactly_the_files_packaged() -> None:
    assert set(ASSETS) == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_is_its_file_with_its_media_type(name: str) -> None:
    found = asset(name)
    assert found is not None
    content, media_type = found
    assert content == (FOLDER / name).read_bytes()
    kinds = {
        "css": "text/css",
        "js": "text/javascript",
        "svg": "image/svg+xml",
        "txt": "text/plain",
    }
    assert media_type.split(";")[0] == kinds[name.rsplit(".")[-1]]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../page.py", "..%2fpage.py", "/etc/passwd", "./base.css", "BASE.CSS", "a\0b"],
)
def test_no_other_name_is_served(name: str) -> None:
    assert asset(name) is None


@pytest.mark.parametrize("name", [name for name in ASSETS if name.endswith((".css", "console.js"))])
def test_our_assets_load_nothing_from_anywhere(name: str) -> None:
    text = (asset(name) or (b"", ""))[0].decode()
    assert not re.search(r"url\(|@import|https?:|eval\(|innerHTML", text)


def test_htmx_is_version_2_and_has_its_license() -> None:
    script, licence = asset("htmx.min.js"), asset("htmx.LICENSE.txt")
    assert script is not None
    assert licence is not None
    assert re.search(rb'version:"2\.', script[0])
    assert b"Zero-Clause BSD" in licence[0]
