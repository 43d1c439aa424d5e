"""The typed intermediate form of tracing programs: a tree, lowered from a language, compiled to eBPF by ``codegen``.

Names, macros, implicit conversions and constants are resolved; every expression has a ``type``.  Scalars are 64-bit
register values in the canonical form of their type (see types.py); all others are ``type.size`` bytes in memory that
nobody changes while the expression is in use.  Evaluation is left to right.  ``span`` is the place in the script, for
errors and for the verifier's explanations; (0, 0) when there is none.
"""

from __future__ import annotations

from linscope.lang.nodes import Node
from linscope.lang.types import Type

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.probe import Probe

# -- what is declared


class Variable(Node):
    """A variable of a program: its own storage, zero at first."""

    name: str
    type: Type
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Map(Node):
    """A map of the script.  key None: one value only (scalar).

    kind: "hash" unless declared (lruhash, percpuhash, percpulruhash); value an Aggregation: always one per CPU.
    A map whose value is a Histogram, LinearHistogram or TimeSeries has one entry for each bucket: see unit.py.
    """

    name: str  # with its @
    key: Type | None
    value: Type
    kind: str = "hash"
    entries: int = 4096
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Event(Node):
    """What a program tells user space: kind says what is to be done with the values.  See unit.py for the bytes.

    kinds: printf errorf warnf cat system (format: the text), print (one value), print_map clear zero (map; the values
    of print_map are top and div), time (format), join (format: the delimiter; the values are strings), exit (value:
    the code), unwatch (value: the address), helper_error (format: the helper's name; value: its signed result),
    runtime_error (format: the message), skboutput (see PacketOutput).
    """

    kind: str
    values: tuple[Type, ...] = ()
    format: bytes = b""
    map: Map | None = None
    span: tuple[int, int] = (0, 0)
    within: tuple[tuple[int, int], ...] = ()  # spans of the macro calls around it, innermost first
    __eq__ = object.__eq__
    __hash__ = object.__hash__


# -- expressions


class Expression(Node):
    """Any expression."""

    type: Type
    span = (0, 0)


class Number(Expression):
    """A constant scalar; value in the canonical form of its type (negative for a negative signed one)."""

    value: int


class Bytes(Expression):
    """A constant in memory, at most type.size bytes; the rest is zero."""

    data: bytes


class Get(Expression):
    """The value of a variable."""

    variable: Variable


class Context(Expression):
    """The program's context: a pointer.  Only an argument of helpers, or of FromContext-like loads by Load."""


class FromContext(Expression):
    """type.size bytes of the context at a constant offset, by direct loads."""

    offset: int


class Load(Expression):
    """type.size bytes at an address, by a probe_read helper; a fault gives zeros and a helper_error event.

    space: KERNEL, USER, ANY (decided from the address).  failed: is set to 1 by a fault, else to 0 (as of its kin).
    """

    address: Expression
    space: str
    failed: Variable | None = None


class LoadString(Expression):
    """The characters at an address up to a NUL, at most type.size - 1 and at most limit (None: no other limit)."""

    address: Expression
    space: str
    limit: Expression | None = None
    failed: Variable | None = None


class LoadBuffer(Expression):
    """A Buffer: length bytes at an address, at most the type's capacity."""

    address: Expression
    space: str
    length: Expression
    failed: Variable | None = None


class Unary(Expression):
    """``-`` or ``~`` of a scalar, ``!`` giving a Bool."""

    sign: str
    operand: Expression


class Binary(Expression):
    """+ - * / % & | ^ << >> of scalars, in the signedness and width of ``type``; the operands are already of it.

    Division by zero gives 0, and the remainder the dividend, as the kernel's instructions do.
    """

    sign: str
    left: Expression
    right: Expression


class Compare(Expression):
    """== != < <= > >= of two scalars of one type (its signedness counts), or == != of equally large memory; a Bool."""

    sign: str
    left: Expression
    right: Expression


class CompareStrings(Expression):
    """0 when two strings are equal in their first ``count`` characters (None: in all), else 1; an Int."""

    left: Expression
    right: Expression
    count: int | None = None


class ConcatStrings(Expression):
    """One string behind another: a String that has room for both."""

    left: Expression
    right: Expression


class FindString(Expression):
    """Where needle first begins in haystack, or -1; an Int (8 bytes, signed)."""

    haystack: Expression
    needle: Expression


class StringLength(Expression):
    """Characters before the NUL; an Int."""

    text: Expression


class Logical(Expression):
    """``&&``, ``||`` of two scalars: the right one is looked at only when it counts; a Bool."""

    sign: str
    left: Expression
    right: Expression


class Choice(Expression):
    """yes or no; both of ``type``."""

    condition: Expression
    yes: Expression
    no: Expression


class Convert(Expression):
    """A scalar as another scalar type: cut to its width, then extended by its sign; Bool: whether it is not 0."""

    operand: Expression


class Reinterpret(Expression):
    """The first bytes of a value as another type; what the operand lacks is zero.  Between scalars and memory too."""

    operand: Expression


class Build(Expression):
    """Memory made of parts: (offset, value) pairs; all between them is zero."""

    parts: list[tuple[int, Expression]]


class Part(Expression):
    """What lies at a constant offset in a value in memory."""

    of: Expression
    offset: int


class Element(Expression):
    """An element of an Array or Tuple-like value in memory, by an index that is not known before.

    An index that is not below ``count`` gives zeros and the event ``outside`` (a runtime_error).
    """

    of: Expression
    index: Expression
    count: int
    outside: Event | None = None


class MapGet(Expression):
    """A map's value, zeros when it has no such key.  key None for a scalar map."""

    map: Map
    key: Expression | None


