"""Full disks and read-only disks."""

import pytest

from tests.resilience.conftest import Scenario
from tests.resilience.stage import Ran

pytestmark = pytest.mark.slow

INGEST = """
with serving(project) as server:
    kept = [f"before {n}" for n in range(5)]
    assert all(server.post(id_)[0] == 200 for id_ in kept)
    BREAK
    refused = []
    for n in range(40):
        status, told, later = server.post(f"during {n}")
        if status == 200:
            kept.append(f"during {n}")
        else:
            refused.append([status, told["error"]["code"], told["error"]["message"], later])
    recommends = all(server.recommends() for _ in range(5))
    said = server.said
    again = None
    MEND
    server.end(signal.SIGKILL)
"""
FOUND = """
from contextlib import closing
import sqlite3
with closing(sqlite3.connect(state / "store.db")) as store:
    found = [id_ for (id_,) in store.execute("SELECT event_id FROM events WHERE source = 0")]
tell(refused=refused, recommends=recommends, said=said, again=again,
     lost=sorted(set(kept) - set(found)), twice=len(found) - len(set(found)))
"""
MEND = """ballast.unlink()
    again = server.post("after")[0]
    kept.append("after")
    time.sleep(1.5)
    said = server.said"""


def test_a_full_disk_rejects_events_and_requests_are_answered(
    small_disk: Scenario,
) -> None:
    code = INGEST.replace("BREAK", "ballast = fill(state)").replace("MEND", MEND) + FOUND
    seen = small_disk(code)
    assert len(seen["refused"]) > 10
    for status, code, message, later in seen["refused"]:
        assert (status, code, later) == (507, "store_full", None)
        assert message.startswith("nothing was written: 0.0 kB are free on the disk of store.db, ")
        assert "`tastemaker store events remove` and run `tastemaker store compact`" in message
    assert seen["recommends"]
    assert seen["again"] == 200
    assert (seen["lost"], seen["twice"]) == ([], 0)
    assert "Traceback" not in seen["said"]
    lines = seen["said"].splitlines()
    for begins in ("decisions are not logged", "events and items are refused: "):
        assert len([line for line in lines if line.startswith(begins)]) <= 1, seen["said"]
    assert "events and items are accepted again" in lines, seen["said"]


def test_a_read_only_disk_rejects_events_and_requests_are_answered(
    breaking_disk: Scenario,
) -> None:
    abort = 'assert os.system(f"mount -o remount,abort {state}") == 0'
    seen = breaking_disk(INGEST.replace("BREAK", abort).replace("MEND", "pass") + FOUND)
    assert len(seen["refused"]) > 10
    for status, code, message, later in seen["refused"]:
        assert (status, code, later) == (503, "store", "1")
        assert "Read-only file system); mount the disk for writing" in message
    assert seen["recommends"]
    assert (seen["lost"], seen["twice"]) == ([], 0)
    assert "Traceback" not in seen["said"]
    assert len([line for line in seen["said"].splitlines() if "store.db" in line]) == 1


def test_on_a_full_disk_every_command_fails_in_one_line(
    small_disk: Scenario,
) -> None:
    seen = small_disk("""
verb(project, "train")
one, two = sorted(path.name for path in (state / "artifacts").iterdir())
ballast = fill(state)
before = {path.name for path in state.rglob("*")} | {"quarantine"}
ran = {name: verb(project, *name.split()) for name in (
    "train", "train --no-promote", f"versions promote {one}", "versions rollback")}
with (project.parent / "events.csv").open("a") as events:
    events.write("user-1,,1760000000\\n")
ran |= {name: verb(project, name) for name in ("validate", "evaluate")}
left = sorted({path.name for path in state.rglob("*")} - before)
listed = verb(project, "versions", "--json").out
similar = verb(project, "similar", "horror-1")
served = verb(project, "recommend", "--history", "horror-1")
verb(project, "versions", "promote", two)
pruned = verb(project, "versions", "prune", "--keep", "1")
ballast.unlink()
tell(ran=ran, left=left, listed=listed, similar=similar, served=served, pruned=pruned,
     names=[one, two], again=verb(project, "train"))
""")
    one, two = seen["names"]
    for name, ran in seen["ran"].items():
        told = Ran(**ran).refusal
        assert "No space left on device" in told, name
        assert "make room on the disk" in told, name
    assert "so nothing has changed and the serving version stays" in seen["ran"]["train"]["err"]
    assert "quarantine" in seen["ran"]["validate"]["err"]
    assert seen["left"] == []
    assert f'"current": "{two}"' in seen["listed"]
    assert one in seen["listed"]
    assert [seen[name]["code"] for name in ("similar", "served", "pruned", "again")] == [0] * 4


