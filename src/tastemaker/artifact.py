"""Artifacts: folders of arrays, texts and JSON with a manifest of every file and its SHA-256.

`ArtifactWriter` fills a temporary folder that becomes visible in one rename. `ArtifactReader`
rejects damaged folders and unsupported formats with the reason. Pickle is never used.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.sparse import csr_array

from tastemaker.disk import fix_hint, flush, naming, read_bytes, read_text, reading, require_regular
from tastemaker.errors import ArtifactError

FORMAT = 3
_MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 10_000_000
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


class ArtifactWriter:
    """Writes into one folder of an artifact; `child` creates a subfolder for a component."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def child(self, name: str) -> "ArtifactWriter":
        """A writer for the folder `name` inside this one.

        Raises:
            ArtifactError: `name` is not a plain name.
        """
        if not _PLAIN.fullmatch(name):
            raise ArtifactError(f"'{name}' is not a folder name: use letters, digits, _ and -")
        return ArtifactWriter(self._folder / name)

    def array(self, name: str, values: NDArray[Any]) -> None:
        """Saves an array as `name`.npy."""
        path = self._folder / f"{name}.npy"
        with naming(path):
            np.save(path, np.ascontiguousarray(values), allow_pickle=False)

    def json(self, name: str, value: Any) -> None:
        """Saves a value as `name`.json, keys in their order: equal values give equal bytes."""
        text = json.dumps(value, indent=1, ensure_ascii=False)
        self._write(f"{name}.json", (text + "\n").encode())

    def text(self, name: str, value: str) -> None:
        """Saves a text as `name`.txt without changing its line ends."""
        self._write(f"{name}.txt", value.encode())

    def sparse(self, name: str, matrix: csr_array) -> None:
        """Saves a sparse matrix as its three arrays and its shape."""
        part = self.child(name)
        part.array("data", matrix.data)
        part.array("indices", matrix.indices)
        part.array("indptr", matrix.indptr)
        part.json("shape", list(matrix.shape))

    def _write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        with naming(path):
            path.write_bytes(content)


class ArtifactReader:
    """Reads one folder of an artifact whose checksums were verified by `open_artifact`."""

    def __init__(self, folder: Path, listed: set[str], prefix: str = "") -> None:
        self._folder = folder
        self._listed = listed
        self._prefix = prefix

    def child(self, name: str) -> "ArtifactReader":
        """A reader for the folder `name` inside this one."""
        return ArtifactReader(self._folder / name, self._listed, f"{self._prefix}{name}/")

    def has(self, name: str) -> bool:
        """Whether the manifest lists `name` (with its ending) in this folder."""
        return f"{self._prefix}{name}" in self._listed

    def array(
        self,
        name: str,
        dtype: DTypeLike | None = None,
        shape: tuple[int | None, ...] | None = None,
        *,
        below: int | None = None,
    ) -> NDArray[Any]:
        """The array `name`, mapped from disk; changes to it are never written to the file.

        The mapping is copy-on-write rather than read-only, so that kernels get the type they were
        compiled for. Kernels do not check bounds: callers that pass the array to a kernel must
        state its dtype, shape and index range here.

        Args:
            name: the name it was saved under.
            dtype: the required dtype.
            shape: the required shape; None for an unknown length.
            below: all values must be indices from 0 to `below` − 1.

        Raises:
            ArtifactError: the array does not exist or does not meet the requirements.
        """
        values = self._mapped(name)
        lengths = values.shape if shape is None else shape
        fits = len(lengths) == values.ndim and all(
            actual == length or length is None for actual, length in zip(values.shape, lengths)
        )
        if not fits or (dtype is not None and values.dtype != np.dtype(dtype)):
            raise ArtifactError(
                f"{self._folder / name}.npy: {values.dtype}{list(values.shape)} does not match the "
                "other files of the artifact: train again"
            )
        if below is not None and values.size and not 0 <= values.min() <= values.max() < below:
            raise ArtifactError(
                f"{self._folder / name}.npy: has values that are not below {below:,}: train again"
            )
        return values

    def offsets(self, name: str, rows: int | None, total: int) -> NDArray[np.int64]:
        """The offsets of `rows` rows with `total` entries, int64[rows + 1], mapped from disk.

        Raises:
            ArtifactError: the array does not exist or does not ascend from 0 to `total`.
        """
        values = self.array(name, np.int64, (None if rows is None else rows + 1,))
        if not len(values) or values[0] or values[-1] != total or (np.diff(values) < 0).any():
            raise ArtifactError(
                f"{self._folder / name}.npy: does not ascend from 0 to {total:,}: train again"
            )
        return values

    def _mapped(self, name: str) -> NDArray[Any]:
        path = self._path(f"{name}.npy")
        try:
            with _reading(path):
                _check_size(path)
                return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
        except (ValueError, EOFError) as problem:
            raise ArtifactError(f"{path}: not a NumPy array ({problem})") from None

    def json(self, name: str) -> Any:
        """The value saved as `name`."""
        path = self._path(f"{name}.json")
        try:
            with _reading(path):
                return json.loads(read_text(path))
        except (ValueError, RecursionError) as problem:
            raise ArtifactError(f"{path}: not JSON ({problem})") from None

    def text(self, name: str) -> str:
        """The text saved as `name`."""
        path = self._path(f"{name}.txt")
        try:
            with _reading(path):
                return read_bytes(path).decode()
        except UnicodeDecodeError as problem:
            raise ArtifactError(f"{path}: not UTF-8 ({problem})") from None

    def sparse(self, name: str) -> csr_array:
        """The sparse matrix `name`, its arrays mapped from disk."""
        part = self.child(name)
        triple = (part.array("data"), part.array("indices"), part.array("indptr"))
        try:
            matrix = csr_array(triple, shape=tuple(part.json("shape")), copy=False)
            matrix.check_format()  # kernels do not check bounds
            # SciPy does not check the offsets of a matrix without entries.
            if (np.diff(matrix.indptr) < 0).any():
                raise ValueError("its offsets do not ascend")
            if not np.isfinite(matrix.data).all():
                raise ValueError("not all of its values are finite")
        except (ValueError, TypeError) as problem:
            raise ArtifactError(f"{self._folder / name}: not a sparse matrix ({problem})") from None
        return matrix

    def _path(self, name: str) -> Path:
        if not self.has(name):
            raise ArtifactError(
                f"{self._folder}: the manifest lists no file '{self._prefix}{name}'"
            )
        return self._folder / name


