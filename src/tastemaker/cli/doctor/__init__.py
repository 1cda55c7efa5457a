"""`doctor`: what is wrong with machine, project, data, store and model, and the fix.

It begins with what needs nothing but Python, so that it also runs where a package is missing. It
only reads.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tastemaker.cli.doctor.finding import Finding, refused
from tastemaker.cli.doctor.machine import look_at_machine
from tastemaker.errors import TastemakerError
from tastemaker.printable import printable


def doctor(path: Path | None, as_json: bool) -> None:
    """Looks at everything and tells; fails where something is in the way.

    Args:
        path: the project file; by default the one here or in a parent folder.
        as_json: whether to tell it as JSON.

    Raises:
        TastemakerError: something is.
    """
    from tastemaker.cli import show
    from tastemaker.cli.doctor.project import look_at_project
    from tastemaker.cli.verbs import open_project

    try:
        project = open_project(path)
    except TastemakerError as problem:
        findings = look_at_machine()
        findings.append(refused("project", str(problem)))
    else:
        findings = look_at_machine(trees=bool(project.file.rankers))
        findings.append(Finding("project", "ok", str(project.path)))
        try:
            findings += look_at_project(project)
        except TastemakerError as problem:  # a setting that only whoever opens it can judge
            findings.append(refused("project", str(problem)))
    if as_json:
        show.result_json({"findings": [asdict(finding) for finding in findings]})
    else:
        show.result("\n".join(map(str, findings)))
    bad = sum(finding.verdict == "bad" for finding in findings)
    if bad:
        raise TastemakerError(f"{bad} of {len(findings)} looks found something in the way")
    if not as_json:
        show.say("nothing is in the way")


def look_without_packages() -> None:
    """Where the command line cannot be loaded: ends the program with the reason, if it finds one.

    `doctor` tells all of its findings on stdout, any other verb the first one on stderr.
    """
    findings = look_at_machine()
    bad = [finding for finding in findings if finding.verdict == "bad"]
    if not bad:
        return
    arguments = sys.argv[1:]
    if "doctor" in arguments:
        if "--json" in arguments:
            told = json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2)
        else:
            told = "\n".join(map(str, findings))
        sys.stdout.buffer.write(f"{told}\n".encode())
    sys.exit(printable(f"error: {bad[0].told}{': ' if bad[0].fix else ''}{bad[0].fix}"))
