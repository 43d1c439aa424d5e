"""Types and constants that are written in C: in the script itself, and in the headers that it includes.

Headers are read when the script is, for their macros; their types are understood when a name is asked for that the
script itself does not define.
"""

from __future__ import annotations

from linscope.errors import SourceError
from linscope.lang import types as t
from linscope.lang.bpftrace.problems import Wrong, diagnostic_at
from linscope.lang.definitions.c_expressions import evaluate
from linscope.lang.definitions.c_parser import Parser
from linscope.lang.definitions.preprocessor import Preprocessor

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.lang.definitions.definitions import Definitions, Macro

_FIRST_LINE = 2  # of a script's C in the file that bpftrace makes of it


class CSource:
    """What a script's own C defines."""

    def __init__(
        self, parts: Sequence[tuple[str, int]], definitions: Definitions, include_dirs: Sequence[str],
        includes: Sequence[str], script: str = "",
    ) -> None:  # fmt: skip
        """parts: (text, place in the script); script: the whole of it, for the lines and columns of messages.

        Raises SourceError: what is wrong.
        """
        self.definitions = definitions
        self.types: dict[tuple[str | None, str], t.Type] = {}
        self.constants: dict[str, tuple[int, t.Type]] = {}
        self.preprocessor = Preprocessor(include_dirs, definitions.has_btf)
        self._headers: list[str] = []  # lines whose types nobody has asked for yet
        problems = []
        for name in includes:
            try:
                self._headers += self.preprocessor.line(f'#include "{name}"')
            except Wrong as wrong:
                problems.append(diagnostic_at(f"--include {name}", (0, len(name) + 10), wrong.what, wrong.hint))
        number = _FIRST_LINE
        for text, place in parts:
            try:
                self._part(text, number)
            except Wrong as wrong:
                start, end = wrong.span
                if script:
                    problems.append(diagnostic_at(script, (place + start, place + end), wrong.what, wrong.hint))
                else:
                    problems.append(diagnostic_at(text, wrong.span, wrong.what, wrong.hint))
            number += text.count("\n") + 1
        if problems:
            raise SourceError(problems)

    def _part(self, text: str, number: int) -> None:
        if text.lstrip().startswith("#"):
            self._headers += self.preprocessor.line(text, number=number)
        elif self.preprocessor.is_active:
            expanded = self.preprocessor.expand(text)
            try:
                Parser(self, expanded, is_header=False).definitions()
            except Wrong as wrong:
                if expanded != text:  # places in it are none in the script
                    raise Wrong((0, len(text.partition("\n")[0])), wrong.what, wrong.hint) from None
                raise

    def read_headers(self) -> bool:
        """Understand what the headers define; False: that is done already."""
        if not self._headers:
            return False
        text, self._headers = "\n".join(self._headers), []
        Parser(self, text, is_header=True).definitions()
        return True

    # -- what others define

    def find_elsewhere(self, tag: str | None, name: str) -> t.Type | None:
        """A type that the script uses and does not define itself: of its headers, or the kernel's."""
        if self.read_headers() and (tag, name) in self.types:
            return self.types[tag, name]
        return self.definitions.kernel_type(tag, name)

    def near_type(self, name: str) -> str:
        """A hint: the type that may have been meant."""
        for tag in ("struct", "union", "enum"):
            if (tag, name) in self.types or self.definitions.kernel_type(tag, name) is not None:
                return f"did you mean {tag} {name}?"
        import difflib

        found = difflib.get_close_matches(name, [known for tag, known in self.types if tag is None], 1)
        return f"did you mean {found[0]}?" if found else ""

    def reference(self, tag: str, name: str) -> t.Type:
        """A type that is named by its tag: defined here or elsewhere, now or later."""
        return self.types.get((tag, name)) or _Later(self, tag, name)

    # -- looking up

    def find_type(self, tag: str | None, name: str) -> t.Type | None:
        """A type that is defined here; None: none is."""
        found = self.types.get((tag, name))
        if found is None and self.read_headers():
            found = self.types.get((tag, name))
        return found

    def find_constant(self, name: str) -> tuple[int | bytes, t.Type] | Macro | None:
        """An enumerator or a macro that is defined here; None: none is.

        A macro whose text has a number as its value gives that; any other its text.
        """
        from linscope.lang.definitions.definitions import Macro

        if name in self.constants:
            return self.constants[name]
        parameters, body = self.preprocessor.macros.get(name, (None, ""))
        if parameters is None and body and name not in self.preprocessor.own:
            return self._value_of(name, body) or Macro(self.preprocessor.expand(body, frozenset((name,))))
        if self.read_headers():
            return self.find_constant(name)
        return None

    def _value_of(self, name: str, body: str) -> tuple[int, t.Type] | None:
        text = self.preprocessor.expand(body, frozenset((name,))).strip()
        if text not in self.constants and text.isidentifier():
            self.read_headers()
        if text in self.constants:  # #define IPPROTO_TCP IPPROTO_TCP
            return self.constants[text]
        parser = Parser(self, "", is_header=True)
        value = evaluate(text, self._number_of, parser.find_type)
        return None if value is None else (value, t.INT64 if value < 1 << 63 else t.UINT64)

    def _number_of(self, name: str) -> int | None:
        found = self.constants.get(name)
        return found[0] if found is not None else None


class _Later(t.Struct):
    """A struct that is named before it is defined; of a header or the kernel, when the script does not define it."""

    def __init__(self, source: CSource, tag: str, name: str) -> None:
        super().__init__(name, 0, list, tag)
        self._source = source

    def _found(self) -> t.Type | None:
        key = self.tag, self.name
        return self._source.types.get(key) or self._source.find_elsewhere(*key)

    @property
    def size(self) -> int:
        """Bytes; 0 when it is nowhere defined."""
        found = self._found()
        return found.size if found is not None and found is not self else 0

    @property
    def fields(self) -> list[t.Field]:
        """All fields."""
        found = self._found()
        return found.fields if isinstance(found, t.Struct) and found is not self else []
