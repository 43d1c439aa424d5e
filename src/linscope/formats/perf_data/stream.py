"""The records of a recording as a stream of scanned chunks, whatever they are wrapped in.

A file, a pipe, zstd-compressed records and a directory of per-CPU files all end here as chunks of plain records.
Memory is bounded by the chunk size: nothing of a chunk is kept once its successor is asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from linscope.abi import perf_file as pf
from linscope.binfmt.perf_records import Scanned, Scanner
from linscope.errors import FormatError, InputError, UnsupportedError

CHUNK_SIZE = 2 << 20  # bytes read at once; what is scanned is still in the cache then
_MAX_UNPACKED = (
    256 << 20
)  # bytes of tracing data, or that one compressed record may become; perf's are far smaller


class Chunk(NamedTuple):
    """Scanned records and the bytes that their offsets point into (add `base`); valid until the next."""

    buffer: memoryview
    base: int  # where the scan began in buffer
    scanned: Scanned
    position: int  # of the scan's beginning in the file; of decompressed bytes: of the record they came from


class ToolRecord(NamedTuple):
    """A record that perf itself added (type >= 64): described events, features, build-ids, AUX data..."""

    type: int
    misc: int
    body: bytes  # without the header; with the data that follow the record for TRACING_DATA; AUXTRACE data are skipped
    position: int


def _body(data: bytes | memoryview, type_: int, size: int) -> bytes:
    """What ToolRecord.body has; size: of the record itself, which of TRACING_DATA is 12, or 16 since it has padding."""
    if type_ == pf.PERF_RECORD_HEADER_TRACING_DATA:
        return bytes(data[8:12]) + bytes(data[size:])
    return bytes(data[8:])


class _BoundedBuffer:
    """What a decompressor writes to: raises OverflowError before a few bytes become gigabytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        self._size += len(data)
        if self._size > _MAX_UNPACKED:
            raise OverflowError
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        whole = b"".join(self._parts)
        self._parts, self._size = [], 0
        return whole


