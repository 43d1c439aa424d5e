"""The intermediate form run by Python, as ir.py says: slow, plain, and sharing nothing with the code generator."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t

M64 = (1 << 64) - 1


class Leave(Exception):
    """break, continue, return, or leave a function: kind, value."""

    def __init__(self, kind: str, value: int = 0) -> None:
        self.kind = kind
        self.value = value


def wrap(value: int, type: t.Type) -> int:
    """A number in the canonical form of a type."""
    if isinstance(type, t.Bool):
        return int(value != 0)
    bits = 8 * type.size
    value &= (1 << bits) - 1
    return value - (1 << bits) if type.signed and value >> bits - 1 else value


def to_bytes(value: int | bytes, type: t.Type) -> bytes:
    """A value in memory."""
    if isinstance(value, bytes):
        return value
    return (value & (1 << 8 * type.size) - 1).to_bytes(type.size, "little")


def from_bytes(data: bytes, type: t.Type) -> int | bytes:
    """A value out of memory."""
    data = data[: type.size]
    return wrap(int.from_bytes(data, "little"), type) if type.is_scalar else data


def characters(value: int | bytes) -> bytes:
    """A string up to its NUL."""
    assert isinstance(value, bytes)
    return value.partition(b"\0")[0]


class Model:
    """One run of a program."""

    def __init__(self, context: bytes) -> None:
        self.context = context
        self.variables: dict[ir.Variable, int | bytes] = {}
        self.maps: dict[ir.Map, dict[bytes, bytes]] = {}
        self.events: list[tuple[ir.Event, list[bytes]]] = []

    def run(self, body: list[ir.Statement]) -> int:
        """All statements; what the program gives the kernel."""
        try:
            self.statements(body)
        except Leave as leave:
            return leave.value & (1 << 32) - 1
        return 0

    def of_map(self, one: ir.Map) -> dict[bytes, bytes]:
        if one not in self.maps:
            self.maps[one] = {} if one.key is not None else {bytes(4): bytes(one.value.size)}
        return self.maps[one]

    def key(self, one: ir.Map, key: ir.Expression | None) -> bytes:
        return bytes(4) if key is None or one.key is None else to_bytes(self.value(key), one.key)

    def number(self, node: ir.Expression) -> int:
        value = self.value(node)
        assert isinstance(value, int)
        return value

    # -- expressions

    def value(self, node: ir.Expression) -> int | bytes:
        """The value of an expression."""
        if isinstance(node, ir.Number):
            return node.value
        if isinstance(node, ir.Bytes):
            return node.data.ljust(node.type.size, b"\0")
        if isinstance(node, ir.Get):
            zero = 0 if node.type.is_scalar else bytes(node.type.size)
            return self.variables.get(node.variable, zero)
        if isinstance(node, ir.FromContext):
            return from_bytes(self.context[node.offset :], node.type)
        if isinstance(node, ir.Unary):
            operand = self.number(node.operand)
            return wrap({"-": -operand, "~": ~operand, "!": int(not operand)}[node.sign], node.type)
        if isinstance(node, ir.Binary):
            return self.binary(node)
        if isinstance(node, ir.Compare):
            left, right = self.value(node.left), self.value(node.right)
            if node.sign in ("==", "!="):
                return int((left == right) == (node.sign == "=="))
            assert isinstance(left, int) and isinstance(right, int)
            return int({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[node.sign])
        if isinstance(node, ir.Logical):
            left_true = bool(self.number(node.left))
            if left_true == (node.sign == "||"):
                return int(left_true)
            return int(bool(self.number(node.right)))
        if isinstance(node, ir.Choice):
            return self.value(node.yes if self.number(node.condition) else node.no)
        if isinstance(node, ir.Convert):
            return wrap(self.number(node.operand), node.type)
        if isinstance(node, ir.Do):
            self.statements(node.statements)
            return self.value(node.value)
        return self.of_memory(node)

    def binary(self, node: ir.Binary) -> int:
        left, right = self.number(node.left), self.number(node.right)
        sign = node.sign
        if sign in ("/", "%"):
            quotient = abs(left) // abs(right) if right else 0
            if (left < 0) != (right < 0):
                quotient = -quotient
            return wrap(quotient if sign == "/" else left - quotient * right, node.type)
        shift = right & 63
        results = {
            "+": left + right, "-": left - right, "*": left * right, "&": left & right, "|": left | right,
            "^": left ^ right, "<<": left << shift, ">>": left >> shift,
        }  # fmt: skip
        return wrap(results[sign], node.type)

    def of_memory(self, node: ir.Expression) -> int | bytes:
        if isinstance(node, ir.CompareStrings):
            left, right = characters(self.value(node.left)), characters(self.value(node.right))
            if node.count is not None:
                left, right = left[: node.count], right[: node.count]
            return int(left != right)
        if isinstance(node, ir.FindString):
            return characters(self.value(node.haystack)).find(characters(self.value(node.needle)))
        if isinstance(node, ir.ConcatStrings):
            whole = characters(self.value(node.left)) + characters(self.value(node.right))
            return whole.ljust(node.type.size, b"\0")
        if isinstance(node, ir.StringLength):
            return len(characters(self.value(node.text)))
        if isinstance(node, ir.Build):
            data = bytearray(node.type.size)
            for offset, part in node.parts:
                data[offset : offset + part.type.size] = to_bytes(self.value(part), part.type)
            return bytes(data)
        if isinstance(node, ir.Part):
            whole = self.value(node.of)
            assert isinstance(whole, bytes)
            return from_bytes(whole[node.offset :], node.type)
        if isinstance(node, ir.MapGet):
            key = self.key(node.map, node.key)
            return from_bytes(self.of_map(node.map).get(key, bytes(node.type.size)), node.type)
        if isinstance(node, ir.MapHas):
            key = self.key(node.map, node.key)
            return int(key in self.of_map(node.map))
        if isinstance(node, ir.MapDelete):
            key = self.key(node.map, node.key)
            return int(self.of_map(node.map).pop(key, None) is not None)
        if isinstance(node, ir.MapAdd):
            delta = self.number(node.delta)
            key = self.key(node.map, node.key)
            old = from_bytes(self.of_map(node.map).get(key, bytes(8)), node.map.value)
            assert isinstance(old, int)
            new = wrap(old + delta, node.map.value)
            self.of_map(node.map)[key] = to_bytes(new, node.map.value)
            return old if node.old else new
        raise NotImplementedError(type(node).__name__)

    # -- statements

    def statements(self, nodes: list[ir.Statement]) -> None:
        """Some statements.  Raises Leave."""
        for node in nodes:
            self.statement(node)

    def statement(self, node: ir.Statement) -> None:
        if isinstance(node, ir.Evaluate):
            self.value(node.expression)
        elif isinstance(node, ir.Set):
            zero = 0 if node.variable.type.is_scalar else bytes(node.variable.type.size)
            self.variables[node.variable] = zero if node.value is None else self.value(node.value)
        elif isinstance(node, ir.MapSet):
            value = to_bytes(self.value(node.value), node.map.value)
            self.of_map(node.map)[self.key(node.map, node.key)] = value
        elif isinstance(node, ir.Emit):
            values = [self.value(one) for one in node.values]
            told = [
                characters(value) if isinstance(one, t.String) else to_bytes(value, one)
                for value, one in zip(values, node.event.values, strict=True)
            ]
            self.events.append((node.event, told))
        elif isinstance(node, ir.If):
            self.statements(node.yes if self.number(node.condition) else node.no)
        elif isinstance(node, ir.While):
            while self.number(node.condition) and self.round(node.body):
                pass
        elif isinstance(node, ir.ForRange):
            for at in range(self.number(node.first), self.number(node.last)):
                self.variables[node.variable] = at
                if not self.round(node.body):
                    break
        elif isinstance(node, ir.Inlined):
            try:
                self.statements(node.body)
            except Leave as leave:
                if leave.kind != "leave":
                    raise
        elif isinstance(node, ir.Leave):
            raise Leave("leave")
        elif isinstance(node, ir.Break | ir.Continue):
            raise Leave("break" if isinstance(node, ir.Break) else "continue")
        elif isinstance(node, ir.Return):
            raise Leave("return", 0 if node.value is None else self.number(node.value))
        else:
            raise NotImplementedError(type(node).__name__)

    def round(self, body: list[ir.Statement]) -> bool:
        """One round of a loop; whether there may be another."""
        try:
            self.statements(body)
        except Leave as leave:
            if leave.kind in ("return", "leave"):
                raise
            return leave.kind == "continue"
        return True
