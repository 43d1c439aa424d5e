"""Expressions and types of bpftrace, by precedence.

Source: bpftrace docs/language_parsing.md, the table of precedences.
"""

from __future__ import annotations

from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.lexer import (
    END,
    IDENTIFIER,
    MAP,
    NUMBER,
    PARAMETER,
    SIGN,
    STRING,
    VARIABLE,
    Lexer,
    Token,
    WrongProgram,
)

# lowest first
_LEVELS = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"), ("+", "-"),
    ("*", "/", "%"),
)  # fmt: skip
_LEVEL_OF = {sign: level for level, signs in enumerate(_LEVELS) for sign in signs}
_UNARY = ("-", "!", "~", "*", "&", "++", "--", "+")
_MOST_NESTED = 100
_PARAMETER_DIGITS = 12
_MOST_JOINED = 250  # operands of one level: a + b + c ...
TYPES = frozenset(
    (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "string", "buffer", "inet",
        "void", "char", "short", "int", "long", "unsigned", "signed", "size_t", "ssize_t", "u8", "u16", "u32", "u64",
        "s8", "s16", "s32", "s64", "ksym_t", "usym_t", "mac_address", "timestamp", "kstack_t", "ustack_t",
        "min_t", "max_t", "sum_t", "avg_t", "count_t", "stats_t", "hist_t", "lhist_t", "tseries_t", "usum_t", "umin_t",
        "umax_t", "uavg_t", "ustats_t", "pid_t", "uid_t", "__u8", "__u16", "__u32", "__u64",
    )
)  # fmt: skip
_TAGS = ("struct", "union", "enum")
_C_WORDS = ("unsigned", "signed", "int", "char", "short", "long")


