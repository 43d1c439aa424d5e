"""Values in memory: strings, tuples, buffers, arrays; read, compared, searched, told."""

from __future__ import annotations

import ctypes
import itertools

import pytest
from codegen_units import CONTEXT, InKernel, Outcome, Place, binary, compare, get, number, printf, text, unit, word

from linscope.lang import ir
from linscope.lang import types as t

U64 = t.UINT64


def context_of(*values: int) -> bytes:
    return b"".join((value & (1 << 64) - 1).to_bytes(8, "little") for value in values).ljust(96, b"\0")


class Memory:
    """Bytes that programs read at an address: this process's for the kernel, known memory for the machine."""

    def __init__(self, place: Place, *pieces: bytes) -> None:
        self.space = t.USER
        self.addresses: list[int] = []
        if isinstance(place, InKernel):
            self._kept = [ctypes.create_string_buffer(piece, len(piece)) for piece in pieces]
            self.addresses = [ctypes.addressof(one) for one in self._kept]
            place.memory = ()
            return
        at = 0x7F00_0000_0000
        ranges = []
        for piece in pieces:
            ranges.append((at, piece))
            self.addresses.append(at)
            at += len(piece) + 4096
        place.memory = tuple(ranges)


def told(out: Outcome) -> list[int]:
    return [int.from_bytes(value, "little", signed=True) for value in out.events[-1][1]]


@pytest.mark.parametrize("width", [8, 20, 64, 200, 1024, 10000])
def test_strings_are_read_and_told(place: Place, width: int) -> None:
    """Straight into the record, and by way of a variable, behind whose NUL all is zero; cut at the limit."""
    letters = bytes(33 + at % 90 for at in range(width + 50)) + b"\0"
    memory = Memory(place, letters, b"short\0rest", b"\0")
    kind = t.String(width)
    kept = ir.Variable("$kept", kind)
    last = ir.Map("@last", None, kind)
    for address, whole, limit in itertools.product(range(3), (letters[:-1], b"short", b""), (None, 3, 0, 1 << 40)):
        if (whole == letters[:-1], whole == b"short", whole == b"").index(True) != address:
            continue
        bound = None if limit is None else word(1)
        node = ir.LoadString(kind, word(0), memory.space, bound)
        event = printf(kind, t.INT64, kind)
        body = [
            ir.Set(kept, ir.LoadString(kind, word(0), memory.space, bound)),
            ir.MapSet(last, None, get(kept)),
            ir.Emit(event, [node, number(7), get(kept)]),
        ]
        made = unit(body, maps=[last], events=[event])
        out = place.run(made, context=context_of(memory.addresses[address], limit or 0))
        wanted = whole[: width - 1][: limit if limit is not None else None]
        assert out.events[0][1] == [wanted, b"\7" + bytes(7), wanted]
        assert out.map(last)[bytes(4)] == [wanted.ljust(width, b"\0")]


def test_what_cannot_be_read_is_zero_and_told_when_asked(place: Place) -> None:
    kind, buffer = t.String(16), t.Buffer(12)
    pair = t.Tuple((t.INT64, t.INT64))
    event = printf(kind, t.INT64, pair, buffer, kind)
    Memory(place)
    gone = number(16, U64)
    values = [
        ir.LoadString(kind, gone, t.USER), ir.Load(t.INT64, gone, t.USER), ir.Load(pair, gone, t.KERNEL),
        ir.LoadBuffer(buffer, gone, t.USER, number(4)), ir.Reinterpret(kind, ir.LoadString(kind, gone, t.KERNEL)),
    ]  # fmt: skip
    for told_too in (False, True):
        out = place.run(unit([ir.Emit(event, values)], events=[event]), helper_errors=told_too)
        assert out.events[-1][1] == [b"", bytes(8), bytes(16), bytes(4), b""]
        names = sorted(one.format.decode() for one, _ in out.events[:-1])
        wanted = [
            "probe_read_kernel",
            "probe_read_kernel_str",
            "probe_read_user",
            "probe_read_user",
            "probe_read_user_str",
        ]
        assert names == (wanted if told_too else [])
        errnos = {int.from_bytes(one[0], "little", signed=True) for _, one in out.events[:-1]}
        assert errnos <= {-14, -34}  # EFAULT; ERANGE: an address of user space that is read as the kernel's