@contextmanager
def create_artifact(folder: Path, kind: str, about: dict[str, Any]) -> Iterator[ArtifactWriter]:
    """Writes an artifact atomically: `folder` appears complete or not at all.

    Args:
        folder: the target; must not exist yet.
        kind: the type of content (`recommender`); a reader must pass the same.
        about: settings and versions to keep in the manifest; must not contain times or paths, so
            that training twice gives the same manifest.

    Raises:
        ArtifactError: `folder` exists.
        OSError: the artifact cannot be written; no files are left behind.
    """
    if folder.exists():
        raise ArtifactError(f"{folder} already exists: choose another folder or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield ArtifactWriter(building)
        files = {
            path.relative_to(building).as_posix(): _described(path)
            for path in sorted(building.rglob("*"))
            if path.is_file()
        }
        manifest = {"format": FORMAT, "kind": kind, "about": about, "files": files}
        manifest["digest"] = _digest(manifest)
        ArtifactWriter(building).json("manifest", manifest)
        for path in building.rglob("*"):
            with naming(path):
                flush(path)
        building.chmod(0o755)
        building.rename(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def open_artifact(folder: Path, kind: str) -> tuple[ArtifactReader, dict[str, Any]]:
    """Verifies an artifact and opens it.

    Returns:
        A reader, and the manifest (`format`, `kind`, `about`, `files`, `digest`).

    Raises:
        ArtifactError: the folder is missing, is not an artifact of this kind, has an unsupported
            format, is damaged, or cannot be read.
    """
    manifest = read_manifest(folder, kind)
    root = folder.resolve()
    for name, entry in manifest["files"].items():
        with _reading(folder / name):
            _verify(folder, root, name, entry)
    return ArtifactReader(folder, set(manifest["files"])), manifest


def read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """The manifest of an artifact; its own digest is verified, the files are not.

    Raises:
        ArtifactError: the manifest is missing, is not of this kind, has an unsupported format, or
            is damaged.
    """
    path = folder / _MANIFEST
    try:
        with _reading(path):
            if not path.exists():
                raise ArtifactError(f"{folder}: not an artifact (no {_MANIFEST})")
            require_regular(path)
            if path.stat().st_size > _LARGEST_MANIFEST:
                raise ValueError(f"it is larger than {_LARGEST_MANIFEST:,} bytes")
            text = read_text(path)
        manifest = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as problem:
        raise ArtifactError(f"{folder}: {_MANIFEST} cannot be read ({problem})") from None
    if (
        not isinstance(manifest, dict)
        or not {"format", "kind", "files", "digest"} <= set(manifest)
        or not isinstance(manifest["files"], dict)
    ):
        raise ArtifactError(f"{folder}: {_MANIFEST} is not a Tastemaker manifest")
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            f"{folder}: format {manifest['format']!r}, this version reads {FORMAT}: train again"
        )
    if manifest["kind"] != kind:
        raise ArtifactError(f"{folder}: holds a {manifest['kind']!r}, not a {kind!r}")
    if manifest["digest"] != _digest(manifest):
        raise ArtifactError(f"{folder}: {_MANIFEST} is damaged (its digest differs)")
    return cast(dict[str, Any], manifest)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Reports read errors of the disk as `ArtifactError`."""
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or problem
        raise ArtifactError(f"{path}: cannot be read ({reason}){fix_hint(problem)}") from None


def _verify(folder: Path, root: Path, name: str, entry: Any) -> None:
    """Rejects a file that does not match its manifest entry."""
    path = folder / name
    if path.is_symlink() or not path.resolve().is_relative_to(root):
        raise ArtifactError(f"{folder}: the manifest names {name!r}, outside its folder")
    if not path.is_file():
        raise ArtifactError(f"{folder}: the file {name!r} is missing")
    if _described(path) != entry:
        raise ArtifactError(f"{folder}: the file {name!r} is damaged (its checksum differs)")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated names: parsers differ in which value they use."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{repeated}' occurs twice")
    return found


def _check_size(path: Path) -> None:
    """Rejects an array whose header declares a size other than the file's."""
    with reading(path) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # later formats allow headers of gigabytes, which would be allocated
            raise ValueError(f"its format is {version}")
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        declared = prod(shape) * kind.itemsize  # Python integers, which do not overflow
        actual = path.stat().st_size - stream.tell()
    if not kind.hasobject and declared != actual:
        raise ValueError(f"its header declares {declared:,} bytes, the file has {actual:,}")


def _described(path: Path) -> dict[str, Any]:
    with reading(path) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size}


def _digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of the manifest without the digest itself; identifies the artifact."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