class MapHas(Expression):
    """Whether a map has a key; a Bool.  ``into``: where its value goes when it has it."""

    map: Map
    key: Expression | None
    into: Variable | None = None


class MapDelete(Expression):
    """Remove a key; a Bool: whether it was there.  A scalar map's value becomes zero."""

    map: Map
    key: Expression | None


class MapAdd(Expression):
    """Add to a map's integer in one step, without losing another CPU's addition; gives the old or the new value."""

    map: Map
    key: Expression | None
    delta: Expression
    old: bool = False


class MapLength(Expression):
    """Number of keys that a map has; an Int."""

    map: Map


class Aggregated(Expression):
    """An aggregation's integer over all CPUs: count, sum, min, max, average.  0 when there is no such key."""

    map: Map
    key: Expression | None


class Total(Expression):
    """The integer of an aggregation's value in memory, as ForMap's variable holds it (already over all CPUs)."""

    of: Expression


class Helper(Expression):
    """A BPF helper's result, by number.  Arguments in memory are passed by their address.

    fails: a negative result is told as a helper_error event (name: the helper's).
    """

    number: int
    arguments: list[Expression]
    name: str = ""
    fails: bool = False


class Fill(Expression):
    """Memory that a helper fills: its arguments with ``Destination`` where the address goes; zeros when it fails."""

    number: int
    arguments: list[Expression]
    name: str = ""
    fails: bool = False


class Destination(Expression):
    """In the arguments of Fill only."""


class KernelFunction(Expression):
    """A kfunc's result, by its BTF id in vmlinux."""

    btf_id: int
    arguments: list[Expression]


class PacketOutput(Expression):
    """Give length bytes of a struct sk_buff to user space, which leaves out the first offset of them: 0 or an error.

    event: skboutput (format: the file; values: see codegen/packets.py).  The probe's arguments are typed ones.
    """

    event: Event
    packet: Expression
    length: Expression
    offset: int


class PerCpuAddress(Expression):
    """Address of a kernel per-CPU variable (BTF id of its VAR) on a CPU, None for this one; 0 when there is none."""

    btf_id: int
    cpu: Expression | None


class StackTrace(Expression):
    """The stack of now: type Stack."""


class StackLength(Expression):
    """Number of frames of a Stack."""

    stack: Expression


class Do(Expression):
    """Statements, then a value."""

    statements: list[Statement]
    value: Expression


class Family(Expression):
    """In a replay, the address of what the recording knows of the process's family; reads of what it does not fail."""


class NotRecorded(Expression):
    """A value that cannot be had here (in a replay); ``why`` is shown once."""

    why: str


# -- statements


class Statement(Node):
    """Any statement."""

    span = (0, 0)


class Evaluate(Statement):
    """An expression for what it does."""

    expression: Expression


class Set(Statement):
    """variable = value; value None: zeros."""

    variable: Variable
    value: Expression | None


class MapSet(Statement):
    """map[key] = value.  The value is made before the key; so it is in MapAdd and Aggregate."""

    map: Map
    key: Expression | None
    value: Expression


class Aggregate(Statement):
    """Add a value to an aggregation: its kind is map.value.

    value: None for count().  times: how often it counts (hist, lhist; None for once).  A tseries's time is ``now``
    (None: the clock).
    """

    map: Map
    key: Expression | None
    value: Expression | None
    times: Expression | None = None
    now: Expression | None = None


class Emit(Statement):
    """Tell user space.  values: one for each of event.values."""

    event: Event
    values: list[Expression]


class EmitJoin(Statement):
    """Tell user space the strings of an array of pointers to strings that ends with NULL (at most 16, event.values)."""

    event: Event
    address: Expression
    space: str


class Capture(Statement):
    """Keep for a replay what is read: a value (size 0; kind: the helper's number), or memory at the address ``value``.

    program: its place in the unit, from 1 on; text: size bytes at most, up to a NUL.
    """

    value: Expression
    kind: int
    program: int
    size: int = 0
    text: bool = False
    space: str = "user"


class If(Statement):
    """A decision."""

    condition: Expression
    yes: list[Statement]
    no: list[Statement]


class While(Statement):
    """As long as condition is not 0; what it exceeds (2**23 rounds) is told by the event ``endless``."""

    condition: Expression
    body: list[Statement]
    endless: Event | None = None


class ForRange(Statement):
    """variable from first to below last; both are evaluated once.  start: an own variable, which keeps first."""

    variable: Variable
    first: Expression
    last: Expression
    body: list[Statement]
    start: Variable


class ForMap(Statement):
    """variable (a Tuple of key and value) for all of a map, in the kernel's order.

    An aggregation's value in it is the map's value type, its bytes summed over all CPUs: read by Total.
    """

    variable: Variable
    map: Map
    body: list[Statement]


class Break(Statement):
    """Leave the innermost loop."""


class Continue(Statement):
    """The next round of the innermost loop."""


class Inlined(Statement):
    """The statements of a function, which stand where it is called; Leave ends them."""

    body: list[Statement]


class Leave(Statement):
    """End the innermost Inlined, out of all loops in it."""


class Return(Statement):
    """End the program; value: what it gives the kernel (None: 0)."""

    value: Expression | None = None


# -- the whole


class Program(Node):
    """One eBPF program, for one or several probes that see the same context.

    dispatch: of raw_syscalls programs, {syscall number: statements}; body is empty then.
    """

    name: str
    probes: list[Probe]
    body: list[Statement]
    dispatch: dict[int, list[Statement]] | None = None


class Unit(Node):
    """A compiled script.  maps in the order of their first use; events by their number (see unit.py)."""

    text: str
    where: str
    maps: list[Map]
    events: list[Event]
    programs: list[Program]
    settings: dict[str, str | int]
    warnings: list[object]  # errors.Diagnostic