def test_buffers(place: Place) -> None:
    """As many bytes as asked for, at most the capacity, zeros behind them."""
    kind = t.Buffer(40)
    data = bytes(range(100, 200))
    memory = Memory(place, data)
    kept, last = ir.Variable("$kept", kind), ir.Map("@last", None, kind)
    event = printf(kind, t.INT8, kind)
    for length in (0, 1, 7, 39, 40, 41, 1000, -1):
        node = ir.LoadBuffer(kind, word(0), memory.space, word(1))
        body = [
            ir.Set(kept, node),
            ir.MapSet(last, None, get(kept)),
            ir.Emit(event, [node, number(1, t.INT8), get(kept)]),
        ]
        out = place.run(unit(body, maps=[last], events=[event]), context=context_of(memory.addresses[0], length))
        wanted = data[: 40 if length < 0 else min(length, 40)]
        assert out.events[0][1] == [wanted, b"\1", wanted]
        assert out.map(last)[bytes(4)] == [len(wanted).to_bytes(4, "little") + wanted.ljust(40, b"\0")]


TEXTS = [b"", b"a", b"abc", b"abcdefgh", b"abcdefgi", b"abcdefghi", b"abcdefghijklmnopq", b"x" * 62]


@pytest.mark.parametrize("widths", [(64, 64), (64, 100), (1024, 64), (1024, 2000)])
def test_strings_compared(place: Place, widths: tuple[int, int]) -> None:
    """With constants and with each other, whole and in their first characters."""
    left, right = ir.Variable("$l", t.String(widths[0])), ir.Variable("$r", t.String(widths[1]))
    for a, c in itertools.product(TEXTS, TEXTS[::2]):
        counts = (None, 0, 1, 8, 9, 60)
        values = [ir.CompareStrings(t.INT64, get(left), get(right), count) for count in counts]
        values += [ir.CompareStrings(t.INT64, get(left), text(c), count) for count in counts]
        values += [ir.CompareStrings(t.INT64, text(a), get(right), count) for count in counts]
        event = printf(*(t.INT64 for _ in values))
        body: list[ir.Statement] = [
            ir.Set(left, text(a, widths[0])), ir.Set(right, text(c, widths[1])), ir.Emit(event, values),
        ]  # fmt: skip
        out = place.run(unit(body, events=[event]), checked=a == b"abc")
        wanted = [int(a != c if count is None else a[:count] != c[:count]) for count in counts]
        assert told(out) == wanted * 3, (a, c)


def test_long_strings_compared(place: Place) -> None:
    """They differ in one character only, or in none."""
    width = 5000
    left, right = ir.Variable("$l", t.String(width)), ir.Variable("$r", t.String(width))
    base = bytearray(b"y" * (width - 1))
    event = printf(t.INT64, t.BOOL, t.BOOL)
    for at in (None, 0, 7, 63, 64, 2500, width - 2):
        other = base.copy()
        if at is not None:
            other[at] = 0x7A
        values = [
            ir.CompareStrings(t.INT64, get(left), get(right)), compare("==", get(left), get(right)),
            compare("!=", get(left), get(right)),
        ]  # fmt: skip
        body: list[ir.Statement] = [
            ir.Set(left, text(bytes(base), width)), ir.Set(right, text(bytes(other), width)), ir.Emit(event, values),
        ]  # fmt: skip
        assert told(place.run(unit(body, events=[event]))) == [
            int(at is not None),
            int(at is None),
            int(at is not None),
        ]


def test_tuples_compared(place: Place) -> None:
    kind = t.Tuple((t.INT32, t.INT64, t.String(11)))

    def made(a: int, c: int, name: bytes) -> ir.Build:
        return ir.Build(kind, [(0, number(a, t.INT32)), (8, number(c)), (16, text(name, 11))])

    one, two = ir.Variable("$one", kind), ir.Variable("$two", kind)
    cases = [
        ((1, 2, b"x"), (1, 2, b"x")),
        ((1, 2, b"x"), (1, 2, b"y")),
        ((1, 2, b"x"), (1, 3, b"x")),
        ((0, 2, b"x"), (1, 2, b"x")),
    ]
    event = printf(t.BOOL, t.BOOL)
    for a, c in cases:
        body = [
            ir.Set(one, made(*a)), ir.Set(two, made(*c)),
            ir.Emit(event, [compare("==", get(one), get(two)), compare("!=", get(one), get(two))]),
        ]  # fmt: skip
        assert told(place.run(unit(body, events=[event]))) == [int(a == c), int(a != c)]


