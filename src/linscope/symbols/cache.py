"""Parsed symbol tables on disk, so that a big binary or /proc/kallsyms is read once.

One file for each table: build-id and a fingerprint of what it was made from in its name; inside a header,
the arrays, and the string table as it was.  Files are written beside and renamed, so two writers do no harm;
one that is damaged or of another version is not there; a folder that cannot be written to means no cache.
The oldest go when the folder is over its limit.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from linscope.symbols.table import SymbolTable
from linscope.sys.folders import cache_folder

_MAGIC = b"linscope symbols 2\0\0\0\0\0\0"
# magic, symbols, string bytes, suffix bytes, one number of the maker, CRC of suffixes and arrays, CRC of the
# above
_HEADER = struct.Struct("<24sQQQqII")
_ARRAYS = (("starts", "<u8"), ("ends", "<u8"), ("names", "<u8"), ("same_as", "<i4"), ("suffix_ids", "u1"))
_MAX_ENTRY = 256 << 20


def fingerprint(*parts: object) -> str:
    """Sixteen hex digits that change when any of the parts does."""
    import hashlib

    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def file_identity(path: str) -> tuple[str, int, int, int]:
    """What tells a file's contents apart without reading them: path, inode, size, time of change in ns."""
    status = Path(path).stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns


class SymbolCache:
    """Tables by name; a name is a build-id (or "none"), a dash and a fingerprint."""

    def __init__(self, folder: Path | None = None, *, limit_bytes: int = 512 << 20) -> None:
        """folder: None for "symbols" in sys.folders.cache_folder().  limit_bytes: what all files together may take."""
        self.folder = folder or Path(cache_folder("symbols"))
        self.limit_bytes = limit_bytes

    def __repr__(self) -> str:
        return f"<SymbolCache in {self.folder}>"

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.sym"

    def load(self, name: str) -> tuple[SymbolTable, int] | None:
        """A stored table and the number that was stored with it; None when it is not there or damaged."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            os.utime(path)
        except (OSError, ValueError):  # not there, not ours, empty
            return None
        return _parse(data)

    def load_build_id(self, build_id: str) -> tuple[SymbolTable, int] | None:
        """The newest table stored for a build-id, whatever it was made from; None when there is none.

        For files that are gone since: the build-id vouches for the content.
        """
        with contextlib.suppress(OSError):
            found = sorted(self.folder.glob(f"{build_id}-*.sym"), key=lambda path: path.stat().st_mtime_ns)
            for path in reversed(found):
                loaded = self.load(path.stem)
                if loaded:
                    return loaded
        return None

    def store(self, name: str, table: SymbolTable, number: int = 0) -> None:
        """Keep a table and a number of the caller's; a folder that cannot be written to is no error."""
        count = len(table)
        ids = table.suffix_ids if table.suffix_ids is not None else np.zeros(count, np.uint8)
        same = table.same_as if table.same_as is not None else np.arange(count, dtype=np.int32)
        columns: dict[str, npt.NDArray[Any]] = {
            "starts": table.starts,
            "ends": table.ends,
            "names": table.names,
            "same_as": same,
            "suffix_ids": ids,
        }
        suffixes = "\0".join(table.suffixes).encode()
        checked = suffixes + b"".join(columns[field].astype(kind).tobytes() for field, kind in _ARRAYS)
        if len(checked) + len(table.blob) > _MAX_ENTRY:
            return
        head = _HEADER.pack(_MAGIC, count, len(table.blob), len(suffixes), number, zlib.crc32(checked), 0)
        head = head[:-4] + struct.pack("<I", zlib.crc32(head[:-4]))
        with contextlib.suppress(OSError):
            self.write(self._path(name), [head, checked, table.blob])

    def write(self, path: Path, parts: list[bytes | memoryview]) -> None:
        """Write a file of the cache in one step, then make room.  Raises OSError."""
        import tempfile

        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    file.write(part)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        self._make_room()

    def _make_room(self) -> None:
        """Remove the files that were not used for longest until the rest is within the limit."""
        with contextlib.suppress(OSError):
            files = []
            for entry in os.scandir(self.folder):
                with contextlib.suppress(OSError):  # another process may be making room too
                    status = entry.stat(follow_symlinks=False)
                    files.append((status.st_mtime_ns, status.st_size, entry.path))
            total = sum(size for _, size, _ in files)
            for _, size, name in sorted(files):
                if total <= self.limit_bytes:
                    break
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                total -= size


def _parse(data: mmap.mmap) -> tuple[SymbolTable, int] | None:
    """The table in a cache file; None when anything about it is wrong."""
    if len(data) < _HEADER.size:
        return None
    head = data[: _HEADER.size]
    magic, count, blob_size, suffix_size, number, crc, head_crc = _HEADER.unpack(head)
    if magic != _MAGIC or head_crc != zlib.crc32(head[:-4]):
        return None
    row = sum(np.dtype(kind).itemsize for _, kind in _ARRAYS)
    blob_at = _HEADER.size + suffix_size + count * row
    if len(data) != blob_at + blob_size:
        return None
    view = memoryview(data)
    if zlib.crc32(view[_HEADER.size : blob_at]) != crc:
        return None
    suffixes = bytes(view[_HEADER.size : _HEADER.size + suffix_size]).decode()
    offset = _HEADER.size + suffix_size
    columns = {}
    for field, kind in _ARRAYS:
        columns[field] = np.frombuffer(view, kind, count, offset)
        offset += count * np.dtype(kind).itemsize
    table = SymbolTable(
        columns["starts"],
        columns["ends"],
        columns["names"],
        view[blob_at:],
        suffixes=suffixes.split("\0") if suffixes else (),
        suffix_ids=columns["suffix_ids"],
        same_as=columns["same_as"],
    )
    return table, number
