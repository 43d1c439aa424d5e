"""The intermediate form as text."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.ir_text import expression, format_type, format_unit
from linscope.lang.probe import Probe

I64, U64 = t.INT64, t.UINT64


def number(value: int, type: t.Type = I64) -> ir.Number:
    return ir.Number(type, value)


def test_a_unit_is_short_and_typed() -> None:
    kept, last = ir.Map("@kept", t.INT32, t.Count()), ir.Map("@last", None, t.String(16))
    event = ir.Event("printf", (t.INT32, t.String(16)), b'%d "%s"\n')
    x, i = ir.Variable("$x", t.INT32), ir.Variable("$i", I64)
    get = ir.Get(t.INT32, x)
    body: list[ir.Statement] = [
        ir.Set(x, ir.Convert(t.INT32, ir.Helper(U64, 14, [], "get_current_pid_tgid"))),
        ir.If(
            ir.Compare(t.BOOL, ">", get, number(0, t.INT32)),
            [ir.Aggregate(kept, get, None), ir.Set(x, None)],
            [ir.MapSet(last, None, ir.LoadString(t.String(16), ir.FromContext(U64, 8), t.USER))],
        ),
        ir.ForRange(i, number(0), number(9), [ir.Break()], ir.Variable("$s", I64)),
        ir.While(ir.Number(t.BOOL, 1), [ir.Continue()]),
        ir.Emit(event, [get, ir.MapGet(t.String(16), last, None)]),
        ir.Return(number(1)),
    ]
    program = ir.Program("main", [Probe("begin", "begin"), Probe("end", "end")], body)
    shared: list[ir.Statement] = [ir.Evaluate(ir.MapDelete(t.BOOL, kept, number(3, t.INT32)))]
    calls = ir.Program("calls", [Probe("rawtracepoint", "sys_enter")], [], {0: shared, 1: shared, 3: [ir.Return()]})
    unit = ir.Unit("", "x.bt", [kept, last], [event], [program, calls], {}, [])
    assert format_unit(unit) == (
        "map @kept: hash int32 -> count, 4096 entries\n"
        "map @last: string[16]\n"
        'event 0: printf "%d \\"%s\\"\\n" (int32, string[16])\n'
        "program main: begin, end\n"
        "  $x: int32 = int32(helper get_current_pid_tgid())\n"
        "  if ($x > 0)\n"
        "    @kept[$x] <- count()\n"
        "    $x = 0\n"
        "  else\n"
        "    @last = string[16](user, ctx+8:uint64)\n"
        "  for $i: int64 in 0..9\n"
        "    break\n"
        "  while (true)\n"
        "    continue\n"
        "  emit 0($x, @last)\n"
        "  return 1\n"
        "program calls: sys_enter\n"
        "  system call 0, 1\n"
        "    delete(@kept[3])\n"
        "  system call 3\n"
        "    return\n"
    )


def test_every_expression_has_a_text() -> None:
    """None falls back to the name of its class."""
    from linscope.lang.ir_text import _EXPRESSIONS

    classes = {one for one in vars(ir).values() if isinstance(one, type) and issubclass(one, ir.Expression)}
    assert set(_EXPRESSIONS) == classes - {ir.Expression}


def test_types() -> None:
    task = t.Struct("task_struct", 100, list)
    shown = {
        t.Pointer(task, t.KERNEL): "struct task_struct* kernel", t.Array(t.UINT8, 4): "uint8[4]", t.BOOL: "bool",
        t.Tuple((t.INT8, t.Buffer(12)), ("a", "b")): "(a=int8, b=buffer[16])", t.Histogram(2): "hist(2)",
        t.LinearHistogram(0, 10, 2): "lhist(0, 10, 2)", t.TimeSeries(5, 3, "max", True): "tseries(5, 3, max)",
        t.Stack(t.USER, "perf", 127): "ustack(perf, 127)", t.Average("stats", True): "stats",
        t.KernelSymbol(): "kernel_symbol", t.Enum("color", 4, False, {}): "enum color",
    }  # fmt: skip
    for type, text in shown.items():
        assert format_type(type) == text


def test_long_constants_are_cut() -> None:
    assert expression(ir.Bytes(t.String(100), b"x" * 99)) == f'"{"x" * 40}"...'
