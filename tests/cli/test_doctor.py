"""`doctor`: reports simulated problems of real machines, with their fixes."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import tastemaker
from tastemaker.data import times
from tastemaker.pipeline import Recommender
from tastemaker.project import load_project
from tastemaker.registry import Registry
from tastemaker.store import EventRow, EventSource
from tests.resilience.conftest import PRIVATE, missing

SOURCE = str(Path(tastemaker.__file__).parent.parent)
RANKER = """[rankers.main]
type = "gbm"
trees = 5
[training]
slices = 2
window = 0.1
require_improvement = false
[placements.home]
ranker = "main"
"""
NO_OPENMP = "libgomp.so.1: cannot open shared object file: No such file or directory"


class Findings:
    """The findings of `doctor --json`."""

    def __init__(self, code: int, out: str) -> None:
        self.code = code
        self.all: list[dict[str, str]] = json.loads(out)["findings"]

    def of(self, what: str) -> dict[str, str]:
        """The worst finding about a subject."""
        found = [f for f in self.all if f["what"] == what]
        assert found, [f["what"] for f in self.all]
        return max(found, key=lambda f: ("ok", "note", "bad").index(f["verdict"]))

    @property
    def bad(self) -> list[str]:
        """The subjects with problems."""
        assert self.code == (1 if any(f["verdict"] == "bad" for f in self.all) else 0)
        return [f["what"] for f in self.all if f["verdict"] == "bad"]


@pytest.fixture
def project(shop: Any) -> Any:
    """A shop with recent events, and its own port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with shop.project.open("a") as file:
        file.write(f"[server]\nport = {port}\n")
    shop.write(fresh_rows(shop))
    return shop


@pytest.fixture
def doctor(run: Any) -> Callable[[], Findings]:
    def doctor() -> Findings:
        done = run("doctor", "--json")
        assert "Traceback" not in done.err
        return Findings(done.code, done.out)

    return doctor


