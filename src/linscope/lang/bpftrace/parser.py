"""bpftrace text -> syntax tree; all that is wrong is told, up to twenty places.

Source: bpftrace docs/language.md and docs/language_parsing.md (v0.26), and the older spellings that its tools use.
"""

from __future__ import annotations

from linscope.errors import Diagnostic, SourceError
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.expressions import ExpressionParser
from linscope.lang.bpftrace.lexer import END, IDENTIFIER, MAP, NUMBER, STRING, VARIABLE, Token, WrongProgram, diagnostic
from linscope.lang.bpftrace.problems import TOO_DEEP

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

_ASSIGNMENTS = ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=")
_MOST = 20  # diagnostics
_TAGS = ("struct", "union", "enum", "typedef")
_WITHOUT_SEMICOLON = (sx.While, sx.Unroll, sx.ForMap, sx.ForRange)


def parse(text: str, *, where: str = "") -> sx.Program:
    """The syntax tree of a program.

    where: name of the file, for messages.  Raises SourceError with all places that cannot be understood.
    """
    parser = _Parser(text)
    program = parser.program()
    if parser.problems:
        raise SourceError(parser.problems, where=where)
    return program


class _Parser(ExpressionParser):
    """Statements and the top of a program."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[Diagnostic] = []

    def program(self) -> sx.Program:
        """The whole; what is wrong goes to problems."""
        made = sx.Program(self.text, [], [], [], [], [], [], [])
        if self.text.startswith("#!"):
            self.lexer.at = _line_end(self.text, 0)
        while len(self.problems) < _MOST:
            try:
                if self.peek().kind == END:
                    break
                self._item(made)
            except WrongProgram as wrong:
                self.problems.append(diagnostic(self.text, wrong))
                self._recover(wrong.at)
            except RecursionError:  # many levels of operators in many brackets
                at = min(self.lexer.at, len(self.text))
                self.problems.append(diagnostic(self.text, WrongProgram(TOO_DEEP, at)))
                self._recover(at)
        return made

    def _recover(self, at: int) -> None:
        """Go on behind the end of the item in which something was wrong."""
        self._ahead.clear()
        self._depth = 0
        end = self.text.find("\n}", at)
        end = end + 2 if end >= 0 else len(self.text)
        self.lexer.at = max(end, self.lexer.at, at + 1)

    # -- the top

    def _item(self, made: sx.Program) -> None:
        token = self.peek()
        if token.text == "#":
            made.definitions.append(self._directive())
        elif token.kind == IDENTIFIER and token.text in _TAGS:
            made.definitions.append(self._c_definition())
        elif token.text == "config" and self.peek(1).text == "=":
            made.settings += self._config()
        elif token.text == "import" and self.peek(1).kind == STRING:
            self.next()
            path = self.next()
            assert isinstance(path.value, bytes)
            self.take(";")
            made.imports.append(sx.Import((token.start, path.end), path.value.decode(errors="replace")))
        elif token.text == "macro" and self.peek(1).kind == IDENTIFIER:
            made.macros.append(self._macro())
        elif token.text == "fn" and self.peek(1).kind == IDENTIFIER:
            made.functions.append(self._subprogram())
        elif token.text == "let" and self.peek(1).kind == MAP:
            made.maps.append(self._map_declaration())
        elif token.text == ";":
            self.next()
        elif token.text == "config" and self.peek(1).text == "{":
            raise WrongProgram("a = is missing", token.start, "config = { name = value }", token.end)
        else:
            made.probes.append(self._probe())

    def _directive(self) -> sx.CDefinition:
        """A line of the C preprocessor, with those that it goes on in."""
        token = self.peek()
        self.rewind()
        self.lexer.skip_space()
        end = self.lexer.at = _line_end(self.text, token.start)
        return sx.CDefinition((token.start, end), self.text[token.start : end])

    def _c_definition(self) -> sx.CDefinition:
        """``struct s { ... };``, ``enum e { ... };``, ``typedef ...;``"""
        start = self.peek().start
        typedef = self.is_word("typedef")
        depth = 0
        while True:
            token = self.next()
            if token.kind == END:
                raise WrongProgram("a definition in C that does not end", start, "it ends with };")
            depth += (token.text == "{") - (token.text == "}")
            if token.text == "}" and not depth and not typedef and ";" not in (self.peek().text, self.peek(1).text):
                break  # else "} name;"
            if token.text == ";" and not depth:
                break
        return sx.CDefinition(self.span_from(start), self.text[start : self._last_end])

    def _config(self) -> list[sx.Setting]:
        self.next()
        self.expect("=")
        self.expect("{")
        found = []
        while not self.take("}"):
            name = self.identifier("a setting")
            self.expect("=")
            token = self.next()
            if token.kind not in (NUMBER, STRING, IDENTIFIER):
                raise self.unexpected(token, "expected a value")
            value = token.value.decode(errors="replace") if isinstance(token.value, bytes) else token.value
            found.append(
                sx.Setting((name.start, token.end), name.text, token.text if token.kind == IDENTIFIER else value)
            )
            if not self.take(";"):
                self.expect("}")
                break
        return found

    def _macro(self) -> sx.Macro:
        start = self.next().start
        name = self.identifier("the name of a macro").text
        parameters = []
        self.expect("(")
        while not self.is_sign(")"):
            token = self.next()
            if token.kind not in (VARIABLE, MAP, IDENTIFIER):
                raise self.unexpected(token, "expected a parameter", "$variable, @map, or a name for any expression")
            parameters.append(token.text)
            if not self.take(","):
                break
        self.expect(")")
        return sx.Macro(self.span_from(start), name, parameters, self.block(value=True))

    def _subprogram(self) -> sx.Subprogram:
        start = self.next().start
        name = self.identifier("the name of a function").text
        parameters: list[tuple[str, sx.TypeName]] = []
        self.expect("(")
        while not self.is_sign(")"):
            token = self.next()
            if token.kind != VARIABLE:
                raise self.unexpected(token, "expected a parameter", "$name : type")
            self.expect(":")
            parameters.append((token.text[1:], self.type_name()))
            if not self.take(","):
                break
        self.expect(")")
        returns = self.type_name() if self.take(":") else None
        return sx.Subprogram(self.span_from(start), name, parameters, returns, self.block(value=True))

    def _map_declaration(self) -> sx.MapDeclaration:
        start = self.next().start
        name = self.next().text[1:]
        self.expect("=")
        kind = self.identifier("a kind of map").text
        self.expect("(")
        token = self.peek()
        if token.kind != NUMBER or not isinstance(token.value, int):
            raise self.unexpected(token, "expected the number of entries")
        self.next()
        self.expect(")")
        self.expect(";")
        return sx.MapDeclaration(self.span_from(start), name, kind, token.value)

    def _probe(self) -> sx.Probe:
        self.rewind()
        points = [self._attach_point()]
        while self.take(","):
            self.rewind()
            points.append(self._attach_point())
        predicate = self.predicate() if self.is_sign("/") else None
        body = self.block(value=True)
        if body.value is not None:  # the last statement may lack its semicolon
            body.statements.append(sx.ExpressionStatement(body.value.span, body.value))
            body.value = None
        return sx.Probe(self.span_from(points[0].span[0]), points, predicate, body)

    def _attach_point(self) -> sx.AttachPoint:
        token: Token = self.lexer.attach_point()
        self._last_end = token.end
        return sx.AttachPoint((token.start, token.end), token.text)

    # -- statements

    def block(self, *, value: bool = False) -> sx.Block:
        """Statements in braces.  value: the last one may be an expression without a semicolon, its worth."""
        start = self.expect("{").start
        self.deeper()
        statements: list[sx.Statement] = []
        while not self.is_sign("}"):
            if self.take(";"):
                continue
            statement = self._statement()
            if isinstance(statement, sx.ExpressionStatement):
                bare = isinstance(statement.expression, sx.IfExpression | sx.Block)
                if self.is_sign("}") and value:
                    self.next()
                    self._depth -= 1
                    return sx.Block(self.span_from(start), statements, statement.expression)
                if not bare and not self.is_sign("}"):
                    self._semicolon()
            elif not isinstance(statement, _WITHOUT_SEMICOLON) and not self.is_sign("}"):
                self._semicolon()
            statements.append(statement)
        self.next()
        self._depth -= 1
        return sx.Block(self.span_from(start), statements)

    def _semicolon(self) -> None:
        token = self.peek()
        if not self.take(";"):
            before = self._last_end
            if token.kind == END:
                raise WrongProgram("the program ends in a block", before, "a } is missing")
            if token.text == "else":
                raise WrongProgram("an else without an if", token.start, end=token.end)
            raise WrongProgram(f"expected ';', found {token.text!r}", before, "statements end with ;")

    def _statement(self) -> sx.Statement:
        token = self.peek()
        if token.kind == IDENTIFIER:
            if token.text == "else":
                raise WrongProgram("an else without an if", token.start, end=token.end)
            if (special := self._special(token.text)) is not None:
                return special()
            if token.text == "_" and self.peek(1).text == "=":
                self.next()
                self.next()
                value = self.expression()
                return sx.Assign(self.span_from(token.start), None, "=", value)
        target = self.expression()
        if self.is_sign(*_ASSIGNMENTS):
            at = self.peek().start
            sign = self.next().text
            if not isinstance(target, sx.Variable | sx.MapAccess | sx.Identifier | sx.Member | sx.Index):
                raise WrongProgram("nothing can be assigned to this", at, "$variables and @maps take values")
            value = self.expression()
            return sx.Assign(self.span_from(token.start), target, sign, value)
        return sx.ExpressionStatement(target.span, target)

    def _special(self, word: str) -> Callable[[], sx.Statement] | None:
        """What reads the statement that begins with a word; None for an expression."""
        special: dict[str, Callable[[], sx.Statement]] = {
            "let": self._let, "while": self._while, "unroll": self._unroll, "for": self._for,
            "return": self._jump, "break": self._jump, "continue": self._jump,
        }  # fmt: skip
        return special.get(word)

    def _let(self) -> sx.Let:
        start = self.next().start
        token = self.peek()
        if token.kind != VARIABLE:
            raise self.unexpected(token, "expected a variable", "let $x = 1; maps are declared outside of probes")
        self.next()
        type_ = self.type_name() if self.take(":") else None
        value = self.expression() if self.take("=") else None
        return sx.Let(self.span_from(start), token.text[1:], type_, value)

    def _while(self) -> sx.While:
        start = self.next().start
        condition = self.expression()
        return sx.While(self.span_from(start), condition, self.block())

    def _unroll(self) -> sx.Unroll:
        start = self.next().start
        count = self.expression()
        return sx.Unroll(self.span_from(start), count, self.block())

    def _for(self) -> sx.ForMap | sx.ForRange:
        start = self.next().start
        bracket = self.take("(")
        token = self.peek()
        if token.kind != VARIABLE:
            raise self.unexpected(token, "expected a variable", "for ($kv : @map) { }, for $i : 0..10 { }")
        self.next()
        self.expect(":", "for ($kv : @map) { }, for $i : 0..10 { }")
        first = self.expression()
        if self.take(".."):
            last = self.expression()
            if bracket:
                self.expect(")")
            body = self.block()
            return sx.ForRange(self.span_from(start), token.text[1:], first, last, body)
        if bracket:
            self.expect(")")
        if not isinstance(first, sx.MapAccess) or first.key is not None:
            raise WrongProgram("a loop goes over a map or a range", first.span[0], "@map, or first..last")
        body = self.block()
        return sx.ForMap(self.span_from(start), token.text[1:], first, body)

    def _jump(self) -> sx.Jump:
        token = self.next()
        value = None
        if token.text == "return" and not self.is_sign(";", "}"):
            value = self.expression()
        return sx.Jump(self.span_from(token.start), token.text, value)

    def if_expression(self, *, comptime: bool = False) -> sx.IfExpression:
        """``if condition { } else if condition { } else { }``"""
        start = self.next().start
        if self.is_word("comptime"):
            self.next()
            comptime = True
        condition = self.expression()
        yes = self.block(value=True)
        no: sx.Block | None = None
        if self.take("else"):
            if self.is_word("if") or self.is_word("comptime"):
                self.take("comptime")
                self.deeper()
                other = self.if_expression()
                self._depth -= 1
                no = sx.Block(other.span, [], other)
            else:
                no = self.block(value=True)
        return sx.IfExpression(self.span_from(start), condition, yes, no, comptime)


def _line_end(text: str, start: int) -> int:
    """Where a line of the preprocessor ends: at the first line break without a backslash before it."""
    at = start
    while True:
        at = text.find("\n", at)
        if at < 0:
            return len(text)
        if text[at - 1] != "\\":
            return at
        at += 1


def parse_expression(text: str) -> sx.Expression | None:
    """One expression, of a macro in C; None when it is none."""
    parser = _Parser(text)
    try:
        found = parser.expression()
        return found if parser.peek().kind == END else None
    except WrongProgram:
        return None
