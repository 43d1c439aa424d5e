"""Expressions of C over a kernel's objects: ``init_task.comm``, ``((struct page *)0xffffea0000000000)->flags & 1``.

Source: C11 6.5 (operators and their order); GNU C's typeof is not known.
"""

from __future__ import annotations

import re

from linscope.binfmt import btf_types as bt
from linscope.errors import ExpressionError, LinscopeError, UnknownNameError
from linscope.target.objects import Object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linscope.target.kernel import Kernel
    from linscope.target.types import Type

_TOKENS = re.compile(
    r"\s*(?:(?P<number>(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*)|(?P<char>'(?:\\.|[^'\\])')|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign><<|>>|->|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!()\[\].<>?:,]))"
)
_ORDER = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"), ("+", "-"),
    ("*", "/", "%"),
)  # fmt: skip
_TAGS = ("struct", "union", "enum")
_WORDS = frozenset((*_TAGS, "unsigned", "signed", "long", "short", "int", "char", "void", "const", "volatile"))
_ESCAPES = {"n": 10, "t": 9, "0": 0, "r": 13, "\\": 92, "'": 39}
_DEEPEST = 40


def evaluate(kernel: Kernel, text: str) -> Object:
    """The object that an expression is of.  Raises ExpressionError with its place, MemoryFault."""
    return _Parser(kernel, text).whole()


