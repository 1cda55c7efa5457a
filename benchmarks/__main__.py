"""`python -m benchmarks S15`: runs benchmark targets; `--list` lists them."""

import argparse
import importlib
import pkgutil
import sys
from typing import cast

from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks.data import DataAbsent
from benchmarks.harness import Options, Target, peer_python, probe, save, show
from tastemaker.errors import did_you_mean


def targets() -> dict[str, Target]:
    """Id → target: every module of this package that has an `ID`."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    modules = [importlib.import_module(f"benchmarks.{name}") for name in names if name[0] != "_"]
    return {module.ID: cast(Target, module) for module in modules if hasattr(module, "ID")}


def main(arguments: list[str] | None = None) -> int:
    """Runs the requested targets; 0 if done (also if a bar was missed), 2 for invalid usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="targets to run, such as S15")
    parser.add_argument(
        "--list", action="store_true", help="list all targets and their requirements"
    )
    parser.add_argument("--quick", action="store_true", help="a smaller version, marked as such")
    parser.add_argument("--with-peers", action="store_true", help="install the peers if needed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=3, help="runs of each measurement (median)")
    parser.add_argument("--examples", type=int, help="examples of a fuzz test, such as FUZZ_FRAMES")
    given = parser.parse_args(arguments)
    known = targets()
    if given.list:
        _list(known)
        return 0
    requested = [id_.upper() for id_ in given.ids]
    for id_ in requested:
        if id_ not in known:
            parser.error(f"no target '{id_}'{did_you_mean(id_, known)}")
    if not requested:
        parser.error("specify a target, or use --list")
    machine = probe()
    for id_ in requested:
        target = known[id_]
        python = peer_python(id_, target.PEERS, make=given.with_peers)
        options = Options(given.quick, given.seed, given.runs, python, given.examples)
        try:
            result = target.run(options)
        except DataAbsent as problem:
            sys.stderr.write(f"{id_}: {problem}\n")
            return 2
        save(result, options, machine)
        show(result, options, machine)
    return 0


def _list(known: dict[str, Target]) -> None:
    table = Table("id", "what", "data", "peers", "minutes")
    for id_, target in known.items():
        data, peers = ", ".join(target.DATA) or "–", ", ".join(target.PEERS) or "–"
        table.add_row(id_, target.WHAT, data, peers, f"{target.MINUTES:g}")
    Console(width=100, highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
