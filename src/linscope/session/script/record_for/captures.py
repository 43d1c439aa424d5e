"""What a script reads, kept for its replay: the same programs, with a capture in front of each read.

    str(args.filename)  ->  a = args.filename; capture text at a; str(a)
    nsecs               ->  if (!t) { t = ktime; capture value t }; t

Fields of the event itself are in its record.  The time is read once in each run of a program, so that the recording can
give the same to all who ask; so are the user, the cgroup and the address of the task.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import Any

KTIME, UID_GID, TASK, CGROUP = 5, 15, 35, 80  # include/uapi/linux/bpf.h, enum bpf_func_id
MEMORY = 0  # the kind of a capture of memory; of others the helper's number
_VALUES = (KTIME, UID_GID, TASK, CGROUP)
_MOST_WORDS = 16  # of join()


def with_captures(unit: ir.Unit) -> ir.Unit:
    """A unit whose programs tell what they read."""
    programs = []
    for number, program in enumerate(unit.programs, 1):
        made = _Capturing(number)
        body = made.rewrite(program.body)
        programs.append(_with(program, body=body))
    return ir.Unit(unit.text, unit.where, unit.maps, unit.events, programs, unit.settings, unit.warnings)


def _with(node: Any, **fields: object) -> Any:
    made: Any = object.__new__(type(node))
    made.__dict__.update(node.__dict__, **fields)
    return made


def _contains_context(node: object) -> bool:
    if isinstance(node, ir.Context):
        return True
    if isinstance(node, ir.Expression | ir.Statement):
        return any(_contains_context(value) for value in node.__dict__.values())
    return isinstance(node, list | tuple) and any(_contains_context(one) for one in node)


class _Capturing:
    """One program."""

    def __init__(self, program: int) -> None:
        self.program = program
        self.known: dict[int, tuple[ir.Variable, ir.Variable]] = {}  # helper -> (its value, whether it was asked)

    def rewrite(self, node: Any) -> Any:
        """A node with captures."""
        if isinstance(node, list):
            return [self.rewrite(one) for one in node]
        if isinstance(node, tuple):
            return tuple(self.rewrite(one) for one in node)
        if not isinstance(node, ir.Expression | ir.Statement):
            return node
        if isinstance(node, ir.Helper) and node.number in _VALUES:
            return self._value(node)
        changed = {
            name: self.rewrite(value)
            for name, value in node.__dict__.items()
            if isinstance(value, ir.Expression | ir.Statement | list | tuple) and name != "span"
        }
        made = _with(node, **changed)
        if isinstance(node, ir.Load | ir.LoadString | ir.LoadBuffer) and not _contains_context(node.address):
            return self._memory(made)
        if isinstance(made, ir.EmitJoin):
            return self._words(made)
        return made

    def _value(self, node: ir.Helper) -> ir.Expression:
        """A helper's answer, asked once."""
        if node.number not in self.known:
            self.known[node.number] = ir.Variable("", t.UINT64), ir.Variable("", t.UINT64)
        value, asked = self.known[node.number]
        get = ir.Get(t.UINT64, value)
        first: list[ir.Statement] = [
            ir.Set(value, _with(node, type=t.UINT64)),
            ir.Set(asked, ir.Number(t.UINT64, 1)),
            ir.Capture(get, node.number, self.program),
        ]
        decide = ir.If(ir.Compare(t.BOOL, "==", ir.Get(t.UINT64, asked), ir.Number(t.UINT64, 0)), first, [])
        return ir.Do(node.type, [decide], ir.Get(node.type, value) if node.type.size == 8 else get)

    def _capture(self, address: ir.Expression, size: int, space: str, *, text: bool = False) -> ir.Statement:
        return ir.Capture(address, MEMORY, self.program, size, text, space)

    def _memory(self, node: Any) -> ir.Expression:
        """A read of memory at an address that is evaluated once."""
        address = ir.Variable("", node.address.type)
        got = ir.Get(node.address.type, address)
        size = node.type.capacity if isinstance(node.type, t.Buffer) else node.type.size
        text = isinstance(node, ir.LoadString)
        before: list[ir.Statement] = [ir.Set(address, node.address), self._capture(got, size, node.space, text=text)]
        return ir.Do(node.type, before, _with(node, address=got))

    def _words(self, node: ir.EmitJoin) -> ir.Statement:
        """The pointers of an array up to NULL, and the strings that they point to."""
        address, word = ir.Variable("", t.UINT64), ir.Variable("", t.UINT64)
        width = node.event.values[0].size
        inner: list[ir.Statement] = []
        for place in reversed(range(_MOST_WORDS)):
            at = ir.Binary(t.UINT64, "+", ir.Get(t.UINT64, address), ir.Number(t.UINT64, 8 * place))
            get = ir.Get(t.UINT64, word)
            some: list[ir.Statement] = [self._capture(get, width, node.space, text=True), *inner]
            read = ir.Set(word, ir.Load(t.UINT64, at, node.space))
            inner = [self._capture(at, 8, node.space), read, ir.If(get, some, [])]
        emit = _with(node, address=ir.Get(t.UINT64, address))
        always = ir.Number(t.BOOL, 1)
        return ir.If(always, [ir.Set(address, ir.Convert(t.UINT64, node.address)), *inner, emit], [])
