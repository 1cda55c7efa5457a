"""`doctor`: finds problems with machine, project, data, store and model, and their fixes.

The first checks need only Python, so that the command also runs if a package is missing. All checks
are read-only.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tastemaker.cli.doctor.finding import Finding, failure
from tastemaker.cli.doctor.machine import check_machine
from tastemaker.errors import TastemakerError
from tastemaker.printable import printable


def doctor(path: Path | None, as_json: bool) -> None:
    """Runs all checks and prints the findings.

    Args:
        path: the project file; by default the one in this folder or a parent folder.
        as_json: whether to print the findings as JSON.

    Raises:
        TastemakerError: a check failed.
    """
    from tastemaker.cli import show
    from tastemaker.cli.doctor.project import check_project
    from tastemaker.cli.verbs import open_project

    try:
        project = open_project(path)
    except TastemakerError as problem:
        findings = check_machine()
        findings.append(failure("project", str(problem)))
    else:
        findings = check_machine(trees=bool(project.file.rankers))
        findings.append(Finding("project", "ok", str(project.path)))
        try:
            findings += check_project(project)
        except TastemakerError as problem:  # a setting that is checked only on use
            findings.append(failure("project", str(problem)))
    if as_json:
        show.result_json({"findings": [asdict(finding) for finding in findings]})
    else:
        show.result("\n".join(map(str, findings)))
    bad = sum(finding.verdict == "bad" for finding in findings)
    if bad:
        raise TastemakerError(f"{bad} of {len(findings)} checks found a problem")
    if not as_json:
        show.say("no problems found")


def report_missing_packages() -> None:
    """Exits with the reason why the command line cannot be loaded, if a check finds it.

    `doctor` prints all findings on stdout; other commands print the first problem on stderr.
    """
    findings = check_machine()
    bad = [finding for finding in findings if finding.verdict == "bad"]
    if not bad:
        return
    arguments = sys.argv[1:]
    if "doctor" in arguments:
        if "--json" in arguments:
            message = json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2)
        else:
            message = "\n".join(map(str, findings))
        sys.stdout.buffer.write(f"{message}\n".encode())
    sys.exit(printable(f"error: {bad[0].message}{': ' if bad[0].fix else ''}{bad[0].fix}"))