BIG = """
def write(rows):
    lines = (f"someone-{n % 997},horror-{n % 12},{1760000000 + n}" for n in range(rows))
    (project.parent / "events.csv").write_text("user_id,item_id,timestamp\\n" + "\\n".join(lines))
"""


def test_a_first_import_that_fills_the_disk_is_removed(small_disk: Scenario) -> None:
    seen = small_disk(f"""{BIG}
write(60_000)
before = free(state)
served = serve_in_vain(project)
tell(served=served, before=before, after=free(state), store=(state / "store.db").exists())
""")
    told = Ran(**seen["served"]).refusal
    assert "the files cannot be imported (database or disk is full); make room on" in told
    assert not seen["store"]
    assert seen["after"] > seen["before"] - 100_000


def test_another_import_that_fills_the_disk_changes_nothing(
    filled_disk: Scenario,
) -> None:
    seen = filled_disk(f"""{BIG}
with serving(project) as server:
    server.post("served")
    server.end()
write(60_000)
train = verb(project, "train")
(state / "ballast").unlink()
again = verb(project, "train", "--no-promote")
tell(train=train, again=again)
""")
    assert seen["train"]["code"] == 1
    assert "the files are not imported (database or disk is full)" in seen["train"]["err"]
    assert "cannot be written (No space left on device)" in seen["train"]["err"]
    assert seen["again"]["code"] == 0, seen["again"]["err"]
    assert "the import of events was interrupted: its partial rows" in seen["again"]["err"]


def test_a_read_only_disk_is_read_and_refuses_the_rest(
    breaking_disk: Scenario,
) -> None:
    seen = breaking_disk("""
with serving(project) as server:
    server.post("served")
    server.end()
verb(project, "train")
one, two = sorted(path.name for path in (state / "artifacts").iterdir())
with (project.parent / "events.csv").open("a") as events:
    events.write("user-1,horror-1,1760000000\\n")
assert os.system(f"mount -o remount,ro {state}") == 0
ran = {name: verb(project, *name.split()) for name in (
    "recommend --user user-0", "similar horror-1", "versions", "doctor", "validate", "evaluate",
    "train", f"versions promote {one}", "versions rollback", "versions prune --keep 1")}
with serving(project) as server:
    events, recommends, said = server.post("after"), server.recommends(), server.said
tell(ran=ran, events=events, recommends=recommends, said=said)
""")
    grown = "store.db is unchanged, the files are not imported (Read-only file system); "
    ran = {name.split(maxsplit=1)[0]: Ran(**told) for name, told in seen["ran"].items()}
    codes = {name: told["code"] for name, told in seen["ran"].items()}
    assert list(codes.values()) == [0, 0, 0, 1, 0, 0, 1, 1, 1, 1], seen["ran"]
    assert "mounted read-only" in ran["doctor"].out
    assert grown in seen["said"]
    for name, told in seen["ran"].items():
        reads = name.split(maxsplit=1)[0] in ("recommend", "similar", "evaluate", "train")
        assert told["err"].count(grown) == reads, name
        told["err"] = "".join(line for line in told["err"].splitlines(True) if grown not in line)
    for name, told in list(seen["ran"].items())[6:]:
        line = Ran(**told).refusal
        assert "(Read-only file system), so nothing has changed" in line, name
        assert "; mount the disk for writing" in line, name
    assert (seen["events"][0], seen["events"][1]["error"]["code"]) == (503, "store")
    assert "mount the disk for writing" in seen["events"][1]["error"]["message"]
    assert seen["recommends"]


