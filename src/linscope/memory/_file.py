"""The files of dumps: bytes at offsets, read when they are asked for and never beyond what is there.

Read by pread and not mapped: a dump that shrinks or whose disk fails is an error then, and not the signal SIGBUS.
"""

from __future__ import annotations

import os
import stat

from linscope.errors import FormatError, UnsupportedError


class DumpFile:
    """An open regular file or block device (``/proc/kcore`` too)."""

    is_cut = False  # only forms with an end of their own can tell

    def __init__(self, path: str, *, where: str = "") -> None:
        """where: its name in messages.  Raises OSError, or UnsupportedError for what is no file."""
        self.path = path
        self.where = where or path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a FIFO must not hang
        try:
            mode = os.fstat(self._fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise UnsupportedError("neither a file nor a block device", where=self.where)
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def peek(self, offset: int, size: int) -> bytes:
        """Up to size bytes at an offset: fewer, or none, where the file ends or cannot be read."""
        if not 0 <= offset < self.size or size <= 0:
            return b""
        try:
            data = os.pread(self._fd, min(size, self.size - offset), offset)
            while len(data) < size and offset + len(data) < self.size:  # a signal, or more than 2 GB
                more = os.pread(self._fd, min(size, self.size - offset) - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError:
            return b""
        return data

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Exactly size bytes.  Raises FormatError, which names what was looked for, when they are not there."""
        if size < 0 or offset + size > self.size:
            raise FormatError(f"{what} beyond the end of the file", where=self.where, offset=offset)
        data = self.peek(offset, size)
        if len(data) != size:
            raise FormatError(f"cannot read {what}", where=self.where, offset=offset)
        return data
