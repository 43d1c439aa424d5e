"""How the source reads: docstrings, sizes, no way around the rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "linscope"
MAX_LINES = 600
MAX_NATIVE_LINES = 4100  # docs/decisions/0010


def is_setter(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(decorator, ast.Attribute) for decorator in node.decorator_list)


def public_nodes(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        ) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    is_function = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
                    if is_function and not inner.name.startswith("_") and not is_setter(inner):
                        yield f"{node.name}.{inner.name}", inner


def test_public_things_have_docstrings() -> None:
    missing = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree):
            missing.append(str(path))
        protocols = {n.name for n in tree.body if isinstance(n, ast.ClassDef) and "Protocol" in ast.dump(n)}
        for name, node in public_nodes(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not ast.get_docstring(node):
                if name.partition(".")[0] in protocols:
                    continue
                missing.append(f"{path}:{node.lineno}: {name}")
    assert not missing, "\n".join(missing)


def test_files_stay_under_600_lines() -> None:
    folders = [ROOT / name for name in ("src", "tests", "bench", "frontend/src", "tools", "fuzz")]
    long = [
        f"{path}: {count} lines"
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".py", ".cpp", ".h", ".ts", ".css") and "assets" not in path.parts
        if (count := len(path.read_text().splitlines())) > MAX_LINES
    ]
    assert not long, "\n".join(long)


def test_native_code_stays_small() -> None:
    total = sum(
        len(p.read_text().splitlines()) for p in (SOURCE / "_native").iterdir() if p.suffix in (".cpp", ".h")
    )
    assert total < MAX_NATIVE_LINES


def test_broad_excepts_are_only_at_the_top() -> None:
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                name = getattr(node.type, "id", None)
                if name in ("Exception", None) and not isinstance(node.type, (ast.Tuple, ast.Attribute)):
                    found.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert [place for place in found if not place.startswith("cli.py:")] == []


def test_no_unfinished_business() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    found = [
        f"{path}: {mark}"
        for path in (
            *SOURCE.rglob("*.py"),
            *(SOURCE / "_native").glob("*.cpp"),
            *(SOURCE / "_native").glob("*.h"),
        )
        for mark in marks
        if mark in path.read_text()
    ]
    assert not found, "\n".join(found)
