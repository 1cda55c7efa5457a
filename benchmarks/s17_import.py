"""S17, import: the cost of `import tastemaker`, and the modules it loads."""

import json
import statistics
import subprocess
import sys
import time

from benchmarks.harness import Options, Result, at_most

ID = "S17"
WHAT = "import of the package in a fresh process: wall time, and no heavy module loaded"
DATA = ()
PEERS = ()
MINUTES = 0.1
MUST = {"import_seconds": 0.3, "heavy_modules": 0.0}
HEAVY = ("torch", "pyspark", "fastapi", "numba", "lightgbm")
_LOOK = """
import json, sys
{statement}
heavy = [name for name in {heavy} if name in sys.modules]
try:
    status = open("/proc/self/status").read()
    peak = int(status.split("VmHWM:")[1].split()[0])
except OSError:
    peak = 0
print(json.dumps([heavy, len(sys.modules), peak]))
"""


def run(options: Options) -> Result:
    """The package and the bare interpreter in turn, after one warm-up run each."""
    runs = max(options.runs, 3 if options.quick else 11)
    ours, bare = [], []
    for _ in range(runs + 1):
        bare.append(_start("pass")[0])
        ours.append(_start("import tastemaker"))
    seconds = [each[0] for each in ours[1:]]
    heavy, modules, peak_kb = ours[-1][1]
    figures = {
        "import_seconds": statistics.median(seconds),
        "heavy_modules": float(len(heavy)),
        "first_import_seconds": ours[0][0],
    }
    interpreter = statistics.median(bare[1:])
    return Result(
        ID,
        ours=figures,
        peer={"import_seconds": interpreter},
        ratio={"import_seconds": figures["import_seconds"] / interpreter},
        must=MUST,
        met=at_most(figures, MUST),
        seconds=figures["import_seconds"],
        peak_mb=peak_kb * 1024 / 1e6,
        notes=f"whole process, median of {runs}, slowest {max(seconds):.3f} s; peer = the bare "
        f"interpreter; {modules} modules loaded, heavy ones: {', '.join(heavy) or 'none'}; "
        "the rows on `serve` are not measured yet",
        runs={"import": seconds, "interpreter": bare[1:]},
    )


def _start(statement: str) -> tuple[float, tuple[list[str], int, int]]:
    """The wall time of a fresh interpreter that runs the statement, and its output."""
    code = _LOOK.format(statement=statement, heavy=HEAVY)
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begin
    heavy, modules, peak_kb = json.loads(done.stdout)
    return seconds, (heavy, modules, peak_kb)