@pytest.mark.parametrize("width", [64, 1024])
def test_strings_searched(place: Place, width: int) -> None:
    """Where one begins in the other; constants and variables, short and long, at the end and not at all."""
    hay, needle = ir.Variable("$h", t.String(width)), ir.Variable("$n", t.String(width))
    long = b"0123456789" * 9 + b"!"
    stacks = [b"", b"abcabd", b"aaaaab", b"x" * min(width - 1, 200), (b"ab" * width)[: width - 1]]
    needles = [b"", b"a", b"abd", b"aab", b"b", b"xx", b"zz", b"x" * (width - 1)]
    if width > 200:
        stacks.append(b"-" * 100 + long[:-1] + long + b"tail")
        needles += [long, long + b"tail", long + b"tale", b"x" * 150, b"x" * 150 + b"y"]
    for a, c in itertools.product(stacks, needles):
        values = [ir.FindString(t.INT64, get(hay), get(needle)), ir.FindString(t.INT64, get(hay), text(c))]
        values += [ir.StringLength(t.INT64, get(hay)), ir.StringLength(t.INT64, text(c))]
        event = printf(*(t.INT64 for _ in values))
        body: list[ir.Statement] = [ir.Set(hay, text(a, width)), ir.Set(needle, text(c, width)), ir.Emit(event, values)]
        out = place.run(unit(body, events=[event]), checked=a == b"aaaaab" and c in (b"aab", long))
        assert told(out) == [a.find(c)] * 2 + [len(a), len(c)], (a, c)


@pytest.mark.parametrize("width", [5, 64, 700])
def test_strings_behind_one_another(place: Place, width: int) -> None:
    """Variables and constants, empty and full; behind the NUL of the result all is zero, so that it equals itself."""
    one, other = ir.Variable("$a", t.String(width)), ir.Variable("$b", t.String(7))
    joined = t.String(width + 6)
    for a, c in itertools.product((b"", b"a", b"x" * (width - 1)), (b"", b"b", b"123456")):
        whole = ir.ConcatStrings(joined, get(one), get(other))
        again = ir.ConcatStrings(joined, text(a, width), text(c, 7))
        values = [ir.StringLength(t.INT64, whole), ir.CompareStrings(t.INT64, whole, again)]
        values += [ir.CompareStrings(t.INT64, again, text(a + c, joined.size))]
        same = ir.Compare(t.BOOL, "==", ir.Reinterpret(t.Array(t.UINT8, joined.size), whole),
                          ir.Bytes(t.Array(t.UINT8, joined.size), (a + c).ljust(joined.size, b"\0")))  # fmt: skip
        event = printf(t.INT64, t.INT64, t.INT64, t.BOOL)
        body: list[ir.Statement] = [ir.Set(one, text(a, width)), ir.Set(other, text(c, 7))]
        body.append(ir.Emit(event, [*values, same]))
        assert told(place.run(unit(body, events=[event]), checked=a == b"a")) == [len(a + c), 0, 0, 1], (a, c)