class ExpressionParser:
    """Reads expressions; the statements' parser is built on it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lexer = Lexer(text)
        self._ahead: list[tuple[Token, int]] = []  # tokens that were looked at, and where the lexer stood before
        self._depth = 0
        self._last_end = 0
        self._no_predicate_end = False

    # -- tokens

    def peek(self, further: int = 0) -> Token:
        """A token that is still to come."""
        while len(self._ahead) <= further:
            before = self.lexer.at
            self._ahead.append((self.lexer.next(), before))
        return self._ahead[further][0]

    def next(self) -> Token:
        """The next token, which is taken."""
        token = self.peek()
        self._ahead.pop(0)
        self._last_end = token.end
        return token

    def rewind(self) -> None:
        """Forget the tokens that were looked at: the text is to be read in another way."""
        if self._ahead:
            self.lexer.at = self._ahead[0][1]
            self._ahead.clear()

    def is_sign(self, *texts: str) -> bool:
        """Whether one of some signs comes next."""
        token = self.peek()
        return token.kind == SIGN and token.text in texts

    def is_word(self, *texts: str) -> bool:
        """Whether one of some words comes next."""
        token = self.peek()
        return token.kind == IDENTIFIER and token.text in texts

    def take(self, text: str) -> bool:
        """Take a sign or word if it comes next."""
        token = self.peek()
        if token.kind in (SIGN, IDENTIFIER) and token.text == text:
            self.next()
            return True
        return False

    def expect(self, text: str, hint: str = "") -> Token:
        """Take a sign or word.  Raises WrongProgram: something else stands here."""
        token = self.peek()
        if token.kind in (SIGN, IDENTIFIER) and token.text == text:
            return self.next()
        if token.text == "=" and text in (")", "/", "{"):
            hint = "values are compared with =="
        elif text == "{" and not hint:
            hint = "statements stand in braces: { ... }"
        raise self.unexpected(token, f"expected {text!r}", hint)

    def unexpected(self, token: Token, what: str, hint: str = "") -> WrongProgram:
        """The error for a token."""
        found = "the program ends" if token.kind == END else f"found {token.text!r}"
        return WrongProgram(f"{what}, {found}", token.start, hint, token.end)

    def identifier(self, what: str) -> Token:
        """Take a word."""
        token = self.peek()
        if token.kind != IDENTIFIER:
            raise self.unexpected(token, f"expected {what}")
        return self.next()

    def span_from(self, start: int) -> sx.Span:
        """From a character to the end of what was taken last."""
        return start, self._last_end

    # -- expressions

    def deeper(self) -> None:
        """What comes is a level deeper; ``_depth`` is counted down behind it.  Raises WrongProgram: too deep."""
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise WrongProgram(f"nested more than {_MOST_NESTED} deep", self.peek().start)

    def expression(self) -> sx.Expression:
        """Any expression.  Raises WrongProgram."""
        self.deeper()
        found = self._conditional()
        self._depth -= 1
        return found

    def _conditional(self) -> sx.Expression:
        start = self.peek().start
        condition = self._binary(0)
        if self.take("?:"):
            return sx.Conditional(self.span_from(start), condition, None, self.expression())
        if not self.is_sign("?"):
            return condition
        self.next()
        if self.take(":"):
            no = self.expression()
            return sx.Conditional(self.span_from(start), condition, None, no)
        yes = self.expression()
        self.expect(":")
        no = self.expression()
        return sx.Conditional(self.span_from(start), condition, yes, no)

    def _binary(self, lowest: int) -> sx.Expression:
        """Operands joined by operators of a level or higher ones."""
        start = self.peek().start
        left = self._unary()
        for _ in range(_MOST_JOINED):
            token = self.peek()
            level = _LEVEL_OF.get(token.text, -1) if token.kind == SIGN else -1
            if level < lowest or (self._no_predicate_end and self._ends_predicate()):
                return left
            sign = self.next().text
            right = self._binary(level + 1)
            left = sx.Binary(self.span_from(start), sign, left, right)
        raise WrongProgram(f"more than {_MOST_JOINED} operators one after the other", self.peek().start)

    def _ends_predicate(self) -> bool:
        """Whether the slash that comes next closes a predicate: a brace follows it."""
        return self.is_sign("/") and self.peek(1).text == "{"

    def predicate(self) -> sx.Expression:
        """What stands between the slashes in front of a probe's body."""
        self.expect("/")
        self._no_predicate_end = True
        try:
            found = self.expression()
        finally:
            self._no_predicate_end = False
        self.expect("/", "a predicate stands between slashes: /pid == 1/")
        return found

    def _unary(self) -> sx.Expression:
        token = self.peek()
        if token.kind == SIGN and token.text in _UNARY:
            self.deeper()
            self.next()
            operand = self._unary()
            self._depth -= 1
            return sx.Unary(self.span_from(token.start), token.text, operand)
        if token.text == "(" and self._is_cast():
            self.next()
            type_ = self.type_name()
            self.expect(")")
            self.deeper()
            operand = self._unary()
            self._depth -= 1
            return sx.Cast(self.span_from(token.start), type_, operand)
        return self._postfix(self._primary())

    def _postfix(self, found: sx.Expression) -> sx.Expression:
        start = found.span[0]
        for _ in range(_MOST_NESTED):
            token = self.peek()
            if token.kind != SIGN:
                return found
            if token.text in (".", "->"):
                self.next()
                self.rewind()
                index = self.lexer.tuple_index() if token.text == "." else None
                if index is not None:
                    self._last_end = index.end
                    if isinstance(found, sx.Integer):
                        raise WrongProgram("numbers have no fraction", start, end=index.end)
                name = index or self.identifier("a member")
                found = sx.Member(self.span_from(start), found, name.text, token.text == "->")
            elif token.text == "[":
                self.next()
                inner = self.expression()
                self.expect("]")
                found = sx.Index(self.span_from(start), found, inner)
            elif token.text in ("++", "--"):
                self.next()
                found = sx.Postfix(self.span_from(start), token.text, found)
            else:
                return found
        raise WrongProgram(f"nested more than {_MOST_NESTED} deep", self.peek().start)

    def _primary(self) -> sx.Expression:
        token = self.peek()
        if token.kind == NUMBER:
            self.next()
            assert isinstance(token.value, int)
            return sx.Integer((token.start, token.end), token.value, token.suffix)
        if token.kind == STRING:
            self.next()
            value = token.value
            while self.peek().kind == STRING:  # as in C, neighbors are one
                more = self.next().value
                assert isinstance(value, bytes) and isinstance(more, bytes)
                value += more
            assert isinstance(value, bytes)
            return sx.String(self.span_from(token.start), value)
        if token.kind == PARAMETER:
            self.next()
            if len(token.text) > _PARAMETER_DIGITS:
                raise WrongProgram("there are not so many parameters", token.start)
            return sx.Parameter((token.start, token.end), -1 if token.text == "$#" else int(token.text[1:]))
        if token.kind == VARIABLE:
            self.next()
            return sx.Variable((token.start, token.end), token.text[1:])
        if token.kind == MAP:
            return self._map()
        if token.text == "(":
            return self._brackets()
        if token.text == "{":
            return self.block(value=True)
        if token.kind == IDENTIFIER:
            return self._word()
        raise self.unexpected(token, "expected a value")

    def block(self, *, value: bool = False) -> sx.Block:
        """Statements in braces; the statements' parser has it.  value: the last one may be what it is worth."""
        raise NotImplementedError

    def if_expression(self, *, comptime: bool = False) -> sx.IfExpression:
        """An if; the statements' parser has it."""
        raise NotImplementedError

    def _map(self) -> sx.MapAccess:
        token = self.next()
        key: sx.Expression | None = None
        if self.is_sign("["):
            start = self.next().start
            keys = [self.expression()]
            while self.take(","):
                keys.append(self.expression())
            self.expect("]")
            key = keys[0] if len(keys) == 1 else sx.Tuple(self.span_from(start), keys)
        return sx.MapAccess(self.span_from(token.start), token.text[1:], key)

    def _brackets(self) -> sx.Expression:
        """``(x)``, or a tuple or record."""
        start = self.next().start
        if self.take(")"):
            return sx.Tuple(self.span_from(start), [])
        elements: list[sx.Expression] = []
        names: list[str] = []
        comma = False
        while not self.is_sign(")"):
            if self.peek().kind == IDENTIFIER and self.peek(1).text == "=" and len(names) == len(elements):
                names.append(self.next().text)
                self.next()
            elements.append(self.expression())
            comma = self.take(",")
            if not comma:
                break
        self.expect(")")
        if names and len(names) != len(elements):
            raise WrongProgram("a record has a name for each of its fields", start)
        if len(elements) == 1 and not comma and not names:
            return elements[0]
        return sx.Tuple(self.span_from(start), elements, names)

    def _word(self) -> sx.Expression:
        token = self.peek()
        if token.text == "if":
            return self.if_expression()
        if token.text == "comptime":
            self.next()
            if self.is_word("if"):
                return self.if_expression(comptime=True)
            return sx.Comptime(self.span_from(token.start), self.expression())
        self.next()
        if not self.is_sign("("):
            return sx.Identifier((token.start, token.end), token.text)
        self.next()
        arguments: list[sx.Expression | sx.TypeName] = []
        while not self.is_sign(")"):
            arguments.append(self._argument())
            if not self.take(","):
                break
        self.expect(")", self._hint_in_call(arguments))
        return sx.Call(self.span_from(token.start), token.text, arguments)

    def _hint_in_call(self, arguments: list[sx.Expression | sx.TypeName]) -> str:
        """What may be wrong when something else than a comma or a bracket follows an argument."""
        last = arguments[-1] if arguments else None
        if self.is_sign(":"):
            return "loops are written for ($kv : @map) { }"
        if isinstance(last, sx.Identifier) and self.text[self._last_end - 1] == ")" and self.peek().kind != SIGN:
            return f"there is no type {last.name}"
        return "arguments are separated by commas"

    def _argument(self) -> sx.Expression | sx.TypeName:
        """An argument of a call: sizeof and its kin take types."""
        if self._begins_type() and not (self.peek().text == "typeof" and not self._is_type_until((")", ","), 0)):
            return self.type_name()
        if self.peek().kind == IDENTIFIER and self._is_type_until((")", ","), 0) and self.peek(1).text in ("*", "["):
            return self.type_name()
        return self.expression()

    # -- types

    def _begins_type(self, further: int = 0) -> bool:
        token = self.peek(further)
        return token.kind == IDENTIFIER and (token.text in TYPES or token.text in _TAGS or token.text == "typeof")

    def _is_cast(self) -> bool:
        """Whether the bracket that comes next holds a type, and a value follows it."""
        if self._begins_type(1):
            return True
        return self.peek(1).kind == IDENTIFIER and self.peek(2).text == "*" and self._is_type_until((")",), 1)

    def _is_type_until(self, ends: tuple[str, ...], at: int) -> bool:
        """Whether a name with stars and brackets only stands from a token on up to one of some signs."""
        if self.peek(at).kind != IDENTIFIER:
            return False
        at += 1
        if self.peek(at - 1).text == "typeof":
            return self.peek(at).text == "("
        while True:
            token = self.peek(at)
            if token.text in ends and token.kind == SIGN:
                return True
            if token.text == "*":
                at += 1
            elif token.text == "[" and self.peek(at + 1).kind == NUMBER and self.peek(at + 2).text == "]":
                at += 3
            else:
                return False

    def type_name(self) -> sx.TypeName:
        """A type.  Raises WrongProgram."""
        start = self.peek().start
        self.deeper()
        found = self._type_base()
        self._depth -= 1
        for _ in range(_MOST_NESTED):
            if self.take("*"):
                found = sx.PointerType(self.span_from(start), found)
            elif self.is_sign("["):
                self.next()
                token = self.peek()
                length = 0
                if not self.is_sign("]"):
                    if token.kind != NUMBER or not isinstance(token.value, int):
                        raise self.unexpected(token, "expected a length")
                    length = token.value
                    self.next()
                self.expect("]")
                if isinstance(found, sx.NamedType) and found.name in ("string", "buffer", "inet"):
                    found = sx.NamedType(self.span_from(start), found.name, length)
                else:
                    found = sx.ArrayType(self.span_from(start), found, length)
            else:
                return found
        raise WrongProgram(f"nested more than {_MOST_NESTED} deep", self.peek().start)

    def _type_base(self) -> sx.TypeName:
        start = self.peek().start
        if self.take("("):
            elements = [self.type_name()]
            while self.take(","):
                if self.is_sign(")"):
                    break
                elements.append(self.type_name())
            self.expect(")")
            return sx.TupleType(self.span_from(start), elements)
        token = self.identifier("a type")
        if token.text == "const":
            token = self.identifier("a type")
        if token.text in _TAGS:
            name = self.identifier(f"the name of a {token.text}")
            return sx.TaggedType(self.span_from(start), token.text, name.text)
        if token.text == "typeof":
            self.expect("(")
            of = self._argument()
            self.expect(")")
            return sx.TypeOf(self.span_from(start), of)
        words = [token.text]
        while words[-1] in _C_WORDS and self.is_word(*_C_WORDS):
            words.append(self.next().text)
        return sx.NamedType(self.span_from(start), " ".join(words))
