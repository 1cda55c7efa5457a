"""The dependency audit reports findings and failed look-ups, and never hangs."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[1] / ".ci" / "audit.py"


def _loaded() -> Any:
    spec = importlib.util.spec_from_file_location("audit", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit = _loaded()

# the output format of pip-audit 2.10.1
FINE = {"name": "h11", "version": "0.16.0", "vulns": []}
SKIPPED = {
    "name": "click",
    "skip_reason": "Dependency not found on PyPI and could not be audited: click (8.5.1)",
}
WEAK = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [
        {
            "id": "PYSEC-2014-8",
            "fix_versions": ["2.7.2"],
            "aliases": ["CVE-2014-1402"],
            "description": "The default configuration for bccache …",
        },
        {"id": "PYSEC-2019-217", "fix_versions": [], "aliases": [], "description": "…"},
    ],
}


def judged(*dependencies: Any) -> Any:
    return audit.judge(json.dumps({"dependencies": dependencies, "fixes": []}))


def test_no_findings_are_a_success() -> None:
    assert judged(FINE, FINE) == (0, ["audited 2 of 2 packages, 0 weaknesses"])


def test_a_registry_without_advisories_is_reported() -> None:
    message = "not audited: the registry serves no advisories for any of 3 packages"
    assert judged(SKIPPED, SKIPPED, SKIPPED) == (0, [message])


def test_a_weakness_that_is_found_fails_and_is_named() -> None:
    assert judged(FINE, WEAK) == (
        1,
        [
            "audited 2 of 2 packages, 2 weaknesses",
            "jinja2 2.4.1: PYSEC-2014-8, CVE-2014-1402; mended in 2.7.2",
            "jinja2 2.4.1: PYSEC-2019-217; mended in no version yet",
        ],
    )


def test_packages_that_were_not_audited_are_listed() -> None:
    messages = ["audited 1 of 2 packages, 0 weaknesses", "not audited: click"]
    assert judged(SKIPPED, FINE) == (0, messages)
    assert judged(SKIPPED, WEAK).code == 1


@pytest.mark.parametrize("output", ["", "no json", "[]", "{}", '{"dependencies": [{"name": "x"}]}'])
def test_unreadable_output_is_an_error(output: str) -> None:
    with pytest.raises(ValueError, match="nothing that can be read"):
        audit.judge(output)


def test_no_network_is_not_audited_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/sh\necho first >&2\necho 'ERROR: no network' >&2\nexit 1\n")
    python.chmod(0o755)
    assert audit.main(tmp_path) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("not audited: ")
    assert line.endswith("failed: ERROR: no network")


def test_an_environment_that_cannot_be_created_is_not_audited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert audit.main(tmp_path / "taken") == 0
    assert capsys.readouterr().out.startswith("not audited: ")


def test_a_hanging_audit_is_killed_with_its_children() -> None:
    hangs = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    with pytest.raises(ValueError, match="not done in time"):
        audit.ended([sys.executable, "-c", hangs], 0.5)