def test_parts_of_what_is_in_memory(place: Place) -> None:
    """At any offset, of any width; as another type; elements by number."""
    array = t.Array(t.INT32, 5)
    kept, index = ir.Variable("$kept", array), word(0, t.INT64)
    outside = ir.Event("runtime_error", (), b"outside")
    data = ir.Bytes(array, bytes(range(200, 220)))
    big = t.Array(t.Tuple((t.INT8, t.INT64)), 40)
    large = ir.Variable("$large", big)
    image = bytes(at % 251 for at in range(big.size))
    parts = [(t.INT8, 3), (t.UINT16, 5), (t.INT32, 9), (t.INT64, 7), (t.UINT64, 12), (t.UINT32, 16)]
    element = t.Tuple((t.INT8, t.INT64))
    values: list[ir.Expression] = [ir.Part(type, get(kept), offset) for type, offset in parts]
    values += [
        ir.Element(t.INT32, get(kept), index, 5, outside), ir.Element(element, get(large), index, 40),
        ir.Reinterpret(t.INT64, get(kept)), ir.Reinterpret(t.Array(t.INT8, 3), number(-2, t.INT32)),
        ir.Reinterpret(t.Array(t.INT8, 24), get(kept)),
        ir.Reinterpret(t.INT32, ir.Bytes(t.Array(t.INT8, 3), b"\1\2\3")), ir.Part(t.Array(t.INT8, 6), get(large), 13),
    ]  # fmt: skip
    event = printf(*(one.type for one in values))
    body = [ir.Set(kept, data), ir.Set(large, ir.Bytes(big, image)), ir.Emit(event, values)]
    whole = bytes(range(200, 220))
    for at in (0, 4, 5, 39, 40, -1):
        out = place.run(unit(body, events=[event, outside]), context=context_of(at))
        wanted = [whole[offset : offset + type.size] for type, offset in parts]
        wanted += [whole[4 * at : 4 * at + 4] if 0 <= at < 5 else bytes(4)]
        wanted += [image[16 * at : 16 * at + 16] if 0 <= at < 40 else bytes(16)]
        wanted += [whole[:8], b"\xfe\xff\xff", whole + bytes(4), b"\1\2\3\0", image[13:19]]
        assert out.events[-1][1] == wanted
        assert [one for one, _ in out.events] == ([] if 0 <= at < 5 else [outside]) + [event]


def test_choices_and_statements_in_expressions(place: Place) -> None:
    kind = t.String(30)
    kept = ir.Variable("$kept", kind)
    chosen = ir.Choice(kind, compare("==", word(0), number(1, U64)), text(b"yes", 30), text(b"no", 30))
    done = ir.Do(kind, [ir.Set(kept, chosen)], get(kept))
    event = printf(kind, kind)
    for value, wanted in ((1, b"yes"), (2, b"no")):
        out = place.run(unit([ir.Emit(event, [chosen, done])], events=[event]), context=context_of(value))
        assert out.events[0][1] == [wanted, wanted]


def test_the_context_is_read_directly(place: Place) -> None:
    """Words and arrays of it."""
    event = printf(t.Array(t.UINT64, 3), t.UINT64)
    body = [ir.Emit(event, [ir.FromContext(t.Array(t.UINT64, 3), 16), word(5)])]
    context = bytes(range(96))
    assert place.run(unit(body, events=[event]), context=context).events[0][1] == [context[16:40], context[40:48]]


def test_records_have_no_bytes_of_others(place: Place) -> None:
    """Gaps between values are zero, strings follow each other."""
    event = printf(t.INT8, t.INT64, t.INT16, t.String(40), t.INT8, t.String(40))
    values = [
        number(1, t.INT8), number(2), number(3, t.INT16), text(b"four", 40), number(5, t.INT8), text(b"sixth", 40),
    ]  # fmt: skip
    filler = printf(t.String(64))
    body = [ir.Emit(filler, [text(b"\xff" * 60, 64)]), ir.Emit(event, values)]
    out = place.run(unit(body, events=[filler, event]))
    fixed = b"\1\0\0\0" + (40 + 9).to_bytes(4, "little") + b"\1" + bytes(7) + b"\2" + bytes(7)
    fixed += b"\3\0\0\0" + b"\4\0\0\0" + b"\5\0\0\0" + b"\5\0\0\0"
    assert out.records[1] == fixed + b"four" + b"sixth"


def test_many_strings_in_an_event(place: Place) -> None:
    """The verifier need not follow every way that the reads of all of them may end."""
    memory = Memory(place, *(b"text %d\0" % at for at in range(12)))
    kind = t.String(1024)
    event = printf(*(kind for _ in range(12)))
    values = [ir.LoadString(kind, number(address, U64), memory.space, word(1)) for address in memory.addresses]
    out = place.run(unit([ir.Emit(event, values)], events=[event]), context=context_of(0, 100))
    assert out.events[0][1] == [b"text %d" % at for at in range(12)]


