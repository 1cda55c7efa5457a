"""The import layers of ARCHITECTURE.md are kept, and importing the package is cheap."""

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
"""Lower layers first. Within a layer, a later set may import an earlier one; packages of one set
must not import each other."""

RANK = {
    package: (layer, place)
    for layer, places in enumerate(LAYERS)
    for place, packages in enumerate(places)
    for package in packages
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


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Packages of ours that a file imports, with the line, also inside functions."""
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


def test_every_package_has_a_layer() -> None:
    assert {package_of(path) for path in FILES} == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_go_to_lower_layers_only(path: Path) -> None:
    package = package_of(path)
    for imported, line in imports_of(path):
        allowed = imported == package or RANK[imported] < RANK[package]
        assert allowed, f"{path.name}:{line}: '{package}' must not import '{imported}'"


def test_imports_within_a_package_have_no_cycles() -> None:
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


def test_the_pipeline_and_the_contracts_stay_short() -> None:
    contracts = dict.fromkeys((SOURCE / "component").glob("*.py"), CONTRACT_LINES)
    for path, most in {SOURCE / "pipeline" / "pipeline.py": PIPELINE_LINES, **contracts}.items():
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= most, f"{path.name} has {lines} lines, at most {most}"


def test_there_are_no_catch_all_modules() -> None:
    assert not {"utils", "common", "helpers", "base"} & {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_nothing_is_printed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"


OPENS_BY_ITSELF = {"disk.py", "machine.py", "cli/doctor/port.py", "console/assets.py"}
"""`disk` itself, and modules that read `/proc` or resources of this package."""


def opened(code: str) -> list[str]:
    """Calls that open a file for reading, with their lines."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        keywords = {key.arg: key.value for key in node.keywords}
        arguments = [*node.args, *([keywords["mode"]] if "mode" in keywords else [])]
        texts = [arg.value for arg in arguments if isinstance(arg, ast.Constant)]
        modes = [text for text in texts if isinstance(text, str) and set(text) <= set("rwaxbt+")]
        is_file = modes or keywords.keys() & {"encoding", "errors", "newline", "buffering"}
        writes = any(set(mode) & set("wax") for mode in modes)
        of_path = isinstance(node.func, ast.Attribute) and name in ("read_text", "read_bytes")
        if of_path or (name == "open" and is_file and not writes):
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.stem)
def test_only_disk_opens_files_for_reading(path: Path) -> None:
    inside = path.relative_to(SOURCE).as_posix()
    if inside in OPENS_BY_ITSELF or inside.startswith(("testing/", "data/sample/")):
        return
    assert opened(path.read_text(encoding="utf-8")) == []


def test_opening_a_file_for_reading_is_detected() -> None:
    for code in ('p.open("rb")', "p.open(encoding=c)", "open(p, mode='r')", "p.read_text()"):
        assert opened(code) == [f"line 1: {'read_text' if 'text' in code else 'open'}"], code
    for code in ('p.open("w", encoding="utf-8")', "store.open()", "read_text(p)", "x.open(url)"):
        assert opened(code) == [], code
