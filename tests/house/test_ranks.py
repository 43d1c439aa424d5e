"""Imports point down; the rule is read off the source, nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "linscope"
SOURCE = Path(__file__).resolve().parents[2] / "src" / PACKAGE

# Lowest first.  Folders of one row are strangers to each other.  See docs/decisions/0001-ranks.md.
RANKS: tuple[tuple[str, ...], ...] = (
    ("errors", "version", "_native"),
    ("units", "contracts", "tables", "abi"),
    ("binfmt", "sys", "columns", "picture"),
    ("memory", "symbols", "bpf", "rsp"),
    ("sources", "formats", "lang", "target"),
    ("session", "kernel", "analysis"),
    ("crash", "debug", "views", "render", "store"),
    ("pictures",),
    ("recording",),
    ("api",),
    ("tui", "web", "lab"),
    ("kdump",),
    ("commands",),
    ("cli",),
)
RANK = {name: number for number, row in enumerate(RANKS) for name in row}
NATIVE_USERS = {"columns", "binfmt", "symbols", "bpf", "_native"}
FREE = {"__init__", "__main__"}  # the package's own front door


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of every import that can run; one in a function is still a dependency."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and is_type_checking(child.test):
            for other in child.orelse:
                yield from imports(other)
        elif isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if child.level:
                yield child.lineno, "." * child.level
            elif child.module == PACKAGE:
                yield from ((child.lineno, f"{PACKAGE}.{alias.name}") for alias in child.names)
            else:
                yield child.lineno, child.module or ""
        else:
            yield from imports(child)


def complaints() -> Iterator[str]:
    for path in sorted(SOURCE.rglob("*.py")):
        here = path.relative_to(SOURCE).with_suffix("").parts[0]
        if here in FREE:
            continue
        if here not in RANK:
            yield f"{path}: {here!r} has no rank; add it to RANKS and say why in docs/decisions"
            continue
        for line, name in imports(ast.parse(path.read_text(), str(path))):
            if name.startswith("."):
                yield f"{path}:{line}: relative import; write the whole path"
                continue
            head, _, rest = name.partition(".")
            there = rest.partition(".")[0]
            if head != PACKAGE or there in ("", here):
                continue
            if there not in RANK:
                yield f"{path}:{line}: imports {name}, which has no rank"
            elif there == "_native" and here not in NATIVE_USERS:
                yield f"{path}:{line}: only {sorted(NATIVE_USERS - {'_native'})} may import native code"
            elif RANK[there] >= RANK[here]:
                yield f"{path}:{line}: {here} (rank {RANK[here]}) imports {there} (rank {RANK[there]})"


def test_imports_point_down() -> None:
    found = list(complaints())
    assert not found, "\n".join(found)


def test_an_upward_import_is_seen(tmp_path: Path) -> None:
    """The rule itself works: a lazy import upward is found, one for type checking only is not."""
    tree = ast.parse(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from linscope.cli import main\n"
        "def f():\n    from linscope import commands\n"
    )
    assert (5, "linscope.commands") in list(imports(tree))
    assert not any(name == "linscope.cli" for _, name in imports(tree))
