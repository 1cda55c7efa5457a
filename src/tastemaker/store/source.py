"""Where a project's events come from: its store, or its files where there is no store yet."""

from collections.abc import Iterator
from contextlib import suppress

from sqlalchemy.exc import DatabaseError

from tastemaker.data.clean import clean_files
from tastemaker.data.dataset import Dataset
from tastemaker.data.files import DataFile, table_fingerprint
from tastemaker.disk import make_private_folder
from tastemaker.errors import StoreError
from tastemaker.machine import memory_left
from tastemaker.progress import Progress
from tastemaker.project import Project
from tastemaker.store.look import StoreLook, look
from tastemaker.store.opening import refused_by_disk, told
from tastemaker.store.store import Store
from tastemaker.store.tables import sqlite_path

_EVENT_BYTES = 200
"""Memory an event takes while it comes out of a store and is indexed."""
_FEWEST_EVENTS = 10_000
"""Fewer of them are not worth a training."""
_DIGITS = 4
"""Binary digits of the number of events that are read: at most an eighth of what fits is lost."""
_TOO_LITTLE_MEMORY = (
    "raise [training] memory, remove what is not needed (`tastemaker store items remove`, "
    "`tastemaker store events remove`), or leave bots out by [data.exclude]"
)
_TEXT_COPIES = 5
"""Memory a character of an item's attributes takes meanwhile."""
_LABEL_BYTES = 110
"""Memory a label of an item takes meanwhile."""


