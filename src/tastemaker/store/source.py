"""Where a project's events come from: its store, or its files where there is no store yet."""

from tastemaker.data.clean import clean_files
from tastemaker.data.dataset import Dataset
from tastemaker.errors import DataError
from tastemaker.progress import Progress
from tastemaker.project import Project
from tastemaker.store.importing import fingerprint
from tastemaker.store.store import Store
from tastemaker.store.tables import sqlite_path


class EventSource:
    """What `train`, `evaluate` and `serve` read: one and the same.

    Args:
        project: whose events.
        progress: reports long imports.
    """

    def __init__(self, project: Project, progress: Progress = Progress()) -> None:
        self._project = project
        self._progress = progress
        self.path = sqlite_path(project.file.store.url, project.state)

    @property
    def stored(self) -> bool:
        """Whether there is a store."""
        return self.path.is_file()

    def read(self) -> Dataset:
        """All events: of the store, brought up to date with the files; else of the files.

        Raises:
            DataError: a file cannot be used, or more than 1 % of its rows.
            StoreError: the store cannot be used.
        """
        if not self.stored:
            return self._project.read()
        with self.open() as store:
            return store.dataset(self._project.schema)

    def open(self) -> Store:
        """The store, made if there is none, with every file's rows in it.

        A file is imported once; where it has changed since, its rows take the place of the
        earlier ones, and what was served stays.

        Raises:
            DataError: a file cannot be used, or more than 1 % of its rows.
            StoreError: the store cannot be used.
        """
        store = Store(self.path)
        try:
            self._import(store)
        except BaseException:
            store.close()
            raise
        return store

    def _import(self, store: Store) -> None:
        schema, importer = self._project.schema, store.importer(self._progress)
        for name, path in self._project.data_files().items():
            if not path.exists() and importer.imported(name):
                continue  # it was imported; whoever moved it away need not bring it back
            if not path.is_file():
                raise DataError(f"{path}: no such file")
            print_ = fingerprint(path, name, schema)
            if not importer.known(name, print_):
                cleaned = clean_files({name: path}, schema, self._project.state / "quarantine")
                importer.replace(name, print_, cleaned.tables[name], schema)
