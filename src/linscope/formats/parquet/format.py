"""Tables of a recording as an entry of the table of formats."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from linscope.columns.profile import Profile
    from linscope.contracts import ReadOptions

_MAGIC = b"PAR1"


class Parquet:
    """What linscope export --to parquet writes: here one of its tables, ``read_tables`` reads a folder of them."""

    def detect(self, head: bytes) -> bool:
        """True if head, the first bytes of a file, is that of Parquet."""
        return head.startswith(_MAGIC)

    def read(self, source: BinaryIO, options: ReadOptions) -> Profile:
        """The samples of one table.  Raises FormatError: it is not one of a recording."""
        import io

        from linscope.formats.parquet.profile import read_profile
        from linscope.formats.parquet.reader import ParquetRecording

        whole = source if source.seekable() else io.BytesIO(source.read())
        return read_profile(ParquetRecording(options.where, whole), options)


def is_folder_of_tables(path: str) -> bool:
    """Whether a folder has tables of a recording."""
    with os.scandir(path) as entries:
        return any(one.name == "events" or one.name.endswith(".parquet") for one in entries)


def read_tables(path: str, options: ReadOptions) -> Profile:
    """A whole folder.  Raises FormatError."""
    from linscope.formats.parquet.profile import read_profile
    from linscope.formats.parquet.reader import ParquetRecording

    return read_profile(ParquetRecording(path), options)


PARQUET = Parquet()
