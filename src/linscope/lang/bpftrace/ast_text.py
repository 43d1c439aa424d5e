"""The syntax tree as text, for -d ast: one node a line, what belongs to it below, indented."""

from __future__ import annotations

from linscope.lang.nodes import Node

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.lang.bpftrace import syntax as sx


def format_tree(program: sx.Program) -> str:
    """The whole program."""
    return "\n".join(["Program", *_lines_of(program, 1, skip=("text",))]) + "\n"


def _lines(name: str, node: object, depth: int) -> Iterator[str]:
    blanks = "  " * depth
    label = f"{name}: " if name else ""
    if isinstance(node, Node):
        plain = [f"{field}={value!r}" for field, value in _fields(node) if not isinstance(value, Node | list)]
        yield f"{blanks}{label}{type(node).__name__}{' ' if plain else ''}{' '.join(plain)}"
        yield from _lines_of(node, depth + 1)
    else:
        yield f"{blanks}{label}{node!r}"


def _fields(node: Node) -> Iterator[tuple[str, object]]:
    for field in node._fields:
        value = getattr(node, field, None)
        if field != "span" and value not in (None, [], (), "", False):
            yield field, value


def _lines_of(node: Node, depth: int, skip: tuple[str, ...] = ()) -> Iterator[str]:
    for field, value in _fields(node):
        if field in skip:
            continue
        if isinstance(value, Node):
            yield from _lines(field, value, depth)
        elif isinstance(value, list):
            for one in value:
                yield from _lines(field if len(value) == 1 else "", one, depth)
