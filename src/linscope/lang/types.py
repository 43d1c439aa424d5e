"""The types of values in tracing programs, with the layout that their bytes have in maps and in events.

A scalar (``is_scalar``) lives in a register: 64 bits, sign-extended when the type is signed, zero-extended else.  All
other values live in memory, ``size`` bytes.  Integers are little-endian; a struct's fields have C's layout.
"""

from __future__ import annotations

from linscope.lang.nodes import Node

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

# address spaces of pointers; ANY: told from the address itself when it is read
KERNEL = "kernel"
USER = "user"
ANY = "any"


class Type(Node):
    """Any type.  size and align in bytes."""

    _size = 8
    _scalar = True
    signed = False

    @property
    def size(self) -> int:
        """Bytes of a value in memory."""
        return self._size

    @property
    def align(self) -> int:
        """Bytes that its address is a multiple of."""
        return max(min(self.size, 8), 1) if self._scalar else 1

    @property
    def is_scalar(self) -> bool:
        """Whether a value is held in a register."""
        return self._scalar


def _look_up(node: Node, name: str, wanted: str) -> Type:
    """What ``lazy`` left for later; kept once it is found."""
    find = node.__dict__.get("_find")
    if name != wanted or find is None:
        raise AttributeError(name)
    found: Type = find()
    node.__dict__[name] = found
    return found


class Void(Type):
    """No value: of a call that gives none; of a field whose type cannot be held (float), printed as null."""

    width: int = 0

    @property
    def size(self) -> int:
        """Bytes that are skipped in a struct."""
        return self.width


class Int(Type):
    """An integer of ``bits``/8 bytes.  name: how C calls it, "" when it has no name of its own."""

    width: int  # bytes: 1, 2, 4 or 8
    signed: bool = True
    name: str = ""

    @property
    def size(self) -> int:
        """1, 2, 4 or 8."""
        return self.width

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Int) and other.width == self.width and other.signed == self.signed

    __hash__ = object.__hash__


class Bool(Type):
    """true or false: one byte."""

    _size = 1


class Enum(Type):
    """An enum of C: an integer whose values have names."""

    name: str
    width: int
    signed: bool
    values: dict[int, str]

    @property
    def size(self) -> int:
        """1, 2, 4 or 8."""
        return self.width


class Pointer(Type):
    """An address.  target: what is there (Void() for void *)."""

    target: Type
    space: str = ANY

    @classmethod
    def lazy(cls, find: Callable[[], Type], space: str) -> Pointer:
        """A pointer whose target is looked up when it is first asked for."""
        made = cls.__new__(cls)
        made.__dict__.update(space=space, _find=find)
        return made

    def __getattr__(self, name: str) -> Type:
        """The target that was not looked up yet."""
        return _look_up(self, name, "target")


class Array(Type):
    """``count`` elements; count 0 at the end of a struct: as many as there are."""

    _scalar = False
    element: Type
    count: int

    @property
    def size(self) -> int:
        """Bytes of all elements."""
        return self.element.size * self.count

    @property
    def align(self) -> int:
        """That of an element."""
        return self.element.align


class String(Type):
    """Characters up to a NUL; what is behind the NUL is NUL too.  size includes at least one NUL.

    limit: the value was cut by max_strlen when it has this many characters (0: it never is).
    """

    _scalar = False
    width: int
    limit: int = 0

    @property
    def size(self) -> int:
        """Bytes with the NUL."""
        return self.width

    def __eq__(self, other: object) -> bool:
        return isinstance(other, String) and other.width == self.width

    __hash__ = object.__hash__


class Buffer(Type):
    """Bytes: a u32 with their number, then room for ``capacity``; what is behind them is zero."""

    _scalar = False
    capacity: int

    @property
    def size(self) -> int:
        """Bytes with the length in front."""
        return 4 + self.capacity

    @property
    def align(self) -> int:
        """That of the length."""
        return 4


class Field(Node):
    """A field of a struct.  bit_offset counts from offset's lowest bit; bit_size 0: no bit field."""

    name: str
    type: Type
    offset: int  # bytes from the struct's start
    bit_offset: int = 0
    bit_size: int = 0
    location: str = ""  # of a tracepoint's field: "" in place, "data_loc" or "rel_loc"

    @classmethod
    def lazy(cls, name: str, find: Callable[[], Type], offset: int) -> Field:
        """A field whose type is looked up when it is first asked for."""
        made = cls.__new__(cls)
        made.__dict__.update(name=name, offset=offset, _find=find)
        return made

    def __getattr__(self, name: str) -> Type:
        """The type that was not looked up yet."""
        return _look_up(self, name, "type")


class Struct(Type):
    """A struct or union (``tag``).  Its fields are read when they are first asked for."""

    _scalar = False
    name: str  # "" for one without a name
    width: int
    read_fields: Callable[[], list[Field]]
    tag: str = "struct"
    _fields_read: list[Field] | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.width

    @property
    def align(self) -> int:
        """Of the widest field; 8 at most."""
        return max((field.type.align for field in self.fields), default=1)

    @property
    def fields(self) -> list[Field]:
        """All, in order; those of structs without a name are not pulled up (see find)."""
        if self._fields_read is None:
            self._fields_read = self.read_fields()
        return self._fields_read

    def find(self, name: str) -> Field | None:
        """The field of a name, also inside structs and unions without a name, its offset from this struct's start."""
        for field in self.fields:
            if field.name == name:
                return field
            if not field.name and isinstance(field.type, Struct):
                inner = field.type.find(name)
                if inner is not None:
                    offset = field.offset + inner.offset
                    return Field(inner.name, inner.type, offset, inner.bit_offset, inner.bit_size, inner.location)
        return None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Struct) or (self.tag, self.name, self.width) != (other.tag, other.name, other.width):
            return False
        return bool(self.name) or self is other or self.fields == other.fields

    __hash__ = object.__hash__


