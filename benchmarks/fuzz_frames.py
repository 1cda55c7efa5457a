"""Fuzz test: frames of every library and type become a data set or raise a DataError."""

import secrets
import time
import traceback
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.console import Console
from rich.table import Table

from benchmarks.frame_strategy import Example, examples, outcome
from benchmarks.harness import Options, Result

ID = "FUZZ_FRAMES"
WHAT = "frames over all types of Polars, pandas and Arrow: a data set or a DataError, nothing else"
DATA = ()
PEERS = ()
MINUTES = 8.0
_EXAMPLES, _QUICK_EXAMPLES = 10_000, 500
_DATASET = "dataset"
_SHOWN = 20


def run(options: Options) -> Result:
    """Draws examples; each run uses a new seed unless one is given."""
    number = options.examples or (_QUICK_EXAMPLES if options.quick else _EXAMPLES)
    drawn_by = options.seed or secrets.randbelow(2**31)
    outcomes: Counter[str] = Counter()
    failures: dict[str, str] = {}

    @seed(drawn_by)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(examples())
    def read(example: Example) -> None:
        try:
            outcomes[outcome(example)] += 1
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # a panic of Polars is no Exception
            place = traceback.extract_tb(problem.__traceback__)[-1]
            shape = f"{type(problem).__name__} in {place.name}, line {place.lineno}"
            failures.setdefault(shape, f"{str(problem)[:300]} | {example!r}")
            outcomes[shape] += 1

    begin = time.perf_counter()
    read()
    seconds = time.perf_counter() - begin
    _tell(outcomes, failures)
    wrong = sum(outcomes[shape] for shape in failures)
    errors = {s: n for s, n in outcomes.most_common() if s != _DATASET and s not in failures}
    ours = {
        "examples": float(outcomes.total()),
        "data sets": float(outcomes[_DATASET]),
        "data errors": float(sum(errors.values())),
        "messages": float(len(errors)),
        "anything else": float(wrong),
    }
    return Result(
        ID,
        ours=ours,
        peer={},
        ratio={},
        must={"anything else": 0.0},
        met=not wrong,
        seconds=seconds,
        peak_mb=0.0,
        notes=f"seed {drawn_by}; in every data set the rows kept, duplicate and quarantined add up "
        "to those read, and there was no warning",
        runs={"seed": drawn_by, "errors": errors, "failures": failures},
    )


def _tell(outcomes: Counter[str], failures: dict[str, str]) -> None:
    table = Table("examples", "outcome")
    for shape, count in outcomes.most_common(_SHOWN):
        table.add_row(f"{count:,}", shape)
    console = Console(stderr=True, width=120, highlight=False, markup=False)
    console.print(table)
    for shape, example in failures.items():
        console.print(f"NOT read and not refused: {shape}: {example}")