def test_join(place: Place) -> None:
    """The strings that pointers point to, up to NULL, sixteen at most."""
    for count in (0, 1, 3, 16, 20):
        words = [b"word%d" % at if at != 1 else b"" for at in range(count)]
        memory = Memory(place, *(one + b"\0" for one in words), bytes(8 * (count + 1)))
        table = b"".join(address.to_bytes(8, "little") for address in memory.addresses[:-1]) + bytes(8)
        memory = Memory(place, *(one + b"\0" for one in words), table)
        if isinstance(place, InKernel):  # the strings lie elsewhere now
            table = b"".join(address.to_bytes(8, "little") for address in memory.addresses[:-1]) + bytes(8)
            ctypes.memmove(memory.addresses[-1], table, len(table))
        event = ir.Event("join", (t.String(64),) * 16, b" ")
        out = place.run(
            unit([ir.EmitJoin(event, word(0), memory.space)], events=[event]), context=context_of(memory.addresses[-1])
        )
        found = out.events[0][1]
        assert [one.rstrip(b"\0") for one in found[: min(count, 16)]] == words[:16]
        assert all(one.endswith(b"\0") for one in found[:count]) and not any(found[count:])


def test_events_without_room_are_counted(place: Place) -> None:
    event = printf(t.Array(t.INT64, 500))
    kept = ir.Variable("$kept", t.Array(t.INT64, 500))
    body: list[ir.Statement] = [ir.Set(kept, None)]
    body += [ir.Emit(event, [get(kept)]) for _ in range(20)]
    out = place.run(unit(body, events=[event]))
    assert len(out.events) + out.lost == 20 and out.lost > 0


def test_wakeups_are_an_option(place: Place) -> None:
    """The code asks how much waits; the events are the same."""
    event, last = printf(t.INT64), printf(t.INT32, kind="exit")
    body = [ir.Emit(event, [number(at)]) for at in range(3)] + [ir.Emit(last, [number(0, t.INT32)])]
    out = place.run(unit(body, events=[event, last]), wakeup_bytes=1 << 14)
    assert [one.kind for one, _ in out.events] == ["printf"] * 3 + ["exit"]


def test_values_that_helpers_fill(place: Place) -> None:
    comm = ir.Fill(t.COMM, 16, [ir.Destination(t.COMM), number(16)], "get_current_comm")
    kept = ir.Map("@kept", t.COMM, t.INT64)
    event = printf(t.COMM, t.UINT64)
    body = [ir.MapSet(kept, comm, number(1)), ir.Emit(event, [comm, ir.Helper(U64, 14, [])])]
    out = place.run(unit(body, maps=[kept], events=[event]))
    (key,) = out.map(kept)
    assert out.events[0][1][0] == key.rstrip(b"\0")


def test_ternary_arithmetic_in_events(place: Place) -> None:
    event = printf(t.INT8, t.UINT16, t.INT32, U64)
    values = [
        binary("+", number(127, t.INT8), number(1, t.INT8)), number(65535, t.UINT16), number(-1, t.INT32),
        number((1 << 64) - 1, U64),
    ]  # fmt: skip
    out = place.run(unit([ir.Emit(event, values)], events=[event]))
    assert out.events[0][1] == [b"\x80", b"\xff\xff", b"\xff" * 4, b"\xff" * 8]


def test_more_than_loads_reach(place: Place) -> None:
    """80 strings of a kilobyte and numbers between them: what is small stays where loads and stores reach it."""
    event = printf(t.String(1025), t.INT64)
    body: list[ir.Statement] = []
    pairs = []
    for number_ in range(80):
        string, count = ir.Variable(f"$s{number_}", t.String(1025)), ir.Variable(f"$n{number_}", t.INT64)
        body += [ir.Set(string, text(b"word %d" % number_, 1025)), ir.Set(count, word(0, t.INT64))]
        pairs.append((string, count))
    for string, count in pairs:
        body.append(ir.Set(count, binary("+", get(count), number(int(string.name[2:])))))
        body.append(ir.Emit(event, [get(string), get(count)]))
    last, count = pairs[-1]
    body.append(ir.If(compare("==", get(last), get(pairs[0][0])), [], [ir.Set(count, number(-1))]))
    body.append(ir.Emit(event, [get(last), ir.FindString(t.INT64, get(last), text(b"rd"))]))
    body.append(ir.Emit(event, [get(last), get(count)]))
    out = place.run(unit(body, events=[event]))
    start = int.from_bytes(CONTEXT[:8], "little")
    assert len(out.events) == 82
    for number_, (_, (string_, count_)) in enumerate(out.events):
        assert string_.rstrip(b"\0") == b"word %d" % min(number_, 79)
        wanted = {80: 2, 81: -1}.get(number_, start + number_)
        assert int.from_bytes(count_, "little", signed=True) == wanted