class EventSource:
    """What `train`, `evaluate` and `serve` read: one and the same.

    Args:
        project: whose events.
        progress: reports long imports.

    Attributes:
        recovered: what was found when the store was opened and whoever started this process should
            know: what a killed one had left undone and what became of it, and files that a disk
            kept from being imported; a sentence each.
    """

    def __init__(self, project: Project, progress: Progress = Progress()) -> None:
        self._project = project
        self._progress = progress
        self.path = sqlite_path(project.file.store.url, project.state)
        self.recovered: list[str] = []

    @property
    def stored(self) -> bool:
        """Whether there is a store."""
        return self.path.is_file()

    def read(self, *, every_item: bool = False) -> Dataset:
        """All events: of the store, brought up to date with the files; else of the files.

        Where a store holds more events than fit into the project's memory budget, its newest are
        read, and the data's `left_out` says from when on.

        Args:
            every_item: whether nothing is left out by `[data] min_item_users` and `[data.exclude]`:
                to serve a version that was trained before, whose items must all be there.

        Raises:
            DataError: a file cannot be used, or more than `max_bad_rows` of its rows.
            MemoryBudgetError: reading files, or the items of a store, would take more than the
                project's budget.
            StoreError: the store cannot be used.
        """
        if not self.stored:
            self._close_folder()
            return self._project.read(every_item=every_item)
        with self.open() as store:
            most = self._most_events(store)
            return store.dataset(self._project.schema, every_item=every_item, most=most)

    def _most_events(self, store: Store) -> int:
        """How many events fit into the memory beside the items and users.

        A round number, so that what else the process holds does not make one training's events
        differ from another's.

        Raises:
            MemoryBudgetError: hardly any.
        """
        characters, labels = store.attribute_sizes()
        entities = _TEXT_COPIES * characters + _LABEL_BYTES * labels
        few = min(store.count(), _FEWEST_EVENTS)
        self._project.require_memory(
            entities + _EVENT_BYTES * few, "reading the store", _TOO_LITTLE_MEMORY
        )
        left = memory_left(self._project.file.training.memory) - entities
        most = max(left // _EVENT_BYTES, few)
        return most >> (shift := max(0, most.bit_length() - _DIGITS)) << shift

    def open(self) -> Store:
        """The store, made if there is none, with every file's rows in it.

        A file is imported once; where it has changed since, its rows take the place of the
        earlier ones, and what was served stays. Where the store has every table and the disk takes
        nothing more, it is opened as it is, and `recovered` says so.

        Raises:
            DataError: a file cannot be used, or more than `max_bad_rows` of its rows.
            MemoryBudgetError: a file would take more than the project's budget.
            StoreError: the store cannot be used.
        """
        is_new = not self.stored
        self._close_folder()
        store = Store(self.path)
        try:
            if store.log_left:
                self.recovered.append(
                    f"a write-ahead log was left beside {self.path.name}, by a process that was "
                    "killed or while another was reading; all that was committed is there: "
                    f"{store.count():,} events"
                )
            if store.tightened:
                names = ", ".join(file.name for file in store.tightened)
                self.recovered.append(
                    f"{names} could be read by other users of this machine; now by its owner alone"
                )
            self._import(store)
        except (DatabaseError, OSError) as problem:
            if refused_by_disk(problem, self.path) and self._is_whole(store):
                self.recovered.append(
                    f"{self.path.name} is as it was before, the files are not imported "
                    f"{told(problem, self.path)}"
                )
                return store
            self._leave(store, is_new)
            if isinstance(problem, OSError):
                raise  # it names its file
            raise StoreError(
                f"{self.path}: the files cannot be imported {told(problem, self.path)}"
            ) from None
        except BaseException:
            self._leave(store, is_new)
            raise
        return store

    def _close_folder(self) -> None:
        """Takes the rights of other users from the folder of state, where there is one."""
        state = self._project.state
        if state.is_dir() and make_private_folder(state):
            self.recovered.append(
                f"the folder {state} was open to other users of this machine; now to its owner "
                "alone"
            )

    def _is_whole(self, store: Store) -> bool:
        """Whether it has every table in some state of its file."""
        importer = store.importer()
        try:
            return all(importer.imported(table) for table in self._project.data_files())
        except DatabaseError:
            return False

    def _leave(self, store: Store, is_new: bool) -> None:
        """After an import that failed: a store that holds nothing whole would only take up room."""
        with suppress(StoreError):  # what went wrong first is told
            if is_new:
                store.discard()
            else:
                store.close()

    def open_as_it_is(self) -> Store:
        """The store without looking at the files.

        Raises:
            StoreError: the store cannot be used.
        """
        return Store(self.path)

    def look(self, store: str = "", sequence: int = 0) -> StoreLook:
        """What is in the store, found without writing; see `look`."""
        return look(self.path, store, sequence)

    def changed_files(self) -> list[str]:
        """The files whose rows in the store are not those of today."""
        with self.open_as_it_is() as store:
            return [file.name for _, files, _ in self._to_import(store) for file in files]

    def _import(self, store: Store) -> None:
        importer = store.importer(self._progress)
        if not (importer.leftovers or importer.cut_short() or any(self._to_import(store))):
            return
        with importer.alone():
            cut_short = importer.cut_short()
            importer.sweep()
            for table in cut_short:
                self.recovered.append(
                    f"the import of {table} had been cut short: what it left was cleared away, and "
                    "files that are not whole in the store are imported now"
                )
            for table, files, print_ in self._to_import(store):  # perhaps none by now
                self._project.require_memory_to_read({table: files}, "importing")
                cleaned = clean_files({table: files}, self._project.quarantine)
                rows = cleaned.tables[table]
                importer.replace(table, print_, rows, self._project.schema)
            if importer.conflicts:
                self.recovered.append(
                    f"rows of the event files left out, as their event_id was served with other "
                    f"content: {importer.conflicts:,}"
                )

    def _to_import(self, store: Store) -> Iterator[tuple[str, tuple[DataFile, ...], str]]:
        """Table, files and fingerprint of what the store lacks, or has otherwise.

        Raises:
            DataError: files cannot be opened that were never imported.
        """
        importer = store.importer()
        tables = {
            table: files
            for table, files in self._project.data_files().items()
            if not (importer.imported(table) and _moved_away(files))
        }
        self._project.require_files(tables)
        for table, files in tables.items():
            print_ = table_fingerprint(table, files)
            if not importer.known(table, print_):
                yield table, files, print_


def _moved_away(files: tuple[DataFile, ...]) -> bool:
    """Whether files are gone, which is no harm after their import."""
    gone = [file.path for file in files if not file.path.is_file()]
    return bool(gone) and not any(path.exists() for path in gone)