class Tuple(Type):
    """Values side by side, with C's layout.  names: of a record, one each; () for a tuple."""

    _scalar = False
    elements: tuple[Type, ...]
    names: tuple[str, ...] = ()

    @property
    def offsets(self) -> list[int]:
        """Bytes from the start, of each element."""
        found = []
        at = 0
        for element in self.elements:
            at = round_up(at, element.align)
            found.append(at)
            at += element.size
        return found

    @property
    def size(self) -> int:
        """Bytes, with what is empty behind the last."""
        if not self.elements:
            return 0
        return round_up(self.offsets[-1] + self.elements[-1].size, self.align)

    @property
    def align(self) -> int:
        """That of the element that needs most."""
        return max((element.align for element in self.elements), default=1)


def round_up(value: int, to: int) -> int:
    """The next multiple, value itself if it is one."""
    return (value + to - 1) // to * to


# -- values that are a number in the kernel and a text when printed


class KernelSymbol(Type):
    """An address in the kernel (8 bytes), printed as its symbol: ksym(), func of a kprobe."""


class UserSymbol(Type):
    """An address of a process, printed as its symbol: u64 address, u32 pid (tgid), u32 zero."""

    _scalar = False
    _size = 16

    @property
    def align(self) -> int:
        """That of the address."""
        return 8


class Stack(Type):
    """A stack: low 32 bits its number in the stack map, high 32 bits the tgid of a user stack (0 for the kernel's).

    A negative number is an errno.  mode: bpftrace, perf, raw or build_id; depth: most frames.
    """

    kind: str  # KERNEL or USER
    mode: str
    depth: int


class Timestamp(Type):
    """Nanoseconds of CLOCK_MONOTONIC (or of ``clock``: monotonic, boot, tai, sw_tai), printed by strftime."""

    format: str
    clock: str = "monotonic"


class UserName(Type):
    """A uid, printed as the user's name."""


class CgroupPath(Type):
    """A cgroup's id, printed as its paths (hierarchies that match ``pattern``, "" for all)."""

    pattern: str = ""


class ErrorText(Type):
    """An errno (positive), printed as strerror's text."""


class SyscallName(Type):
    """A system call's number, printed as its name."""


class SignalName(Type):
    """A signal's number, printed as its name."""


class ProbeName(Type):
    """A number in ``names``: which probe this is, or its function's name."""

    names: tuple[str, ...]


class GfpFlags(Type):
    """Allocation flags, printed by their names."""


class Inet(Type):
    """An IP address: u32 family (2 or 10), then 16 bytes of address (4 of them for IPv4)."""

    _scalar = False
    _size = 20

    @property
    def align(self) -> int:
        """That of the family."""
        return 4


class Mac(Type):
    """A MAC address: 6 bytes."""

    _scalar = False
    _size = 6


# -- values over recordings, which may not have them


class Recorded(Type):
    """A value of ``inner``, then, at the next multiple of 8, a u64 that is not 0 where it was not recorded.

    Of a tuple its bits tell the elements that were not, the first in the lowest.
    """

    _scalar = False
    inner: Type

    @property
    def mask_offset(self) -> int:
        """Where the u64 lies."""
        return round_up(self.inner.size, 8)

    @property
    def size(self) -> int:
        """Bytes of both."""
        return self.mask_offset + 8

    @property
    def align(self) -> int:
        """That of the u64."""
        return 8


class Unrecorded(Type):
    """A value of ``inner`` that is not known: its bytes, in the place of one, tell nothing."""

    _scalar = False
    inner: Type

    @property
    def size(self) -> int:
        """Bytes in its place."""
        return self.inner.size

    @property
    def align(self) -> int:
        """That of the value."""
        return self.inner.align


# -- values of maps that add up, one value for each CPU


class Aggregation(Type):
    """What a map holds of all values that it was given; read back as an integer."""

    _scalar = False

    @property
    def align(self) -> int:
        """That of the counters."""
        return 8


class Count(Aggregation):
    """count(): u64."""


class Sum(Aggregation):
    """sum(): 64 bits."""

    signed: bool


class Extreme(Aggregation):
    """min() and max(): the value (64 bits), then a u64 that is not zero once there is one."""

    _size = 16
    word: str  # min or max
    signed: bool


class Average(Aggregation):
    """avg() and stats(): the total (64 bits), then a u64 count."""

    _size = 16
    word: str  # avg or stats
    signed: bool


class Histogram(Aggregation):
    """hist(): u64 counts by bucket; see buckets.py.  bits: each power of two is split in 2**bits."""

    bits: int


class LinearHistogram(Aggregation):
    """lhist(): u64 counts; bucket 0 is below least, the last is from most on."""

    least: int
    most: int
    step: int


class TimeSeries(Aggregation):
    """tseries(): by ``epoch % intervals`` one struct: the value (64 bits), u64 count, u64 epoch (ns // interval_ns)."""

    _size = 24
    interval_ns: int
    intervals: int
    word: str  # "" (last value), avg, max, min, sum
    signed: bool


# -- names that everybody uses

INT8, INT16, INT32, INT64 = (Int(width, True) for width in (1, 2, 4, 8))
UINT8, UINT16, UINT32, UINT64 = (Int(width, False) for width in (1, 2, 4, 8))
BOOL = Bool()
VOID = Void()
COMM = String(16)
