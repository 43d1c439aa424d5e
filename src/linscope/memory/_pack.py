"""Many pages compressed at once: zstd, zlib, LZO; the counterpart of _unpack.

Each library is imported when it is asked for.  zstd takes 10 us a page, zlib 34, lzallright's LZO 72.  zstd's library
shares one call out among threads; pages are too small for threads of Python's to gain anything.
"""

from __future__ import annotations

from collections.abc import Callable

from linscope.errors import UnsupportedError, UsageError
from linscope.memory._unpack import LZO, ZLIB, ZSTD

Pack = Callable[[list[bytes]], list[bytes]]
COMPRESSIONS = {"zstd": ZSTD, "zlib": ZLIB, "lzo": LZO, "none": 0}
_ZLIB_LEVEL, _ZSTD_LEVEL = 1, 1  # higher ones take twice the time for 3 % of the size


def find_packer(name: str, threads: int) -> tuple[int, Pack]:
    """(flag of the pages, function) of a compression.

    threads: at most so many at once.  Raises UsageError for an unknown name, UnsupportedError without its library.
    """
    if name not in COMPRESSIONS:
        raise UsageError(f"no compression {name!r}", next_step=", ".join(COMPRESSIONS))
    try:
        return COMPRESSIONS[name], _MAKERS[name](threads)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        raise UnsupportedError(
            f"compression {name}", why=f"{missing} is missing", next_step=f"pip install {missing}, or -c zlib"
        ) from None


def _none(_: int) -> Pack:
    return list


def _zlib(_: int) -> Pack:
    import zlib

    return lambda pages: [zlib.compress(page, _ZLIB_LEVEL) for page in pages]


def _lzo(_: int) -> Pack:
    from lzallright import LZOCompressor

    compress = LZOCompressor().compress
    return lambda pages: [compress(page) for page in pages]


def _zstd(threads: int) -> Pack:
    from zstandard import ZstdCompressor

    compressor = ZstdCompressor(level=_ZSTD_LEVEL)
    if not hasattr(compressor, "multi_compress_to_buffer"):  # not in its backend for PyPy
        return lambda pages: [compressor.compress(page) for page in pages]

    def pack(pages: list[bytes]) -> list[bytes]:
        if not pages:
            return []
        packed = compressor.multi_compress_to_buffer([*pages], threads=threads)
        return [packed[number].tobytes() for number in range(len(packed))]

    return pack


_MAKERS: dict[str, Callable[[int], Pack]] = {"zstd": _zstd, "zlib": _zlib, "lzo": _lzo, "none": _none}
