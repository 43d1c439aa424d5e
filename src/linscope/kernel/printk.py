"""The kernel's log, out of its ring buffer.

Source: kernel/printk/printk_ringbuffer.h and .c: a ring of descriptors whose state is in the top two bits of an atomic
number, a ring of as many infos, and one of text whose blocks begin with the number of their descriptor.  Since v5.10
(896fbe20b4e2); before it, records lie one behind the other in __log_buf (struct printk_log).
"""

from __future__ import annotations

import struct

from linscope.errors import FormatError, MemoryFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_COMMITTED, _FINALIZED = 1, 2  # desc_committed, desc_finalized
_ID_MASK = (1 << 62) - 1
_NO_DATA = 1  # lpos of a record without text, or that lost it
_MOST = 1 << 22


class Message(NamedTuple):
    """One record."""

    seq: int
    time_ns: int  # since boot
    level: int  # 0 emergency ... 7 debug
    facility: int
    caller: int  # a task's number, or a CPU's with the top bit
    text: str  # may have several lines
    device: tuple[tuple[str, str], ...] = ()  # names and values that drivers gave: SUBSYSTEM, DEVICE


def iter_messages(kernel: Kernel) -> Iterator[Message]:
    """All records, oldest first.  Raises FormatError, MemoryFault, UnknownNameError."""
    if kernel.find_symbol("prb") is None:
        yield from _old_messages(kernel)
        return
    ring = kernel.variable("prb").deref_()
    descriptors = ring.desc_ring
    bits = int(descriptors.count_bits)
    if not 0 < bits <= 22:
        raise FormatError(f"the log has 2**{bits} descriptors")
    count = 1 << bits
    text_bits = int(ring.text_data_ring.size_bits)
    if not 0 < text_bits <= 30:
        raise FormatError(f"the log's text has 2**{text_bits} bytes")
    yield from _Ring(kernel, ring, count, 1 << text_bits).messages(
        int(descriptors.tail_id.counter) & _ID_MASK, int(descriptors.head_id.counter) & _ID_MASK
    )


class _Ring:
    """The three rings, read at once."""

    def __init__(self, kernel: Kernel, ring: Object, count: int, text_size: int) -> None:
        self.kernel, self.count, self.text_size = kernel, count, text_size
        types = kernel.types
        descriptors = ring.desc_ring
        self.desc_size = types.get("struct prb_desc").size
        self.info_size = types.get("struct printk_info").size
        self.descs = kernel.memory.read(int(descriptors.descs), count * self.desc_size)
        self.infos_at = int(descriptors.infos)
        self.infos = kernel.memory.read(self.infos_at, count * self.info_size)
        self.text_at = int(ring.text_data_ring.data)
        self.state_at = types.offset("struct prb_desc", "state_var")
        self.begin_at = types.offset("struct prb_desc", "text_blk_lpos.begin")
        info = "struct printk_info"
        self.device_at = types.offset(info, "dev_info") if types.has_member(info, "dev_info") else None
        self.next_at = types.offset("struct prb_desc", "text_blk_lpos.next")

    def messages(self, tail: int, head: int) -> Iterator[Message]:
        number = tail
        for _ in range(self.count):
            found = self.message(number)
            if found is not None:
                yield found
            if number == head:
                return
            number = (number + 1) & _ID_MASK

    def message(self, number: int) -> Message | None:
        place = number % self.count
        at = place * self.desc_size
        (state,) = struct.unpack_from("<Q", self.descs, at + self.state_at)
        if state >> 62 not in (_COMMITTED, _FINALIZED) or state & _ID_MASK != number:
            return None
        (begin,) = struct.unpack_from("<Q", self.descs, at + self.begin_at)
        (behind,) = struct.unpack_from("<Q", self.descs, at + self.next_at)
        data = self.infos[place * self.info_size : (place + 1) * self.info_size]
        # struct printk_info: u64 seq, u64 ts_nsec, u16 text_len, u8 facility, u8 flags:5 level:3, u32 caller_id
        seq, time_ns, length, facility, flags, caller = struct.unpack_from("<QQHBBI", data)
        text = b""
        if not begin & _NO_DATA:
            start = begin % self.text_size
            if begin // self.text_size != behind // self.text_size and behind % self.text_size:
                start = 0  # a block that did not fit to the end lies at the beginning
            try:
                text = self.kernel.memory.read(self.text_at + start + 8, min(length, self.text_size))
            except MemoryFault as fault:
                text = f"<{fault}>".encode()
        return Message(seq, time_ns, flags >> 5, facility, caller, text.decode("utf-8", "replace"), self._device(data))

    def _device(self, info: bytes) -> tuple[tuple[str, str], ...]:
        """What drivers gave: struct dev_printk_info, subsystem[16] and device[48]; since v5.10."""
        if self.device_at is None:
            return ()
        parts = (("SUBSYSTEM", info[self.device_at :][:16]), ("DEVICE", info[self.device_at + 16 :][:48]))
        texts = ((name, part.partition(b"\0")[0].decode("utf-8", "replace")) for name, part in parts)
        return tuple((name, text) for name, text in texts if text)


def _old_messages(kernel: Kernel) -> Iterator[Message]:
    """Before v5.10."""
    kernel.types.get("struct printk_log")
    size = kernel.u32(kernel.symbol("log_buf_len"))
    start = kernel.u64(kernel.symbol("log_buf"))
    first, behind = (kernel.u32(kernel.symbol(name)) for name in ("log_first_idx", "log_next_idx"))
    seq = kernel.u64(kernel.symbol("log_first_seq"))
    at = first
    for _ in range(_MOST):
        if at == behind:
            return
        if at >= size:
            raise FormatError(f"a record of the log lies beyond its buffer, at {at:#x}")
        time_ns, length, text_length, _, facility, flags = struct.unpack("<QHHHBB", kernel.memory.read(start + at, 16))
        if not length:  # the buffer's end: it goes on at its beginning
            at = 0
            continue
        text = kernel.memory.read(start + at + 16, text_length).decode("utf-8", "replace")
        yield Message(seq, time_ns, flags >> 5, facility, 0, text)
        seq += 1
        at += length
