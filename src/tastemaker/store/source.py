"""The source of a project's events: its store, or its files if there is no store yet."""

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
from tastemaker.store.opening import describe_error, refused_by_disk
from tastemaker.store.store import Store
from tastemaker.store.tables import sqlite_path

_EVENT_BYTES = 200
"""Memory of an event while it is read from a store and indexed."""
_FEWEST_EVENTS = 10_000
"""The minimum number of events for a training."""
_DIGITS = 4
"""The maximum number of events is rounded down to so many binary digits, by at most an eighth."""
_TOO_LITTLE_MEMORY = (
    "raise [training] memory, remove unneeded rows (`tastemaker store items remove`, "
    "`tastemaker store events remove`), or exclude bots in [data.exclude]"
)
_TEXT_COPIES = 5
"""Memory of a character of an item's attributes while the store is read, bytes."""
_LABEL_BYTES = 110
"""Memory of a label of an item while the store is read."""


class EventSource:
    """The events that `train`, `evaluate` and `serve` read.

    Args:
        project: the project.
        progress: reports long imports.

    Attributes:
        recovered: messages for the user about what was found when the store was opened, such as
            unfinished work of a killed process or files that could not be imported because of the
            disk.
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
        """Reads all events from the store after importing changed files, or from the files.

        If a store has more events than fit into the memory budget of the project, the newest are
        read, and `left_out` of the dataset reports their start.

        Args:
            every_item: whether to ignore `[data] min_item_users` and `[data.exclude]`, to serve a
                version that is already trained and needs all its items.

        Raises:
            DataError: a file is invalid, or more than `max_bad_rows` of its rows are.
            MemoryBudgetError: reading files, or the items of a store, needs more memory than the
                budget of the project.
            StoreError: the store cannot be used.
        """
        if not self.stored:
            self._restrict_folder()
            return self._project.read(every_item=every_item)
        with self.open() as store:
            most = self._most_events(store)
            return store.dataset(self._project.schema, every_item=every_item, most=most)

    def _most_events(self, store: Store) -> int:
        """The number of events that fit into memory together with the items and users.

        It is rounded, so that small changes of the free memory do not change the events of a
        training.

        Raises:
            MemoryBudgetError: less than the minimum number of events fits.
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
        """Opens the store, creates it if it does not exist, and imports new and changed files.

        Each file is imported once. If it has changed, its rows replace the earlier ones; served
        events are kept. If the store has every table and the disk is full or read-only, the store
        is opened without an import, and `recovered` reports this.

        Raises:
            DataError: a file is invalid, or more than `max_bad_rows` of its rows are.
            MemoryBudgetError: a file needs more memory than the budget of the project.
            StoreError: the store cannot be used.
        """
        is_new = not self.stored
        self._restrict_folder()
        store = Store(self.path)
        try:
            if store.has_leftover_log:
                self.recovered.append(
                    f"a write-ahead log was left next to {self.path.name}, by a process that was "
                    "killed or while another process was reading; no committed data is lost: "
                    f"{store.count():,} events"
                )
            if store.restricted_files:
                names = ", ".join(file.name for file in store.restricted_files)
                self.recovered.append(
                    f"{names} could be read by other users of this machine; access is now limited "
                    "to the owner"
                )
            self._import(store)
        except (DatabaseError, OSError) as error:
            if refused_by_disk(error, self.path) and self._is_whole(store):
                self.recovered.append(
                    f"{self.path.name} is unchanged, the files are not imported "
                    f"{describe_error(error, self.path)}"
                )
                return store
            self._close_failed(store, is_new)
            if isinstance(error, OSError):
                raise  # it names its file
            raise StoreError(
                f"{self.path}: the files cannot be imported {describe_error(error, self.path)}"
            ) from None
        except BaseException:
            self._close_failed(store, is_new)
            raise
        return store

    def _restrict_folder(self) -> None:
        """Removes the permissions of other users from the state folder, if it exists."""
        state = self._project.state
        if state.is_dir() and make_private_folder(state):
            self.recovered.append(
                f"the folder {state} was open to other users of this machine; access is now "
                "limited to the owner"
            )

    def _is_whole(self, store: Store) -> bool:
        """Whether the store has an import of every table, of any version of its file."""
        importer = store.importer()
        try:
            return all(importer.is_imported(table) for table in self._project.data_files())
        except DatabaseError:
            return False

    def _close_failed(self, store: Store, is_new: bool) -> None:
        """Closes the store after a failed import, and deletes a new store without complete data."""
        with suppress(StoreError):  # the first error is the one to report
            if is_new:
                store.discard()
            else:
                store.close()

    def open_as_it_is(self) -> Store:
        """Opens the store without a check of the files.

        Raises:
            StoreError: the store cannot be used.
        """
        return Store(self.path)

    def look(self, store: str = "", sequence: int = 0) -> StoreLook:
        """A summary of the store, without a write; see `look`."""
        return look(self.path, store, sequence)

    def changed_files(self) -> list[str]:
        """The names of the files that changed since their import."""
        with self.open_as_it_is() as store:
            return [file.name for _, files, _ in self._to_import(store) for file in files]

    def _import(self, store: Store) -> None:
        importer = store.importer(self._progress)
        if not (
            importer.hidden_sources or importer.incomplete_tables() or any(self._to_import(store))
        ):
            return
        with importer.exclusive():
            incomplete_tables = importer.incomplete_tables()
            importer.sweep()
            for table in incomplete_tables:
                self.recovered.append(
                    f"the import of {table} was interrupted: its partial rows were removed, and "
                    "incomplete files are imported again"
                )
            for table, files, print_ in self._to_import(store):  # can be empty by now
                self._project.require_memory_to_read({table: files}, "importing")
                cleaned = clean_files({table: files}, self._project.quarantine)
                rows = cleaned.tables[table]
                importer.replace(table, print_, rows, self._project.schema)
            if importer.conflicts:
                self.recovered.append(
                    "rows of the event files skipped because their event_id was served with other "
                    f"content: {importer.conflicts:,}"
                )

    def _to_import(self, store: Store) -> Iterator[tuple[str, tuple[DataFile, ...], str]]:
        """Table, files and fingerprint of each new or changed table.

        Raises:
            DataError: files that were never imported cannot be opened.
        """
        importer = store.importer()
        tables = {
            table: files
            for table, files in self._project.data_files().items()
            if not (importer.is_imported(table) and _moved_away(files))
        }
        self._project.require_files(tables)
        for table, files in tables.items():
            print_ = table_fingerprint(table, files)
            if not importer.has_fingerprint(table, print_):
                yield table, files, print_


def _moved_away(files: tuple[DataFile, ...]) -> bool:
    """Whether files were moved away, which is allowed after their import."""
    missing = [file.path for file in files if not file.path.is_file()]
    return bool(missing) and not any(path.exists() for path in missing)
