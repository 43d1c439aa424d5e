"""What the documents show can be typed: every `linscope ...` line in them parses, and its command exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from linscope import cli
from linscope.commands import COMMANDS, find_command, iter_commands
from linscope.errors import LinscopeError
from linscope.tables import Group
from linscope.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINE = re.compile(r"^(?:\$ )?(?:\./)?linscope (.+)$")


def documented() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        inside = False
        for line in page.read_text().splitlines():
            if line.startswith("```"):
                inside = not inside
            match = LINE.match(line.strip())
            if inside and match and not match[1].partition(" ")[0].endswith(":"):  # not a message of ours
                command = re.split(r"\s{2,}|\s[|>]\s|\s2>", match[1])[0]
                found.append((page.name, command))
    return found


def examples() -> list[tuple[str, str]]:
    found = []
    groups = [(name, COMMANDS[name]) for name in COMMANDS if isinstance(COMMANDS[name], Group)]
    for name, command in [*iter_commands(), *groups]:
        for example in command.examples:
            part = next(p for p in example.split("|") if "linscope" in p)
            found.append((name, part.strip().removeprefix("linscope ")))
    return found


@pytest.mark.parametrize(("page", "words"), documented() + examples())
def test_a_documented_command_parses(page: str, words: str) -> None:
    try:
        name, command, rest = find_command(shlex.split(words.replace("...", "")))
        if isinstance(command, Group):
            assert rest == ["--help"], f"{page}: linscope {words} says no subcommand"
        elif hasattr(command, "scan"):  # a command of its own grammar
            assert not command.scan(rest).wrong
        else:
            cli._parse(name, command, rest)
    except SystemExit as end:  # --help and --version
        assert end.code == 0
    except LinscopeError as error:
        pytest.fail(f"{page}: linscope {words}: {error}")


def test_there_are_documented_commands() -> None:
    pages = {page for page, _ in documented()}
    assert {"README.md", *(f"{name}.md" for name in COMMANDS)} <= pages


def test_the_version_is_said_once() -> None:
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()
