"""What has to be undone in the kernel, kept where it outlives us.

Each change of something that other processes see is written to a journal *before* it is made. An orderly end undoes
the journal, last change first; after kill -9 the next start, or `linscope doctor --clean`, finds journals whose owner
is gone (nobody holds the file's lock) and undoes them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from linscope.errors import LinscopeError, PermissionDenied
from linscope.sys.tracefs import find_tracefs, write_text

FOLDER = "/run/linscope"  # a tmpfs, as short-lived as the kernel's state itself
_SUFFIX = ".journal"
_BUSY_SECONDS = 1.0  # a reader that has just closed may hold an instance for a moment


class Journal:
    """The open journal of this process; ``with Journal() as journal: journal.add(...)``."""

    def __init__(self, folder: str = FOLDER) -> None:
        """folder: where journals lie.  Raises PermissionDenied when it cannot be written."""
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        try:
            os.makedirs(folder, mode=0o755, exist_ok=True)  # noqa: PTH103 - pathlib costs start-up time
            self.path = f"{folder}/{os.getpid()}-{time.monotonic_ns()}{_SUFFIX}"
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND, 0o600)
        except OSError as error:
            what = "changes of the kernel's tracing cannot be noted"
            raise PermissionDenied(what, errno=error.errno or 0, where=folder, next_step="run as root") from None
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, do: str, file: str, **fields: Any) -> None:
        """Note how to undo a change, before it is made.

        do: "write" (fields text, truncate), "rmdir", or "remove" (a folder of our own with all that is in it);
        file: relative to tracefs, or absolute.
        """
        entry = {"do": do, "file": file, **fields}
        self.entries.append(entry)
        os.write(self._fd, json.dumps(entry).encode() + b"\n")

    def forget(self) -> None:
        """The last change was not made after all."""
        self.entries.pop()
        self._rewrite()

    def keep(self) -> None:
        """All changes so far are to stay."""
        self.entries.clear()
        self._rewrite()

    def close(self) -> list[str]:
        """Undo everything; returns what could not be undone, which stays noted."""
        if self._fd < 0:
            return []
        left, complaints = undo(self.entries)
        self.entries = left
        if left:
            self._rewrite()
        else:
            os.unlink(self.path)
        os.close(self._fd)
        self._fd = -1
        return complaints

    def _rewrite(self) -> None:
        os.ftruncate(self._fd, 0)
        for entry in self.entries:
            os.write(self._fd, json.dumps(entry).encode() + b"\n")


@contextlib.contextmanager
def scratch_folder() -> Iterator[str]:
    """A new folder in the temporary directory, which is gone at the end, and at the next start after a kill.

    Raises PermissionDenied, OSError.
    """
    from tempfile import gettempdir

    with Journal() as journal:
        folder = f"{gettempdir()}/linscope-{os.getpid()}-{time.monotonic_ns()}"
        journal.add("remove", folder)
        try:
            os.mkdir(folder, 0o700)  # noqa: PTH102 - pathlib costs start-up time
        except OSError:
            journal.forget()
            raise
        yield folder


def undo(entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Undo changes, the last first; what is held by an earlier one once more after that.

    Returns (those that are left, why).
    """
    left, complaints = _undo_pass(entries)
    while left and len(left) < len(entries):
        entries = left
        left, complaints = _undo_pass(entries)
    return left, complaints


def _undo_pass(entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    left, complaints = [], []
    for entry in reversed(entries):
        try:
            _undo_one(entry)
        except FileNotFoundError:
            continue  # gone with what held it
        except (OSError, LinscopeError) as error:
            left.append(entry)
            complaints.append(f"{entry['file']}: {error.strerror if isinstance(error, OSError) else error}")
    left.reverse()
    return left, complaints


def _undo_one(entry: dict[str, Any]) -> None:
    file = entry["file"]
    path = file if file.startswith("/") else f"{find_tracefs()}/{file}"
    if entry["do"] == "rmdir":
        remove_folder(path)
    elif entry["do"] == "remove":
        import shutil

        shutil.rmtree(path)
    elif "lines" in entry:  # files that take one thing at a time
        if entry.get("truncate"):
            write_text(path, "", truncate=True)
        for line in entry["lines"]:
            write_text(path, line + "\n")
    else:
        write_text(path, entry["text"], truncate=entry.get("truncate", False))


def remove_folder(path: str) -> None:
    """rmdir, tried again for a second while a reader lets go of it.  Raises OSError."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            os.rmdir(path)  # noqa: PTH106
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def iter_abandoned(folder: str = FOLDER) -> Iterator[tuple[str, int]]:
    """(path, locked descriptor) of journals whose owner is gone; the descriptor is closed afterwards."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return
    for name in names:
        if not name.endswith(_SUFFIX):
            continue
        path = f"{folder}/{name}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_nlink:  # else its owner has just ended
                    yield path, fd
        finally:
            os.close(fd)


def clean(folder: str = FOLDER) -> tuple[list[str], list[str]]:
    """Undo what dead processes left.  Returns (what was undone, what could not be and why)."""
    done: list[str] = []
    complaints: list[str] = []
    for path, fd in iter_abandoned(folder):
        entries = []
        with os.fdopen(os.dup(fd), encoding="utf-8") as file:
            for line in file:
                with contextlib.suppress(ValueError):  # cut short by the kill: that change was not made
                    entries.append(json.loads(line))
        left, why = undo(entries)
        complaints += why
        done += [entry["file"] for entry in entries if entry not in left]
        if not left:
            os.unlink(path)
    return done, complaints
