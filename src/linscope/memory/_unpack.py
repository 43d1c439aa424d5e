"""One compressed page at a time: zlib, LZO, snappy, zstd; a result is never longer than a page is.

Each library is imported when the first page of its kind comes.
"""

from __future__ import annotations

from collections.abc import Callable

from linscope.errors import UnsupportedError

ZLIB, LZO, SNAPPY, ZSTD = 1, 2, 4, 0x20  # DUMP_DH_COMPRESSED_* of makedumpfile's diskdump_mod.h
COMPRESSIONS = {ZLIB: "zlib", LZO: "lzo", SNAPPY: "snappy", ZSTD: "zstd"}
Unpack = Callable[[bytes, int], bytes]  # (compressed, size of a page) -> the page; raises ValueError with the reason


def find_unpacker(flags: int) -> Unpack | None:
    """The function for a page's flags, None when they name none or several.  Raises UnsupportedError without wheel."""
    maker = _MAKERS.get(flags)
    if maker is None:
        return None
    try:
        return maker()
    except ModuleNotFoundError as error:
        name = error.name or ""
        raise UnsupportedError(
            f"pages compressed with {COMPRESSIONS[flags]}", why=f"{name} is missing", next_step=f"pip install {name}"
        ) from None


def _zlib() -> Unpack:
    import zlib

    def unpack(data: bytes, size: int) -> bytes:
        stream = zlib.decompressobj()
        try:
            return _whole(stream.decompress(data, size + 1), size)
        except zlib.error as error:
            raise ValueError(str(error)) from None

    return unpack


def _lzo() -> Unpack:
    from lzallright import LZOCompressor, LZOError

    decompress = LZOCompressor.decompress

    def unpack(data: bytes, size: int) -> bytes:
        try:  # LZO makes at most 255 bytes of one, and the caller has held the input against the size of a page
            return _whole(decompress(data, size), size)
        except LZOError as error:
            reason = error.args[0] if error.args else error
            raise ValueError(f"LZO: {reason}") from None

    return unpack


def _snappy() -> Unpack:
    from cramjam import DecompressionError, snappy

    def unpack(data: bytes, size: int) -> bytes:
        page = bytearray(size)
        try:
            if snappy.decompress_raw_len(data) != size:
                raise ValueError("snappy: not a page")
            snappy.decompress_raw_into(data, page)
        except DecompressionError as error:
            raise ValueError(f"snappy: {error}") from None
        return bytes(page)

    return unpack


def _zstd() -> Unpack:
    from zstandard import ZstdDecompressor, ZstdError, frame_content_size

    decompress = ZstdDecompressor().decompress

    def unpack(data: bytes, size: int) -> bytes:
        try:  # a size in the frame's head would be allocated unseen
            if frame_content_size(data) > size:
                raise ValueError("zstd: larger than a page")
            return _whole(decompress(data, max_output_size=size), size)
        except ZstdError as error:
            raise ValueError(f"zstd: {error}") from None

    return unpack


def _whole(page: bytes, size: int) -> bytes:
    if len(page) != size:
        raise ValueError(f"{len(page)} bytes instead of a page" if len(page) < size else "more than a page")
    return page


_MAKERS: dict[int, Callable[[], Unpack]] = {ZLIB: _zlib, LZO: _lzo, SNAPPY: _snappy, ZSTD: _zstd}
