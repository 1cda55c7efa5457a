"""Are there known weaknesses in the versions of constraints.txt? `python3 .ci/audit.py FOLDER`.

pip-audit gets an environment of its own in FOLDER. A weakness that is found ends with 1. Where
nothing could be looked up, one line says so, and it ends with 0: a registry without advisories must
not stop all work.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

PINNED = Path(__file__).parents[1] / "constraints.txt"
AUDITOR = "pip-audit==2.10.1"
SECONDS = 300.0


class Verdict(NamedTuple):
    """What to say, and whether all is well."""

    code: int
    lines: list[str]


def main(folder: Path) -> int:
    """Makes the environment where there is none, asks, and tells."""
    try:
        verdict = judge(_asked(folder))
    except (OSError, ValueError, subprocess.SubprocessError) as problem:
        verdict = not_audited(str(problem))
    print("\n".join(verdict.lines), flush=True)
    return verdict.code


def judge(told: str) -> Verdict:
    """What follows from the JSON that pip-audit wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        dependencies: list[dict[str, Any]] = json.loads(told)["dependencies"]
        looked_up = [each for each in dependencies if "skip_reason" not in each]
        weak = [_line(each, known) for each in looked_up for known in each["vulns"]]
    except (ValueError, KeyError, TypeError):
        raise ValueError("pip-audit told nothing that can be read") from None
    if not looked_up:
        return not_audited(
            f"the registry serves no advisories for any of {len(dependencies)} packages"
        )
    lines = [f"audited {len(looked_up)} of {len(dependencies)} packages, {len(weak)} weaknesses"]
    missed = [each["name"] for each in dependencies if "skip_reason" in each]
    if missed:
        lines.append(f"not audited: {', '.join(missed)}")
    return Verdict(1 if weak else 0, [*lines, *weak])


def not_audited(reason: str) -> Verdict:
    """Nothing is known, which is no failure and must not go unnoticed."""
    return Verdict(0, [f"not audited: {' '.join(reason.split())}"])


def ended(command: list[str], seconds: float) -> str:
    """What a command wrote.

    Raises:
        ValueError: it took too long, or failed without a word on stdout.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
        process.communicate()
        raise ValueError(f"{Path(command[0]).name} was not done in time") from None
    if process.returncode and not out.strip():
        last = (err.strip().splitlines() or ["it gave no reason"])[-1]
        raise ValueError(f"{' '.join(map(str, command[:4]))} … failed: {last}")
    return out


def _asked(folder: Path) -> str:
    end = time.monotonic() + SECONDS
    out = ""
    python = str(folder / "bin" / "python")
    steps = [
        [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", AUDITOR],
        [
            *(python, "-m", "pip_audit", "--requirement", str(PINNED), "--no-deps"),
            *("--disable-pip", "--format", "json", "--progress-spinner", "off"),
        ],
    ]
    if not Path(python).exists():
        steps.insert(0, [sys.executable, "-m", "venv", str(folder)])
    for step in steps:
        out = ended(step, end - time.monotonic())
    return out


def _line(dependency: dict[str, Any], known: dict[str, Any]) -> str:
    names = ", ".join([known["id"], *sorted(known.get("aliases", []))])
    mended = ", ".join(known.get("fix_versions", [])) or "no version yet"
    return f"{dependency['name']} {dependency['version']}: {names}; mended in {mended}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
