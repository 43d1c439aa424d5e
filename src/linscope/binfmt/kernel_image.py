"""Kernel images: the vmlinux inside a bzImage.

Source: Documentation/arch/x86/boot.rst, "payload_offset" and "payload_length" (boot protocol 2.08 and newer).
"""

from __future__ import annotations

import struct

from linscope.errors import FormatError, UnsupportedError

_SETUP_SECTORS, _MAGIC, _VERSION, _PAYLOAD = 0x1F1, 0x202, 0x206, 0x248
_MAX_SIZE = 1 << 30  # bytes; a vmlinux without debugging information has 20 to 100 MB


def extract_vmlinux(image: bytes, *, where: str = "") -> bytes:
    """The ELF image of the kernel in a bzImage.

    Raises FormatError when it is none or damaged, UnsupportedError when it is compressed as we cannot read (LZ4, LZO).
    """
    if len(image) < _PAYLOAD + 8 or image[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise FormatError("not a kernel image", where=where, offset=_MAGIC)
    if struct.unpack_from("<H", image, _VERSION)[0] < 0x0208:
        raise UnsupportedError("kernel image of before v2.6.26", where=where, offset=_VERSION)
    offset, size = struct.unpack_from("<II", image, _PAYLOAD)
    start = (image[_SETUP_SECTORS] + 1) * 512 + offset
    payload = image[start : start + size]
    if len(payload) != size or size < 8:
        raise FormatError("kernel image cut short", where=where, offset=start)
    data = _decompress(payload, start, where)
    if data[:4] != b"\x7fELF":
        raise FormatError("the kernel image holds no ELF file", where=where, offset=start)
    return data


def _decompress(payload: bytes, start: int, where: str) -> bytes:
    """The payload's bytes; what stands behind the compressor's end (the size, as u32) is passed over."""
    if payload.startswith(b"\x7fELF"):
        return payload
    for magic, decompress in _METHODS:
        if payload.startswith(magic):
            try:
                return decompress(payload)
            except (OSError, ValueError, EOFError) as error:
                raise FormatError("damaged kernel image", where=where, offset=start, why=str(error)) from error
    raise UnsupportedError("kernel image compressed in a way that we do not read", where=where, offset=start)


def _gzip(payload: bytes) -> bytes:
    import zlib

    stream = zlib.decompressobj(31)
    try:
        return _whole(stream.decompress(payload, _MAX_SIZE), stream.eof)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _xz(payload: bytes) -> bytes:
    import lzma

    stream = lzma.LZMADecompressor()
    try:
        return _whole(stream.decompress(payload, _MAX_SIZE), stream.eof)
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from error


def _bzip2(payload: bytes) -> bytes:
    import bz2

    stream = bz2.BZ2Decompressor()
    return _whole(stream.decompress(payload, _MAX_SIZE), stream.eof)


def _zstd(payload: bytes) -> bytes:
    import zstandard

    stream = zstandard.ZstdDecompressor().decompressobj()
    try:
        return _whole(stream.decompress(payload), stream.eof)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _whole(data: bytes, ended: bool) -> bytes:
    if not ended:
        raise ValueError("the compressed data does not end")
    return data


_METHODS = (
    (b"\x1f\x8b", _gzip),
    (b"\xfd7zXZ", _xz),
    (b"\x5d\x00\x00", _xz),
    (b"BZh", _bzip2),
    (b"\x28\xb5\x2f\xfd", _zstd),
)