@pytest.mark.parametrize("verb", ["validate", "train", "evaluate"])
def test_a_full_temporary_folder_is_named_with_the_right_fix(
    small_disk: Scenario, verb: str
) -> None:
    seen = small_disk(f"""
import gzip, random
folder = project.parent
text = (folder / "events.csv").read_text()
rows = "".join(f"user-1,horror-{{n % 9}},{{1760000000 + n}}\\n" for n in range(250_000))
with gzip.open(folder / "events.csv", "wt") as packed:
    packed.write(text + rows)
os.environ["TMPDIR"] = str(state)
(state / "store.db").unlink(missing_ok=True)
ballast = fill(state)
os.truncate(ballast, ballast.stat().st_size - 1_500_000)
tell(ran=verb(project, {verb!r}), left=sorted(path.name for path in state.glob("tastemaker-*")),
     state=str(state))
""")
    told = Ran(**seen["ran"]).refusal
    assert "No space left on device in the folder for temporary files" in told
    assert f"{seen['state']}, while unpacking events.csv" in told
    assert told.endswith(
        "set TMPDIR to a folder with more room, or unpack the file yourself and "
        "use the unpacked file"
    )
    assert seen["left"] == []


FLOOD = """
with serving(project) as server:
    taken = 0
    while True:
        batch = [{"user_id": f"bot-{n % 50}", "item_id": "horror-1", "context": {"x": "y" * 3000},
                  "event_id": f"{taken}-{n}-{os.urandom(8).hex()}"} for n in range(200)]
        status, told, _ = server.call("POST", "/v1/events", {"events": batch})
        if status != 200:
            break
        taken += told["accepted"]
    before = free(state)
    train = verb(project, "train")
    removed = verb(project, *f"store events remove {BOTS} --yes".split())
    recommends = server.recommends()
    server.end()
compacted = verb(project, "store", "compact")
with serving(project) as server:
    again = server.post("after")[0]
"""


def test_a_disk_filled_by_events_has_space_to_train_and_remove(disk_of_30_mb: Scenario) -> None:
    bots = " ".join(f"--user bot-{n}" for n in range(50))
    seen = disk_of_30_mb(f"""BOTS = {bots!r}
{FLOOD}
tell(status=status, told=told, taken=taken, before=before, train=train, removed=removed,
     recommends=recommends, compacted=compacted, again=again, after=free(state))
""")
    assert (seen["status"], seen["told"]["error"]["code"]) == (507, "store_full")
    assert seen["taken"] > 2_000
    assert seen["before"] > 600_000
    for name in ("train", "removed", "compacted"):
        assert seen[name]["code"] == 0, (name, seen)
    assert f"removed {seen['taken']:,} events" in seen["removed"]["out"]
    assert seen["recommends"]
    assert seen["again"] == 200
    assert seen["after"] > seen["before"] + 10_000_000


def test_a_full_folder_for_sorting_is_named_with_the_right_fix(small_disk: Scenario) -> None:
    seen = small_disk("""
import subprocess
from tastemaker.store import Store
from tests.store.conftest import row
path = project.parent / "elsewhere.db"
with Store(path) as store:
    store.append([row(item_id=f"{n:0>60}") for n in range(20_000)]).result()
fill(state)
code = '''
import sys
from pathlib import Path
from tastemaker.errors import StoreError
from tastemaker.store import Store
with Store(Path(sys.argv[1])) as store:
    try:
        with store.reading() as connection:
            connection.exec_driver_sql("PRAGMA cache_size = 1")
            connection.exec_driver_sql("SELECT item_id FROM items ORDER BY upper(item_id)").all()
    except StoreError as problem:
        print(problem, end="")
'''
environment = {**os.environ, "SQLITE_TMPDIR": str(state)}  # SQLite reads it when it is loaded
ran = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, capture_output=True)
tell(refused=ran.stdout.decode(), err=ran.stderr.decode(), state=str(state))
""")
    assert seen["refused"].endswith(
        f"cannot be read (No space left on device in the folder for temporary files, "
        f"{seen['state']}, while sorting); set SQLITE_TMPDIR to a folder with more room, or make "
        "room there"
    ), seen
