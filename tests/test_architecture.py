"""The house stands as DESIGN draws it: imports go down only, and importing costs nothing."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tastemaker

SOURCE = Path(tastemaker.__file__).parent

LAYERS: list[list[set[str]]] = [
    [
        *({"errors"}, {"progress"}, {"faults"}, {"config"}, {"machine"}, {"threads"}),
        *({"compilation"}, {"printable"}, {"giving_way"}),
        *({"disk"}, {"lock"}, {"artifact"}),
    ],
    [{"data"}, {"statistics"}, {"inventory"}, {"component"}],
    [{"index", "metrics", "split", "text"}],
    [{"retrieval", "filtering", "features", "ranking"}, {"reranking"}],
    [{"project"}, {"pipeline"}],
    [{"evaluation"}],
    [{"store"}, {"registry"}],
    [{"console", "testing"}, {"serving"}],
    [{"cli"}],
]
"""Lower layers first. In a layer, a later set may import an earlier one; rooms of one set may not
import each other."""

RANK = {
    room: (layer, place)
    for layer, places in enumerate(LAYERS)
    for place, rooms in enumerate(places)
    for room in rooms
}
HEAVY = {
    "torch",
    "pyspark",
    "fastapi",
    "numba",
    "lightgbm",
    "polars",
    "scipy",
    "pydantic",
    "rich",
    "sqlalchemy",
    "uvicorn",
    "jinja2",
    "faiss",
}
PIPELINE_LINES = 250
CONTRACT_LINES = 200


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Rooms of ours that a file imports, with the line; imports inside functions count."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            module = node.module
            names = (
                [f"tastemaker.{alias.name}" for alias in node.names]
                if module == "tastemaker"
                else [module]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "tastemaker" and len(parts) > 1:
                yield parts[1], node.lineno


FILES = sorted(p for p in SOURCE.rglob("*.py") if p.parent != SOURCE or p.stem[:2] != "__")


def test_every_room_has_a_place() -> None:
    assert {room_of(path) for path in FILES} == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_go_to_lower_layers_only(path: Path) -> None:
    room = room_of(path)
    for imported, line in imports_of(path):
        allowed = imported == room or RANK[imported] < RANK[room]
        assert allowed, f"{path.name}:{line}: '{room}' must not import '{imported}'"


def test_imports_of_one_room_form_no_circle() -> None:
    graph = {
        path: {
            SOURCE.parent.joinpath(*node.module.split(".")).with_suffix(".py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        for path in FILES
    }
    done: set[Path] = set()

    def visit(path: Path, above: tuple[Path, ...]) -> None:
        assert path not in above, " -> ".join(p.name for p in (*above, path))
        if path not in done:
            for other in graph.get(path, ()):
                visit(other, (*above, path))
            done.add(path)

    for path in FILES:
        visit(path, ())


def test_only_one_module_compiles_with_numba() -> None:
    users = [path for path in FILES if re.search(r"^ *(import|from) numba", path.read_text(), re.M)]
    assert users == [SOURCE / "compilation.py"]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, tastemaker; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & set(loaded)


def test_the_road_and_the_contracts_stay_short() -> None:
    contracts = dict.fromkeys((SOURCE / "component").glob("*.py"), CONTRACT_LINES)
    for path, most in {SOURCE / "pipeline" / "pipeline.py": PIPELINE_LINES, **contracts}.items():
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= most, f"{path.name} has {lines} lines, at most {most}"


def test_there_is_no_room_for_odds_and_ends() -> None:
    assert not {"utils", "common", "helpers", "base"} & {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_nothing_is_printed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"


OPENS_BY_ITSELF = {"disk.py", "machine.py", "cli/doctor/port.py", "console/assets.py"}
"""`disk` itself; what reads `/proc`; what reads resources of this package."""


def opened(code: str) -> list[str]:
    """Calls in a program that open a file to read it, with their lines."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = {key.arg: key.value for key in node.keywords}
        told = [*node.args, *([given["mode"]] if "mode" in given else [])]
        texts = [arg.value for arg in told if isinstance(arg, ast.Constant)]
        modes = [text for text in texts if isinstance(text, str) and set(text) <= set("rwaxbt+")]
        is_file = modes or given.keys() & {"encoding", "errors", "newline", "buffering"}
        writes = any(set(mode) & set("wax") for mode in modes)
        of_path = isinstance(node.func, ast.Attribute) and name in ("read_text", "read_bytes")
        if of_path or (name == "open" and is_file and not writes):
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.stem)
def test_files_are_opened_to_read_by_disk_alone(path: Path) -> None:
    inside = path.relative_to(SOURCE).as_posix()
    if inside in OPENS_BY_ITSELF or inside.startswith(("testing/", "data/sample/")):
        return
    assert opened(path.read_text(encoding="utf-8")) == []


def test_a_file_that_is_opened_to_read_is_found() -> None:
    for code in ('p.open("rb")', "p.open(encoding=c)", "open(p, mode='r')", "p.read_text()"):
        assert opened(code) == [f"line 1: {'read_text' if 'text' in code else 'open'}"], code
    for code in ('p.open("w", encoding="utf-8")', "store.open()", "read_text(p)", "x.open(url)"):
        assert opened(code) == [], code
