"""Helper functions that are written in Python, since no program lives by their speed: text and numbers in text.

A helper is a function (core, r1, r2, r3, r4, r5) -> r0, all unsigned 64-bit.  It may raise Fault.
Source of formats: kernel/trace/bpf_trace.c and kernel/bpf/helpers.c, bpf_bprintf_prepare.
"""

from __future__ import annotations

import ctypes

from linscope.bpf.instructions import signed32, signed64
from linscope.bpf.vm import errors as e
from linscope.bpf.vm.errors import Fault
from linscope.bpf.vm.state import HELPER_NUMBER, HELPER_TYPE

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from linscope.bpf.vm.interpreter import Interpreter
    from linscope.bpf.vm.loaded import Core

    Helper = Callable[[Core, int, int, int, int, int], int]

M64 = (1 << 64) - 1
MAX_TEXT = 1 << 20  # bytes of output kept; what comes after is counted in Output.dropped
_EINVAL, _ERANGE, _E2BIG = -22 & M64, -34 & M64, -7 & M64
_INTEGERS = "diuxXo"


class Output:
    """What programs printed with trace_printk and seq_printf."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.dropped = 0
        self._size = 0

    def add(self, text: bytes) -> None:
        """Keep a text, or count it when there are too many already."""
        if self._size + len(text) > MAX_TEXT:
            self.dropped += 1
            return
        self._size += len(text)
        self.lines.append(text.decode("utf-8", "replace"))

    def take(self) -> list[str]:
        """All texts so far, which are then forgotten."""
        lines, self.lines, self._size = self.lines, [], 0
        return lines


class Reader:
    """Memory as helpers see it: all that the program may touch, and what is known of the recorded system."""

    def __init__(self, core: Core, interpreter: Interpreter) -> None:
        self.core = core
        self._find = interpreter.find

    def read(self, address: int, size: int) -> bytes:
        """Bytes that the program may read.  Raises Fault."""
        if size and not self._find(address, size, False, self.core.state.frame):
            raise Fault(e.READ, slot=0, address=address)
        return ctypes.string_at(address, size) if size else b""

    def write(self, address: int, data: bytes) -> None:
        """Write where the program may write.  Raises Fault."""
        if data and not self._find(address, len(data), True, self.core.state.frame):
            raise Fault(e.WRITE, slot=0, address=address)
        ctypes.memmove(address, data, len(data))

    def text(self, address: int, size: int = 1024) -> bytes:
        """The text at an address up to its zero byte, as far as anybody knows it."""
        found = bytearray()
        for at in range(address, address + size):
            byte = self._known_byte(at)
            if not byte:
                break
            found.append(byte)
        return bytes(found)

    def _known_byte(self, address: int) -> int:
        for known in self.core.memory:
            if known.address <= address < known.address + known.size:
                return ctypes.string_at(known.bytes + address - known.address, 1)[0]
        if self._find(address, 1, False, self.core.state.frame):
            return ctypes.string_at(address, 1)[0]
        return 0


def format_text(reader: Reader, form: bytes, arguments: Sequence[int]) -> bytes | None:
    """The text of a format and its arguments, None when the format is none that the kernel allows."""
    out = bytearray()
    left = iter(arguments)
    at = 0
    while at < len(form):
        if form[at] != 0x25:  # "%"
            out.append(form[at])
            at += 1
            continue
        end = at + 1
        while end < len(form) and chr(form[end]) in "0123456789-+ #":
            end += 1
        flags = form[at + 1 : end].decode()
        longs = 0
        while end < len(form) and chr(form[end]) in "lz":
            longs += 1
            end += 1
        kind = chr(form[end]) if end < len(form) else ""
        end += 1
        if kind == "%":
            out += b"%"
            at = end
            continue
        value = next(left, None)
        if value is None or not kind:
            return None
        if kind in _INTEGERS:
            if kind in "di":
                value = signed64(value) if longs else signed32(value)
            elif not longs:
                value &= 0xFFFFFFFF
            out += f"%{flags}{kind}".encode() % value
        elif kind == "c":
            out.append(value & 0xFF)
        elif kind == "s":
            out += f"%{flags}s".encode() % reader.text(value)
        elif kind == "p":
            end = _pointer(reader, form, end, value, out)
        else:
            return None
        at = end
    return bytes(out)


def _pointer(reader: Reader, form: bytes, end: int, value: int, out: bytearray) -> int:
    """Print what %p and the letters after it say; gives where the format goes on."""
    suffix = form[end : end + 2].decode("latin-1")
    if suffix in ("ks", "us"):
        out += reader.text(value)
        return end + 2
    if suffix in ("I4", "i4"):
        out += ".".join(str(byte) for byte in reader.read(value, 4)).encode()
        return end + 2
    if suffix in ("I6", "i6"):
        groups = reader.read(value, 16).hex()
        joint = ":" if suffix == "I6" else ""
        out += joint.join(groups[n : n + 4] for n in range(0, 32, 4)).encode()
        return end + 2
    out += b"%016x" % value
    return end + 1 if suffix[:1] in ("K", "x", "B", "s", "S") and suffix[:1] else end


class TextHelpers:
    """The helpers of this module for one machine."""

    def __init__(self, reader: Reader, output: Output) -> None:
        self.reader = reader
        self.output = output

    def table(self) -> dict[int, Helper]:
        """Helper number -> function."""
        names = "trace_printk trace_vprintk snprintf seq_printf seq_write strtol strtoul".split()
        return {HELPER_NUMBER[name]: getattr(self, name) for name in names}

    def _values(self, address: int, size: int) -> list[int] | None:
        if size % 8 or size > 12 * 8:
            return None
        data = self.reader.read(address, size)
        return [int.from_bytes(data[n : n + 8], "little") for n in range(0, size, 8)]

    def _form(self, address: int, size: int) -> bytes:
        return self.reader.read(address, size).partition(b"\0")[0]

    def _print(self, form: bytes, values: Sequence[int] | None) -> int:
        text = None if values is None else format_text(self.reader, form, values)
        if text is None:
            return _EINVAL
        self.output.add(text)
        return len(text)

    def trace_printk(self, core: Core, form: int, size: int, a: int, c: int, d: int) -> int:
        """bpf_trace_printk(fmt, fmt_size, ...): up to three values."""
        return self._print(self._form(form, size & 0xFFFFFFFF), (a, c, d))

    def trace_vprintk(self, core: Core, form: int, size: int, data: int, data_size: int, _: int) -> int:
        """bpf_trace_vprintk(fmt, fmt_size, data, data_len)."""
        return self._print(self._form(form, size & 0xFFFFFFFF), self._values(data, data_size & 0xFFFFFFFF))

    def seq_printf(self, core: Core, seq: int, form: int, size: int, data: int, data_size: int) -> int:
        """bpf_seq_printf(seq, fmt, fmt_size, data, data_len); gives 0."""
        done = self._print(self._form(form, size & 0xFFFFFFFF), self._values(data, data_size & 0xFFFFFFFF))
        return done if done > MAX_TEXT else 0

    def seq_write(self, core: Core, seq: int, data: int, size: int, *_: int) -> int:
        """bpf_seq_write(seq, data, len)."""
        self.output.add(self.reader.read(data, size & 0xFFFFFFFF))
        return 0

    def snprintf(self, core: Core, to: int, size: int, form: int, data: int, data_size: int) -> int:
        """bpf_snprintf(str, str_size, fmt, data, data_len); gives the whole length with the zero byte."""
        values = self._values(data, data_size & 0xFFFFFFFF)
        size &= 0xFFFFFFFF
        text = None if values is None else format_text(self.reader, self.reader.text(form), values)
        if text is None:
            return _EINVAL
        if size:
            self.reader.write(to, text[: size - 1] + b"\0")
        return len(text) + 1

    def _number(self, address: int, size: int, flags: int, to: int, signed: bool) -> int:
        base = flags & 31
        if flags & ~31 or base not in (0, 8, 10, 16):
            return _EINVAL
        text = self.reader.read(address, size & 0xFFFFFFFF).partition(b"\0")[0][:63]
        rest = text.lstrip(b" \t\n\v\f\r")
        negative = rest[:1] == b"-" and signed
        digits = rest[negative:]
        skipped = len(text) - len(digits)
        hexadecimal = digits[:2].lower() == b"0x"
        if base == 0:
            base = 16 if hexadecimal else 8 if digits[:1] == b"0" else 10
        if base == 16 and hexadecimal:
            digits = digits[2:]
            skipped += 2
        length = 0
        allowed = b"0123456789abcdef"[:base]
        while length < len(digits) and digits[length : length + 1].lower() in [bytes((c,)) for c in allowed]:
            length += 1
        if not length:
            return _EINVAL
        value = int(digits[:length], base) * (-1 if negative else 1)
        if not (-(1 << 63) <= value < 1 << 63 if signed else value <= M64):
            return _ERANGE
        self.reader.write(to, (value & M64).to_bytes(8, "little"))
        return skipped + length

    def strtol(self, core: Core, text: int, size: int, flags: int, to: int, _: int) -> int:
        """bpf_strtol(buf, buf_len, flags, res): characters consumed, or an error."""
        return self._number(text, size, flags, to, True)

    def strtoul(self, core: Core, text: int, size: int, flags: int, to: int, _: int) -> int:
        """bpf_strtoul(buf, buf_len, flags, res): characters consumed, or an error."""
        return self._number(text, size, flags, to, False)


def native_pointer(core: Core, helper: Helper) -> ctypes._CFunctionType:
    """A C function that calls a helper written in Python; Fault becomes the fault of the record."""
    state = core.state

    def call(_: int, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        state.fault, state.fault_address = e.HELPER_FAILED, 0  # stays when the helper raises something else
        try:
            result = helper(core, r1, r2, r3, r4, r5) & M64
        except Fault as fault:
            state.fault, state.fault_address = fault.code, fault.address
            return 0
        state.fault = 0
        return result

    return HELPER_TYPE(call)
