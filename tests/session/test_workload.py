"""Finding the command, recognising Python, holding the child back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linscope.errors import UsageError
from linscope.session.workload import (
    PYTHON_SWITCH,
    Workload,
    find_program,
    python_environment,
    python_version,
)


def _program(path: Path, content: str = "") -> Path:
    path.write_text(content)
    path.chmod(0o755)
    return path


def test_find_program(tmp_path: Path) -> None:
    tool = _program(tmp_path / "tool")
    assert find_program("tool", f"/nowhere:{tmp_path}") == str(tool)
    assert find_program(str(tool)) == str(tool)
    with pytest.raises(UsageError, match="PATH"):
        find_program("tool", "/nowhere")
    (tmp_path / "text").write_text("")
    with pytest.raises(UsageError, match="not executable"):
        find_program(str(tmp_path / "text"))


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("python3.13", (3, 13)),
        ("python3.14t", (3, 14)),
        ("python3.9", (3, 9)),
        ("python", (0, 0)),
        ("ruby", None),
    ],
)
def test_python_by_name(tmp_path: Path, name: str, version: tuple[int, int] | None) -> None:
    real = _program(tmp_path / name)
    link = tmp_path / "command"
    link.symlink_to(real)
    assert python_version(str(link)) == version
    if version is not None:
        assert python_version(str(_program(tmp_path / "script", f"#!{real} -u\n"))) == version


def test_python_environment(tmp_path: Path) -> None:
    new, old = _program(tmp_path / "python3.12"), _program(tmp_path / "python3.11")
    assert python_environment(str(new), {"A": "b"}) == ({"A": "b", PYTHON_SWITCH: "1"}, "")
    assert python_environment(str(new), {PYTHON_SWITCH: "0"}) == ({PYTHON_SWITCH: "0"}, "")
    environment, note = python_environment(str(old), {})
    assert environment == {} and "3.12" in note
    assert python_environment("/bin/ls", {}) == ({}, "")


def test_the_child_waits(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    workload = Workload(["sh", "-c", f"echo > {mark}; exit 5"], os.environ)
    assert not mark.exists()
    workload.start()
    assert workload.wait() == 5 and mark.exists()
    workload.close()


def test_a_child_that_never_starts_leaves_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    workload = Workload(["sh", "-c", f"echo > {mark}"], os.environ)
    workload.close()
    assert workload.status == 127 and not mark.exists()
