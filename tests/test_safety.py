"""The source never runs data as code: nothing is unpickled, evaluated or inserted into SQL.

One exception: numba pickles compiled kernels in `__pycache__`. That cache is next to the code and
as trusted as the code: anyone who can write there can change the code as well.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tastemaker

SOURCE = Path(tastemaker.__file__).parent
EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = [*sorted(SOURCE.rglob("*.py")), *sorted(EXAMPLES.rglob("*.py"))]

MODULES = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "random"}
"""They execute what they read; `random` is predictable, so it must not be used for tokens."""
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "os.system",
    "os.popen",
    "os.spawnl",
    "os.spawnv",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "tempfile.mktemp",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "builtins.eval",
    "builtins.exec",
    "pandas.read_pickle",
    "torch.load",
}
SQL = {"exec_driver_sql", "execute", "executemany", "executescript"}
_MAKING = {"format", "format_map", "join", "replace", "substitute"}
SQL_CONSTANTS = {"_CACHE_KIB"}
"""The allowed parts of SQL texts: numbers of the program, never input."""
SQL_OF_KEYS = {"newest"}
"""Texts made of the store's own whole numbers: `store/history.py`, a branch for each event type."""


def unsafe(code: str) -> list[str]:
    """The unsafe statements of a program, with their lines."""
    tree = ast.parse(code)
    names = dict(_imported(tree))
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            problems = [name for name in modules if name.split(".")[0] in MODULES]
        elif isinstance(node, ast.Call):
            problems = list(_wrong_with(node, names, constants))
        else:
            problems = []
        found += [f"line {node.lineno}: {what}" for what in problems]
    return found


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Name in the program → its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _wrong_with(
    call: ast.Call, names: dict[str, str], constants: dict[str, ast.expr]
) -> Iterator[str]:
    called = _dotted(call.func, names)
    last = called.rsplit(".")[-1]
    if called in BUILTINS or called in CALLS:
        yield called
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    for name in ("shell", "allow_pickle"):
        if name in given and not _is(given[name], False):
            yield f"{name} is not False"
    if called == "numpy.load" and "allow_pickle" not in given:
        yield "numpy.load without allow_pickle=False"
    takes_sql = last in SQL or (last == "text" and called.startswith("sqlalchemy."))
    if takes_sql and call.args and _is_made(call.args[0], constants):
        yield f"{last} of a text that is made"


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of the called function, as far as it is imported."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return ""


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _is_made(node: ast.expr, constants: dict[str, ast.expr]) -> bool:
    """Whether a text is composed of anything but literals and module constants."""

    def is_constant(part: ast.expr) -> bool:
        if isinstance(part, ast.Name):
            if part.id in SQL_CONSTANTS | SQL_OF_KEYS:
                return True
            return part.id in constants and is_constant(constants[part.id])
        if isinstance(part, ast.JoinedStr):
            values = [v.value for v in part.values if isinstance(v, ast.FormattedValue)]
            return all(map(is_constant, values))
        if isinstance(part, ast.BinOp):
            return is_constant(part.left) and is_constant(part.right)
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            given = [*part.args, *(keyword.value for keyword in part.keywords)]
            return part.func.attr in _MAKING and all(map(is_constant, [part.func.value, *given]))
        return isinstance(part, ast.Constant)

    if isinstance(node, ast.Name):
        return node.id in constants and _is_made(constants[node.id], constants)
    if isinstance(node, ast.JoinedStr | ast.BinOp):
        return not is_constant(node)
    if isinstance(node, ast.Call):
        made_by = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        return made_by in _MAKING and not is_constant(node)
    return False


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_nothing_in_the_source_turns_data_into_code(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8")) == []


def test_every_file_is_scanned() -> None:
    assert len(FILES) > 100
    assert {"store.py", "keys.py", "artifact.py", "my_retriever.py"} <= {p.name for p in FILES}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle as harmless",
        "import marshal, json",
        "def late():\n    import cloudpickle",
        "import random",
        "from random import choices",
        "eval('1')",
        "exec(code)",
        "compile(text, 'x', 'exec')",
        "__import__(name)",
        "import builtins; builtins.eval(x)",
        "import os; os.system('ls')",
        "from os import popen as harmless; harmless('ls')",
        "import subprocess; subprocess.run('ls', shell=True)",
        "import subprocess as s; s.Popen(x, shell=flag)",
        "import subprocess; subprocess.getoutput('ls')",
        "import yaml; yaml.load(x)",
        "import tempfile; tempfile.mktemp()",
        "import torch; torch.load(x)",
        "import numpy as np; np.load(x)",
        "from numpy import load; load(x)",
        "import numpy as np; np.load(x, allow_pickle=True)",
        "import numpy as np; np.save(x, y, allow_pickle=flag)",
        "from sqlalchemy import text; text(f'SELECT {name}')",
        "import sqlalchemy as sa; sa.text('SELECT ' + name)",
        "connection.exec_driver_sql('SELECT %s' % name)",
        "connection.execute('SELECT {}'.format(name))",
        "connection.execute(' '.join(words))",
        "ASKED = f'SELECT {name}'\ncursor.execute(ASKED)",
        "cursor.executescript(template.replace('X', name))",
        "cursor.execute(f'PRAGMA cache_size = {_CACHE_KIB} {more}')",
    ],
)
def test_the_scan_finds(code: str) -> None:
    assert unsafe(code), code


@pytest.mark.parametrize(
    "code",
    [
        "import numpy as np; np.random.default_rng(1); np.load(x, allow_pickle=False)",
        "import re; re.compile('x')",
        "import subprocess; subprocess.run(['ls'], shell=False)",
        "from sqlalchemy import text; text('SELECT 1' 'FROM x')",
        "connection.execute(select(table).where(table.c.name == name))",
        "cursor.execute(f'PRAGMA cache_size = -{_CACHE_KIB}')",
        "model.eval()",
        "artifact.text(f'{name}.txt', told)",
    ],
)
def test_the_scan_passes_over(code: str) -> None:
    assert unsafe(code) == [], code


def test_numbers_in_sql_are_literals() -> None:
    values = {
        node.targets[0].id: node.value
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id in SQL_CONSTANTS
    }
    assert set(values) == SQL_CONSTANTS
    assert all(isinstance(ast.literal_eval(value), int) for value in values.values())