@dataclass
class RecordStream:
    """Iterates over the data section: yields Chunk and ToolRecord in the order of the file.

    A record that is damaged ends the stream: ``problem`` then holds the error, and everything before it was yielded.
    """

    source: BinaryIO
    start: int  # offset of the first record
    end: int | None  # offset behind the last; None: to the end of the source
    big_endian: bool
    scanner: Scanner
    where: str
    seekable: bool = True
    chunk_size: int = CHUNK_SIZE
    problem: InputError | None = None
    progress: Callable[[int], Any] | None = None  # told the position in the file
    before_scan: Callable[[], Any] | None = None  # called when records that are not perf's own come next
    _position: int = 0
    _decompressor: Any = None
    _unpacked: _BoundedBuffer = field(default_factory=_BoundedBuffer)
    _pending: bytearray = field(
        default_factory=bytearray
    )  # decompressed bytes of a record that is not whole yet

    def __iter__(self) -> Iterator[Chunk | ToolRecord]:
        self._position = self.start
        if self.seekable:
            self.source.seek(self.start)
        buffer = bytearray(self.chunk_size)
        filled = 0
        finished = False
        while not finished:
            wanted = len(buffer) - filled
            if self.end is not None:
                wanted = max(0, min(wanted, self.end - self._position - filled))
            got = self._read_into(memoryview(buffer)[filled : filled + wanted]) if wanted else 0
            finished = got == 0
            filled += got
            if self.progress:
                self.progress(self._position + filled)
            used = yield from self._consume(memoryview(buffer)[:filled])
            if used < 0:
                return
            if finished or used == filled == 0:
                break
            if used > filled:  # data of the AUX area, which nobody here reads
                self._skip(used - filled)
                self._position += used
                filled = 0
            elif used:
                self._position += used
                buffer[: filled - used] = buffer[used:filled]
                filled -= used
            elif filled == len(buffer):  # one record (with what follows it) is larger than a chunk
                buffer = buffer + bytes(len(buffer))
        if filled and self.problem is None:
            missing = (
                ""
                if self.end is None
                else f", {self.end - self._position} bytes before the end of the records"
            )
            self.problem = FormatError(
                f"the file ends inside a record{missing}", where=self.where, offset=self._position
            )
        elif self.end is not None and self._position < self.end and self.problem is None:
            self.problem = FormatError(
                "the file is shorter than its header says", where=self.where, offset=self._position
            )

    def _read_into(self, view: memoryview) -> int:
        total = 0
        while total < len(view):
            got = self.source.readinto(view[total:])  # type: ignore[attr-defined]
            if not got:
                break
            total += got
        return total

    def _skip(self, size: int) -> None:
        if self.seekable:
            self.source.seek(size, 1)
            return
        while size > 0:
            got = self.source.read(min(size, self.chunk_size))
            if not got:
                return
            size -= len(got)

    def _consume(self, data: memoryview) -> Generator[Chunk | ToolRecord, None, int]:
        """Yield what is whole in data; the generator's value is the bytes used, -1 to end the stream.

        More than len(data): the record's data go on behind it, and are to be skipped.
        """
        at = 0
        while at < len(data):
            scanned = self._scan(data, at)
            if scanned.consumed:
                yield Chunk(data, at, scanned, self._position + at)
            at += scanned.consumed
            if scanned.error:
                self.problem = FormatError(scanned.error, where=self.where, offset=self._position + at)
                return -1
            if not scanned.stopped_at:
                return at
            size, extra = self._tool_record_size(data[at:], self._position + at)
            if self.problem is not None:
                return -1
            if size == 0 or size > len(data) - at:
                return at
            yield from self._tool_record(data[at : at + size], self._position + at)
            if self.problem is not None:
                return -1
            at += size + extra
        return at

    def _scan(self, data: memoryview, at: int) -> Scanned:
        if self.before_scan:
            if len(data) - at >= 8:
                type_, _, size = struct.unpack_from(">IHH" if self.big_endian else "<IHH", data, at)
                if type_ >= pf.PERF_RECORD_USER_TYPE_START and type_ != pf.PERF_RECORD_FINISHED_ROUND and size >= 8:
                    return Scanned({}, {}, 0, 0, type_, "")
            self.before_scan()
        return self.scanner.scan(data, at)

    def _tool_record_size(self, data: memoryview, position: int) -> tuple[int, int]:
        """(bytes of the record at the start of data, bytes behind it to skip); (0, 0) if that cannot be told yet."""
        order = ">" if self.big_endian else "<"
        type_, _, size = struct.unpack_from(order + "IHH", data)
        if type_ == pf.PERF_RECORD_HEADER_TRACING_DATA:
            if len(data) < 12:
                return 0, 0
            (extra,) = struct.unpack_from(order + "I", data, 8)
            if extra > _MAX_UNPACKED or (self.end is not None and extra > self.end - position):
                self.problem = FormatError("tracing data beyond the end", where=self.where, offset=position)
            return size + (extra + 7) // 8 * 8, 0
        if type_ == pf.PERF_RECORD_AUXTRACE:
            if len(data) < 16:
                return 0, 0
            (extra,) = struct.unpack_from(order + "Q", data, 8)
            if extra > 1 << 50 or (self.end is not None and extra > self.end - position):
                self.problem = FormatError("AUX data beyond the end", where=self.where, offset=position)
            return size, extra
        return size, 0

    def _tool_record(self, data: memoryview, position: int) -> Iterator[Chunk | ToolRecord]:
        order = ">" if self.big_endian else "<"
        type_, misc, size = struct.unpack_from(order + "IHH", data)
        if type_ == pf.PERF_RECORD_COMPRESSED:
            yield from self._decompressed(data[8:size], position)
        elif type_ == pf.PERF_RECORD_COMPRESSED2:
            if size < 16:
                self.problem = FormatError(
                    "a compressed record is too short", where=self.where, offset=position
                )
                return
            (length,) = struct.unpack_from(order + "Q", data, 8)
            yield from self._decompressed(data[16 : min(size, 16 + length)], position)
        else:
            yield ToolRecord(type_, misc, _body(data, type_, size), position)

    def _decompressed(self, data: memoryview, position: int) -> Iterator[Chunk | ToolRecord]:
        import zstandard

        if self._decompressor is None:
            self._decompressor = zstandard.ZstdDecompressor().stream_writer(
                self._unpacked,  # type: ignore[arg-type]
                closefd=False,
            )
        try:
            self._decompressor.write(bytes(data))
        except zstandard.ZstdError as error:
            self.problem = FormatError(
                "compressed records are damaged", where=self.where, offset=position, why=str(error)
            )
            return
        except OverflowError:
            self.problem = UnsupportedError(
                "a compressed record that is too large", where=self.where, offset=position
            )
            return
        self._pending += self._unpacked.take()
        whole = memoryview(bytes(self._pending))
        at = 0
        while at < len(whole):
            scanned = self._scan(whole, at)
            if scanned.consumed:
                yield Chunk(whole, at, scanned, position)
            at += scanned.consumed
            if scanned.error:
                self.problem = FormatError(scanned.error, where=self.where, offset=position)
                return
            if not scanned.stopped_at:
                break
            size, extra = self._tool_record_size(whole[at:], position)
            if self.problem is not None:
                return
            if size == 0 or size + extra > len(whole) - at:
                break
            order = ">" if self.big_endian else "<"
            type_, misc, own = struct.unpack_from(order + "IHH", whole, at)
            if type_ in (pf.PERF_RECORD_COMPRESSED, pf.PERF_RECORD_COMPRESSED2):
                self.problem = FormatError(
                    "a compressed record inside of one", where=self.where, offset=position
                )
                return
            yield ToolRecord(type_, misc, _body(whole[at : at + size], type_, own), position)
            at += size + extra
        self._pending = bytearray(whole[at:])