@pytest.fixture
def elsewhere(project: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a separate process, with its own environment."""

    def ran(
        *arguments: str, first: Path | None = None, inside: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([*([str(first)] if first else []), SOURCE])
        done = subprocess.run(
            [*inside, sys.executable, "-m", "tastemaker", *arguments],
            cwd=project.folder,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return ran


def fresh_rows(shop: Any) -> list[str]:
    """The rows of the shop, moved to end an hour ago."""
    rows = [row.split(",") for row in shop.rows]
    moved = int(time.time()) - 3_600 - max(int(row[3]) for row in rows)
    return [",".join([*row[:3], str(int(row[3]) + moved)]) for row in rows]


def port_of(project: Any) -> int:
    return load_project(project.project).file.server.port


def state(project: Any) -> Path:
    return Path(project.folder / ".tastemaker")


def current(project: Any) -> str:
    return Registry(state(project)).current()


def served(number: int, **values: Any) -> EventRow:
    moment = times.now()
    fields = {
        "event_id": f"served{number}", "user_id": "u1", "item_id": "red1", "kind": "view",
        "value": None, "time": moment, "received": moment,
    }  # fmt: skip
    return EventRow(**{**fields, **values})


# --- all checks ---


def test_a_healthy_project_has_no_problems_and_no_notes(
    project: Any, run: Any, doctor: Any
) -> None:
    run("train")
    found = doctor()
    assert found.bad == []
    assert {f["what"] for f in found.all} >= {
        "python", "packages", "LightGBM", "BLAS", "machine", "project", "disk", "events", "items",
        "store", "model", "data", "clock", "port",
    }  # fmt: skip
    noted = [f for f in found.all if f["verdict"] == "note" and f["what"] not in ("disk", "BLAS")]
    assert noted == []


def test_every_line_is_a_finding_or_a_fix(project: Any, run: Any) -> None:
    done = run("doctor")
    lines = done.out.splitlines()
    assert all(line[:2] in ("✓ ", "· ", "✗ ") or line.lstrip().startswith("→ ") for line in lines)
    at = next(place for place, line in enumerate(lines) if line.startswith("✗ model"))
    assert lines[at].endswith("nothing is trained yet")
    assert lines[at + 1].split() == ["→", "tastemaker", "train"]
    assert done.code == 1


def test_without_a_project_the_machine_is_checked(
    tmp_path: Path, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctor()
    assert found.bad == ["project"]
    assert "no tastemaker.toml here" in found.of("project")["message"]
    assert found.of("project")["fix"] == "write one with `tastemaker init`"
    assert found.of("machine")["verdict"] == "ok"


def test_an_invalid_project_file_is_a_finding(project: Any, doctor: Any) -> None:
    project.change("[retrievers.popular]", "[retriever.popular]")
    assert "did you mean [retrievers.popular]?" in doctor().of("project")["message"]


def test_doctor_is_read_only(project: Any, run: Any, doctor: Any) -> None:
    def everything() -> dict[str, tuple[int, bytes]]:
        files = (path for path in project.folder.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = everything()
    doctor()
    assert everything() == before
    run("train")
    EventSource(load_project(project.project)).open().close()
    before = everything()
    doctor()
    assert everything() == before


def test_an_exception_in_a_check_is_a_finding(
    project: Any, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("so many")

    monkeypatch.setattr(Registry, "versions", broken)
    found = doctor()
    assert found.of("model")["message"] == "the check failed: ZeroDivisionError: so many"
    assert found.of("port")["verdict"] == "ok"


# --- the machine ---


def test_a_missing_compiler_is_not_a_problem(
    project: Any, doctor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor().of("compiler")
    assert (found["verdict"], found["fix"]) == ("ok", "")
    assert "none found; none is needed" in found["message"]


def test_misleading_blas_settings_are_reported(
    project: Any, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    found = doctor()
    finding = found.of("BLAS")
    assert finding["verdict"] == "note"
    assert "OPENBLAS_CORETYPE=Prescott" in finding["message"]
    assert finding["fix"] == "unset OPENBLAS_CORETYPE"
    assert found.bad == ["model"]


def test_more_threads_than_processors_are_reported(
    project: Any, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    finding = doctor().of("BLAS")
    assert "OMP_NUM_THREADS=4096" in finding["message"]
    assert finding["fix"] == "unset OMP_NUM_THREADS"


def test_a_limit_on_processors_is_reported(
    project: Any, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert "1 processor of 64" in doctor().of("machine")["message"]


def test_a_python_for_32_bit_is_refused(
    project: Any, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    found = doctor()
    assert found.bad == ["python", "model"]
    assert "64 bit" in found.of("python")["fix"]


# --- packages ---


def installed(folder: Path, name: str, version: str, *lines: str) -> Path:
    """Makes a package look installed in this version, with these lines in its metadata."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (about / "METADATA").write_text("\n".join([*head, *lines]) + "\n")
    return folder


def unimportable(folder: Path, name: str, error: str) -> Path:
    """Makes importing a package raise."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(f"raise {error}\n")
    return folder


def test_an_outdated_package_is_reported_with_the_needed_version(
    elsewhere: Any, tmp_path: Path
) -> None:
    done = elsewhere("doctor", "--json", first=installed(tmp_path / "old", "polars", "1.2"))
    finding = Findings(done.returncode, done.stdout).of("packages")
    assert finding["message"].startswith("polars 1.2 is too old: ")
    assert finding["fix"].startswith("pip install --upgrade 'polars>=")


def test_a_python_older_than_required_is_a_problem(elsewhere: Any, tmp_path: Path) -> None:
    inventory = installed(tmp_path, "tastemaker", "9", "Requires-Python: >=3.99")
    done = elsewhere("doctor", "--json", first=inventory)
    found = Findings(done.returncode, done.stdout)
    assert found.bad == ["python", "model"]
    assert found.of("python")["message"].endswith("is too old: 3.99 or later is needed")


def test_a_missing_package_is_reported(elsewhere: Any, tmp_path: Path) -> None:
    asks = ("Requires-Dist: absent>=1.5", "Requires-Dist: for-tests>=1; extra == 'dev'")
    done = elsewhere("doctor", "--json", first=installed(tmp_path, "tastemaker", "9", *asks))
    found = Findings(done.returncode, done.stdout)
    assert found.bad == ["packages", "model"]
    assert found.of("packages")["message"] == "absent is not installed: 1.5 or later is needed"


@pytest.mark.parametrize("name", ["numba", "typer", "numpy"])
def test_doctor_runs_without_a_required_package(elsewhere: Any, tmp_path: Path, name: str) -> None:
    error = f'ModuleNotFoundError("No module named {name!r}", name={name!r})'
    inventory = unimportable(tmp_path / "inventory", name, error)
    done = elsewhere("doctor", "--json", first=inventory)
    found = Findings(done.returncode, done.stdout)
    assert found.bad == ["packages"]
    assert name in found.of("packages")["message"]
    assert f"pip install --force-reinstall {name}" in found.of("packages")["fix"]
    done = elsewhere("train", first=inventory)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"error: {name} cannot be loaded (No module named '{name}'): install"
    )
    assert done.stderr.count("\n") == 1


# --- LightGBM ---


def with_ranker(project: Any) -> None:
    project.change("[placements.home]\n", RANKER)


@pytest.fixture
def no_openmp(tmp_path: Path) -> Path:
    return unimportable(tmp_path / "no openmp", "lightgbm", f"OSError({NO_OPENMP!r})")


def test_a_missing_openmp_library_is_a_problem_with_a_ranker(
    project: Any, elsewhere: Any, no_openmp: Path
) -> None:
    with_ranker(project)
    done = elsewhere("doctor", "--json", first=no_openmp)
    found = Findings(done.returncode, done.stdout)
    assert found.bad == ["LightGBM", "model"]
    finding = found.of("LightGBM")
    assert "libgomp.so.1" in finding["message"]
    for package in ("libgomp1", "dnf install libgomp", "apk add libgomp", "brew install libomp"):
        assert package in finding["fix"]


@pytest.mark.slow
def test_a_missing_openmp_library_is_only_a_note_without_a_ranker(
    elsewhere: Any, no_openmp: Path
) -> None:
    assert elsewhere("train", first=no_openmp).returncode == 0
    done = elsewhere("doctor", "--json", first=no_openmp)
    found = Findings(done.returncode, done.stdout)
    assert found.bad == []
    assert found.of("LightGBM")["verdict"] == "note"


@pytest.mark.slow
def test_without_openmp_training_is_an_error_but_serving_works(
    project: Any, elsewhere: Any, no_openmp: Path
) -> None:
    with_ranker(project)
    done = elsewhere("train", "--json", first=no_openmp)
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: lightgbm cannot be loaded (libgomp.so.1: cannot open")
    assert "apt install libgomp1" in last
    assert elsewhere("train").returncode == 0
    for stored in (False, True):  # first from the files, then from the store
        if stored:
            EventSource(load_project(project.project)).open().close()
        done = elsewhere("recommend", "--user", "u1", "--json", first=no_openmp)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["items"]
        assert answer["degraded"] == []


# --- in a private mount namespace ---


@pytest.fixture
def mounted(elsewhere: Any, project: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a private mount namespace, after a shell script."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        missing("there is no unshare here to mount anything privately")
    tried = subprocess.run([*PRIVATE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    if tried.returncode:
        missing(f"nothing can be mounted privately here ({tried.stderr!r})")

    def ran(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        inside = (*PRIVATE, "sh", "-ec", f'{script}\ncd "$PWD"; exec "$@"', "sh")
        done: subprocess.CompletedProcess[str] = elsewhere(*arguments, inside=inside)
        return done

    return ran


@pytest.mark.slow
def test_a_system_without_libgomp_is_reported_and_can_serve(
    project: Any, elsewhere: Any, mounted: Any, tmp_path: Path
) -> None:
    with_ranker(project)
    assert elsewhere("train").returncode == 0
    if shutil.which("ldconfig") is None:
        missing("there is no ldconfig here")
    found = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True).stdout
    library = next((line.split()[-1] for line in found.splitlines() if "libgomp.so.1" in line), "")
    if not library:
        missing("this system has no libgomp.so.1 to hide")
    (tmp_path / "empty").touch()
    hide = f"mount --bind '{tmp_path / 'empty'}' {Path(library).resolve()}"
    done = mounted(hide, "doctor", "--json")
    assert Findings(done.returncode, done.stdout).of("LightGBM")["verdict"] == "bad"
    done = mounted(hide, "train")
    assert done.returncode == 1
    assert "libgomp.so.1" in done.stderr.splitlines()[-1]
    assert mounted(hide, "recommend", "--user", "u1").returncode == 0


@pytest.mark.slow
def test_a_full_disk_is_a_problem(project: Any, elsewhere: Any, mounted: Any) -> None:
    assert elsewhere("train").returncode == 0
    fill = (
        'cp -r .tastemaker "$PWD.copy"; mount -t tmpfs -o size=2m none .tastemaker; '
        'cp -r "$PWD.copy/." .tastemaker; '
        "head -c 4m /dev/zero > .tastemaker/filling 2>/dev/null || true"
    )
    done = mounted(fill, "doctor", "--json")
    found = Findings(done.returncode, done.stdout)
    assert found.bad == ["disk"], done.stderr
    assert "0.0 kB free" in found.of("disk")["message"]
    assert "versions prune" in found.of("disk")["fix"]


@pytest.mark.slow
def test_a_read_only_disk_does_not_stop_the_other_checks(
    project: Any, elsewhere: Any, mounted: Any
) -> None:
    assert elsewhere("train").returncode == 0
    with EventSource(load_project(project.project)).open() as store:
        store.append([served(0)]).result()
    read_only = 'mount --bind "$PWD" "$PWD"; mount -o remount,ro,bind "$PWD"'
    done = mounted(read_only, "doctor", "--json")
    found = Findings(done.returncode, done.stdout)
    assert set(found.bad) == {"disk"}
    assert "mounted read-only" in found.of("disk")["message"]
    assert "85 events" in found.of("store")["message"]
    assert "events received since the training: 1, 1.2% of all" in [f["message"] for f in found.all]


@pytest.mark.slow
def test_read_only_source_and_home_only_cost_recompilation(mounted: Any) -> None:
    closed = f"mount --bind '{SOURCE}' '{SOURCE}'; mount -o remount,ro,bind '{SOURCE}'; "
    closed += "unset NUMBA_CACHE_DIR; export HOME=/proc/none XDG_CACHE_HOME=/proc/none"
    assert mounted(closed, "train").returncode == 0
    done = mounted(closed, "doctor", "--json")
    found = Findings(done.returncode, done.stdout)
    assert found.bad == []
    assert found.of("kernels")["verdict"] == "note"
    assert "NUMBA_CACHE_DIR" in found.of("kernels")["fix"]
    kept = f'{closed}; export NUMBA_CACHE_DIR="$PWD/kernels"'
    done = mounted(kept, "doctor", "--json")
    assert "kernels" not in [f["what"] for f in Findings(done.returncode, done.stdout).all]


def test_an_unwritable_folder_is_reported(project: Any, run: Any, elsewhere: Any) -> None:
    run("train")
    inside: tuple[str, ...] = ()
    if os.geteuid() == 0:  # root has to drop its rights first
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            missing("there is no setpriv here to give up root's rights")
        inside = (setpriv, "--inh-caps=-all", "--bounding-set=-all")
    artifacts = state(project) / "artifacts"
    artifacts.chmod(0o555)
    try:
        done = elsewhere("doctor", "--json", inside=inside)
    finally:
        artifacts.chmod(0o755)
    found = Findings(done.returncode, done.stdout)
    assert found.bad == ["disk"]
    assert found.of("disk")["message"] == f"{artifacts} is not writable"
    assert "chown" in found.of("disk")["fix"]


# --- the port ---


@pytest.fixture
def answering(project: Any) -> Iterator[Callable[[int, Any], None]]:
    """Runs a server with a fixed response at the port of the project."""
    servers: list[HTTPServer] = []

    def answer(status: int, payload: Any) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(payload).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", port_of(project)), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    yield answer
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "payload", [{"hello": "inventory"}, ["model_version"], None, "x" * 100_000]
)
def test_a_port_in_use_is_reported_with_its_process(
    project: Any, run: Any, doctor: Any, answering: Any, payload: Any
) -> None:
    run("train")
    answering(200, payload)
    found = doctor()
    assert found.bad == ["port"]
    assert f"{port_of(project)} is in use by process {os.getpid()} (" in found.of("port")["message"]
    assert "[server]" in found.of("port")["fix"]


def test_a_port_of_an_unresponsive_program_is_reported(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    with socket.create_server(("127.0.0.1", port_of(project))):
        found = doctor()
    assert found.bad == ["port"]
    assert str(os.getpid()) in found.of("port")["message"]


def test_a_running_server_of_this_project_is_ok(
    project: Any, run: Any, doctor: Any, answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # an unreachable proxy
    answering(200, {"status": "ready", "model_version": current(project)})
    found = doctor()
    assert found.bad == []
    assert found.of("port")["message"].endswith(f"serving {current(project)}")


@pytest.mark.parametrize("problem", ["", "the file 'x' is damaged"])
def test_a_server_with_an_earlier_version_is_a_note(
    project: Any, run: Any, doctor: Any, answering: Any, problem: str
) -> None:
    run("train")
    before = current(project)
    project.change("popular = 10", "popular = 11")  # otherwise it may be the same version
    run("train")
    answering(200, {"model_version": before, **({"problem": problem} if problem else {})})
    finding = doctor().of("port")
    assert finding["verdict"] == "note"
    expected = problem or f"still serving {before}, not {current(project)}"
    assert expected in finding["message"]


def test_a_server_that_is_still_loading_is_a_note(
    project: Any, run: Any, doctor: Any, answering: Any
) -> None:
    run("train")
    answering(503, {"error": {"code": "not_ready", "message": "the model is being loaded"}})
    assert "not ready: the model is being loaded" in doctor().of("port")["message"]


def test_a_server_of_another_project_is_a_problem(
    project: Any, run: Any, doctor: Any, answering: Any
) -> None:
    run("train")
    answering(200, {"model_version": "20200101T000000-00000000"})
    assert doctor().bad == ["port"]


# --- the model ---


def test_a_setting_changed_since_the_training_is_reported(
    project: Any, run: Any, doctor: Any
) -> None:
    run("train")
    project.change("popular = 10", "popular = 11")
    project.change("weight = 6.0", "weight = 7.0")
    finding = doctor().of("model")
    assert "placements.home.retrievers.popular is 11, was 10" in finding["message"]
    assert "[events]" in finding["message"]
    assert finding["fix"] == "tastemaker train"


def test_a_version_of_another_tastemaker_is_a_note(
    project: Any, run: Any, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train")
    monkeypatch.setattr(tastemaker, "__version__", "9.9")
    assert "trained by Tastemaker 0.1.0, this is 9.9" in doctor().of("model")["message"]


def test_an_old_event_log_is_a_note(shop: Any, run: Any, doctor: Any) -> None:
    run("train")
    assert "its events end on 2023-11-" in doctor().of("model")["message"]


def damage(project: Any, version: str) -> None:
    target = state(project) / "artifacts" / version / "components" / "popular" / "users.npy"
    target.write_bytes(target.read_bytes()[:-1] + b"\x07")


def test_a_damaged_version_is_a_problem_with_a_rollback_as_fix(
    project: Any, run: Any, doctor: Any
) -> None:
    run("train")
    before = current(project)
    damage(project, before)
    found = doctor()
    assert found.bad == ["model"]
    assert "'components/popular/users.npy' is damaged" in found.of("model")["message"]
    assert found.of("model")["fix"] == "tastemaker train"
    shutil.rmtree(state(project))
    run("train")
    before = current(project)
    project.change("popular = 10", "popular = 11")
    run("train")
    damage(project, current(project))
    assert doctor().of("model")["fix"].startswith(f"tastemaker versions rollback, to {before}")


def test_a_newer_version_that_does_not_serve_is_a_note(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    project.change("popular = 10", "popular = 11")
    time.sleep(1.1)  # version names have a resolution of seconds
    newer = run("train", "--no-promote", "--json").json["version"]
    finding = doctor().of("versions")
    assert finding["fix"] == f"tastemaker versions promote {newer}"


def test_leftovers_of_killed_trainings_are_a_note(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    left = state(project) / "artifacts" / ".building-x"
    left.mkdir()
    os.utime(left, (time.time() - 10_000,) * 2)
    finding = doctor().of("versions")
    assert (finding["verdict"], finding["message"]) == ("note", "1 folder was left by killed runs")
    assert "versions prune" in finding["fix"]


# --- the data ---


def test_data_changed_since_the_training_is_reported(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    rows = fresh_rows(project)
    project.write([*rows, rows[-1]])
    found = doctor()
    assert found.bad == []
    finding = found.of("data")
    assert finding["message"].startswith("events.csv, or its read settings, changed since")
    assert current(project) in finding["message"]
    assert finding["fix"] == "tastemaker train"
    run("train")
    assert doctor().of("data")["verdict"] == "ok"


def test_a_table_added_after_the_training_is_reported(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    (project.folder / "users.csv").write_text("user_id\nu1\n")
    project.change('items = "items.csv"\n', 'items = "items.csv"\nusers = "users.csv"\n')
    assert doctor().of("data")["message"].startswith("users.csv is new since")


def test_a_training_from_the_store_knows_the_same_files(
    project: Any, run: Any, doctor: Any
) -> None:
    run("train")
    from_files = Recommender.load(state(project) / "artifacts" / current(project)).sources
    EventSource(load_project(project.project)).open().close()
    run("train")
    from_store = Recommender.load(state(project) / "artifacts" / current(project)).sources
    assert from_store == from_files
    assert doctor().of("data")["verdict"] == "ok"


def test_a_version_without_fingerprints_is_reported(
    project: Any, run: Any, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Recommender.load.__func__  # type: ignore[attr-defined]

    def without(cls: type[Recommender], folder: Path) -> Recommender:
        loaded: Recommender = load(cls, folder)
        loaded.sources, loaded.made_by = {}, ""
        return loaded

    run("train")
    monkeypatch.setattr(Recommender, "load", classmethod(without))
    found = doctor()
    assert "does not record its training files" in found.of("data")["message"]
    assert "Tastemaker of an earlier version" in found.of("model")["message"]
    assert found.bad == []


def test_many_events_since_the_training_are_a_note(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    with EventSource(load_project(project.project)).open() as store:
        store.append([served(0)]).result()
        assert "events received since the training: 1, 1.2% of all" in [
            f["message"] for f in doctor().all
        ]
        store.append([served(n) for n in range(1, 40)]).result()
        finding = doctor().of("data")  # while another connection is open
    assert finding["message"] == "events received since the training: 40, 32.3% of all"
    assert finding["verdict"] == "note"
    run("train")
    assert "events received since the training: 0, 0.0% of all" in [
        f["message"] for f in doctor().all
    ]


def test_events_that_an_older_version_added_are_found(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    source = EventSource(load_project(project.project))
    with source.open() as store:
        store.append([served(0)]).result()
    assert "store" not in doctor().bad
    with closing(sqlite3.connect(source.path)) as connection, connection:
        connection.execute("DELETE FROM pairs WHERE source = 0")  # the pairs were never summed
    found = doctor()
    assert "store" in found.bad
    wrong = next(f for f in found.all if f["what"] == "store" and f["verdict"] == "bad")
    assert wrong["message"] == "the sums by user and item do not match the events"
    assert "`tastemaker store compact`" in wrong["fix"]
    run("store", "compact")
    assert "store" not in doctor().bad


def test_quarantined_rows_are_a_note(project: Any, run: Any, doctor: Any) -> None:
    rows = fresh_rows(project)
    project.write([*rows * 2, "u1,,view,1700000000"])
    run("train")
    finding = doctor().of("events")
    assert finding["message"] == "unusable rows when it was last read: 1 (1 missing item_id)"
    assert "events.csv.csv" in finding["fix"]


def test_quarantined_rows_of_files_with_one_name_are_a_note(
    project: Any, run: Any, doctor: Any
) -> None:
    for year, more in (("2023", "u1,,view,1700000000"), ("2024", "")):
        (project.folder / year).mkdir()
        rows = ["user_id,item_id,event_type,timestamp", *fresh_rows(project) * 2, more]
        (project.folder / year / "events.csv").write_text("\n".join(rows) + "\n")
    text = project.project.read_text()
    listed = 'events = ["2023/events.csv", "2024/events.csv"]'
    project.project.write_text(text.replace('events = "events.csv"', listed, 1))
    run("train")
    notes = [found["message"] for found in doctor().all if found["verdict"] == "note"]
    assert "unusable rows when it was last read: 1 (1 missing item_id)" in notes


def test_a_missing_file_is_a_problem_unless_the_store_has_it(
    project: Any, run: Any, doctor: Any
) -> None:
    run("train")
    (project.folder / "items.csv").rename(project.folder / "away.csv")
    assert doctor().bad == ["items"]
    (project.folder / "away.csv").rename(project.folder / "items.csv")
    EventSource(load_project(project.project)).open().close()
    (project.folder / "items.csv").unlink()
    assert doctor().bad == []


# --- the store ---


def test_a_store_readable_by_others_is_a_note(project: Any, run: Any, doctor: Any) -> None:
    source = EventSource(load_project(project.project))
    source.open().close()
    assert "other users" not in str(doctor().of("store"))
    source.path.chmod(0o644)
    found = doctor()
    assert "store.db can be read by other users of this machine" in str(found.of("store"))
    assert "chmod 600 " in found.of("store")["fix"]
    assert found.of("store")["verdict"] == "note"


def test_a_damaged_store_is_reported(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    (state(project) / "store.db").write_bytes(b"no database at all" * 100)
    found = doctor()
    assert "store" in found.bad
    assert "not a database" in found.of("store")["message"]


def test_another_programs_database_is_reported(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    with sqlite3.connect(state(project) / "store.db") as theirs:  # commits
        theirs.execute("CREATE TABLE theirs (a)")
    theirs.close()
    assert "store" in doctor().bad


def test_a_damaged_page_is_one_line_with_its_fix(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    source = EventSource(load_project(project.project))
    source.open().close()
    content = bytearray(source.path.read_bytes())
    for page in range(3 * 4_096, len(content), 4_096):
        content[page : page + 200] = b"\x99" * 200
    source.path.write_bytes(content)
    finding = doctor().of("store")
    assert "is damaged (" in finding["message"]
    assert "\n" not in finding["message"]
    assert "restore it from a copy" in finding["fix"]


def test_a_store_of_a_later_tastemaker_is_reported(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    source = EventSource(load_project(project.project))
    source.open().close()
    with sqlite3.connect(source.path) as later:
        later.execute("UPDATE about SET value = '99' WHERE name = 'schema'")
    later.close()
    assert "has schema 99, this version reads" in doctor().of("store")["message"]


def test_a_file_of_the_wrong_kind_is_reported(project: Any, doctor: Any) -> None:
    state(project).touch()
    assert doctor().of("disk")["message"] == f"{state(project)} is not a folder"
    state(project).unlink()
    (state(project) / "store.db").mkdir(parents=True)
    assert doctor().of("disk")["message"] == f"{state(project) / 'store.db'} is not a file"


def test_a_pointer_to_a_missing_version_is_reported_with_the_fix(
    project: Any, run: Any, doctor: Any
) -> None:
    run("train")
    (state(project) / "current").write_text("garbage\n")
    finding = doctor().of("model")
    assert finding["message"].endswith("'garbage' is not a version")
    assert finding["fix"].startswith("choose one with `tastemaker versions promote VERSION`")


# --- the clock ---


def test_an_event_in_the_future_is_reported(project: Any, run: Any, doctor: Any) -> None:
    run("train")
    hour = times.MICROSECONDS["h"]
    with EventSource(load_project(project.project)).open() as store:
        store.append([served(0, time=times.now() + 5 * hour)]).result()
    finding = doctor().of("clock")
    assert finding["verdict"] == "note"
    assert finding["message"].startswith("the latest stored event is 5h in the future")


def test_a_clock_set_back_is_detected_by_file_times(project: Any, doctor: Any) -> None:
    later = time.time() + 86_400 * 3
    os.utime(project.events, (later, later))
    assert doctor().of("clock")["message"].startswith("the last change of events.csv is 3d in the")