class _Parser:
    def __init__(self, kernel: Kernel, text: str) -> None:
        self.kernel, self.text = kernel, text
        self.tokens: list[tuple[str, str, int]] = []  # (kind, text, place)
        at = 0
        while text[at:].strip():
            found = _TOKENS.match(text, at)
            if found is None:
                raise self._wrong("this is no part of an expression", at + len(text[at:]) - len(text[at:].lstrip()))
            kind = found.lastgroup or ""
            self.tokens.append((kind, found[kind], found.start(kind)))
            at = found.end()
        self.at = 0
        self.depth = 0

    def _wrong(self, what: str, place: int | None = None) -> ExpressionError:
        if place is None:
            place = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text)
        return ExpressionError(what, text=self.text, position=place)

    def peek(self, ahead: int = 0) -> str:
        """The text of a token, "" behind the last."""
        place = self.at + ahead
        return self.tokens[place][1] if place < len(self.tokens) else ""

    def take(self, sign: str) -> None:
        if self.peek() != sign:
            raise self._wrong(f"expected {sign!r}")
        self.at += 1

    def whole(self) -> Object:
        if not self.tokens:
            raise self._wrong("an expression is needed")
        found = self.ternary()
        if self.at < len(self.tokens):
            raise self._wrong("the expression ends before this")
        return found

    def ternary(self) -> Object:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._wrong("the expression is nested too deep")
        condition = self.binary(0)
        if self.peek() == "?":
            self.at += 1
            first = self.ternary()
            self.take(":")
            second = self.ternary()
            condition = first if condition else second
        self.depth -= 1
        return condition

    def binary(self, level: int) -> Object:
        if level == len(_ORDER):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek() in _ORDER[level]:
            place = self.at
            sign = self.peek()
            self.at += 1
            right = self.binary(level + 1)
            try:
                left = self.combine(sign, left, right)
            except ZeroDivisionError:
                raise self._wrong("division by zero", self.tokens[place][2]) from None
            except UnknownNameError as error:
                raise self._wrong(str(error), self.tokens[place][2]) from None
        return left

    def combine(self, sign: str, left: Object, right: Object) -> Object:
        pointers = [_target(one) for one in (left, right)]
        a, b = int(left), int(right)
        if sign in ("+", "-") and any(pointers):
            if pointers[0] is not None and pointers[1] is not None and sign == "-":
                return self.number((a - b) // max(pointers[0].size, 1))
            target = pointers[0] or pointers[1]
            assert target is not None
            step = max(target.size, 1)
            value = a + b * step if pointers[0] is not None and sign == "+" else a * step + b
            return self.kernel.value(target.pointer(), a - b * step if sign == "-" else value)
        if sign in ("==", "!=", "<", ">", "<=", ">=", "&&", "||"):
            results = {
                "==": a == b, "!=": a != b, "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b,
                "&&": bool(a and b), "||": bool(a or b),
            }  # fmt: skip
            return self.number(int(results[sign]), "int")
        if sign in ("/", "%"):
            quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            result = quotient if sign == "/" else a - quotient * b
        else:
            result = {
                "+": a + b, "-": a - b, "*": a * b, "&": a & b, "|": a | b, "^": a ^ b, "<<": a << (b & 63),
                ">>": a >> (b & 63),
            }[sign]  # fmt: skip
        unsigned = any(_is_unsigned(one) for one in (left, right)) or not -(1 << 63) <= result < 1 << 63
        wide = any(one.type_.size > 4 for one in (left, right)) or not -(1 << 31) <= result < 1 << 31
        return self.number(result, ("unsigned " if unsigned else "") + ("long" if wide else "int"))

    def number(self, value: int, kind: str = "long") -> Object:
        return self.kernel.value(kind, value)

    def unary(self) -> Object:
        sign = self.peek()
        place = self.at
        if sign in ("-", "~", "!", "+"):
            self.at += 1
            one = self.unary()
            if sign == "!":
                return self.number(int(not one), "int")
            value = int(one)
            return self.kernel.value(_promoted(one), {"-": -value, "~": ~value, "+": value}[sign])
        if sign == "*":
            self.at += 1
            one = self.unary()
            if one.type_.kind() == bt.KIND_ARRAY:
                return one[0]
            return self._guarded(one.deref_, place)
        if sign == "&":
            self.at += 1
            return self._guarded(self.unary().address_of_, place)
        if sign == "(" and self._is_type(1):
            self.at += 1
            kind = self.type_name()
            self.take(")")
            one = self.unary()
            return self._guarded(lambda: one.cast_(kind), place)
        if sign == "sizeof":
            self.at += 1
            if self.peek() == "(" and self._is_type(1):
                self.at += 1
                kind = self.type_name()
                self.take(")")
                return self.number(kind.size, "unsigned long")
            return self.number(self.unary().type_.size, "unsigned long")
        return self.postfix()

    def _guarded(self, act: object, place: int) -> Object:
        """What cannot be done is told with its place."""
        try:
            return act()  # type: ignore[operator, no-any-return]
        except UnknownNameError as error:
            raise self._wrong(str(error), self.tokens[place][2]) from None
        except LinscopeError as error:
            if error.exit_code != 2:  # memory that is not there
                raise
            raise self._wrong(error.what, self.tokens[place][2]) from None

    def _is_type(self, ahead: int) -> bool:
        word = self.peek(ahead)
        if word in _WORDS:
            return True
        if not word.isidentifier() or self.peek(ahead + 1) not in (")", "*"):
            return False
        return self.kernel.find_symbol(word) is None and self.kernel.types.find(word) is not None

    def type_name(self) -> Type:
        place = self.at
        words: list[str] = []
        while self.peek() and (self.peek() in _WORDS or (words and words[-1] in _TAGS) or not words):
            words.append(self.peek())
            self.at += 1
        while self.peek() == "*":
            words.append("*")
            self.at += 1
        try:
            return self.kernel.types.get(" ".join(words))
        except UnknownNameError as error:
            raise self._wrong(str(error), self.tokens[place][2]) from None

    def postfix(self) -> Object:
        one = self.primary()
        while True:
            place, sign = self.at, self.peek()
            if sign in (".", "->"):
                self.at += 1
                name = self.peek()
                if not name.isidentifier():
                    raise self._wrong("the name of a member is needed")
                self.at += 1
                one = self._guarded(lambda one=one, name=name: one.member_(name), place + 1)
            elif sign == "[":
                self.at += 1
                index = self.ternary()
                self.take("]")
                one = self._guarded(lambda one=one, index=index: one[int(index)], place)
            else:
                return one

    def primary(self) -> Object:
        if self.at >= len(self.tokens):
            raise self._wrong("the expression ends too early")
        kind, text, place = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return self._constant(text)
        if kind == "char":
            return self.number(_ESCAPES.get(text[2], ord(text[2])) if text[1] == "\\" else ord(text[1]), "int")
        if text == "(":
            found = self.ternary()
            self.take(")")
            return found
        if kind == "name":
            return self._named(text, place)
        raise self._wrong("an expression cannot begin with this", place)

    def _constant(self, text: str) -> Object:
        digits = text.rstrip("uUlL")
        suffix = text[len(digits) :].lower()
        octal = digits[:1] == "0" and digits[1:].isdigit()
        try:
            value = int(digits, 8 if octal else 0)
        except ValueError:
            raise self._wrong(f"{text} is no number", self.tokens[self.at - 1][2]) from None
        is_hex = digits[1:2] in ("x", "X") or octal
        unsigned = "u" in suffix or value >> 63 or (value >> 31 == 1 and is_hex and "l" not in suffix)
        kind = "int" if "l" not in suffix and value >> (32 if unsigned else 31) == 0 else "long"
        return self.number(value, f"unsigned {kind}" if unsigned else kind)

    def _named(self, name: str, place: int) -> Object:
        """A variable, an enumerator, or the address of what has no type."""
        kernel = self.kernel
        address = kernel.find_symbol(name)
        if address is None:
            found = kernel.types.kernel.find_enumerator(name)
            if found is not None:
                return self.number(found[1], "int" if -(1 << 31) <= found[1] < 1 << 31 else "long")
            raise self._wrong(str(UnknownNameError("symbol", name, kernel.symbols.near(name))), place)
        if self.peek() == ":":  # per CPU, as crash writes it: runqueues:0
            follows = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else ("", "", 0)
            if follows[0] == "number":
                self.at += 2
                return self._guarded(lambda: kernel.per_cpu(name, int(follows[1])), self.at - 2)
        try:
            return kernel.variable(name)
        except UnknownNameError:
            return kernel.value(kernel.types.get("void *"), address)


def _target(one: Object) -> Type | None:
    return one.type_.target() or one.type_.element()


def _is_unsigned(one: Object) -> bool:
    content = one.type_.content()
    return content is None or (isinstance(content, bt.Int) and not content.signed and content.size >= 4)


def _promoted(one: Object) -> Type:
    content = one.type_.content()
    if isinstance(content, bt.Int) and content.size >= 4:
        return one.type_
    return one.space_.types.get("int" if one.type_.size <= 4 else "long")
