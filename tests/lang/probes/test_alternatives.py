"""Tracepoints that tell the same as a kernel function's being called: those of the table exist in a kernel of today."""

from __future__ import annotations

from pathlib import Path

import pytest

from linscope.lang.probes import alternatives, kernel_names
from linscope.lang.probes.alternatives import find_alternative


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The events of a tracefs that is made up."""
    for name in ("syscalls/sys_enter_read", "syscalls/sys_exit_read", "sched/sched_switch", "tcp/tcp_retransmit_skb"):
        (tmp_path / "events" / name).mkdir(parents=True)
        (tmp_path / "events" / name / "format").touch()
    monkeypatch.setattr(kernel_names, "tracing_folder", lambda: str(tmp_path))
    return tmp_path


def test_functions_of_system_calls(events: Path) -> None:
    for name in ("vfs_read", "ksys_read", "__x64_sys_read", "__do_sys_read", "sys_read"):
        assert find_alternative(name) == "tracepoint:syscalls:sys_enter_read"
        assert find_alternative(name, returns=True) == "tracepoint:syscalls:sys_exit_read"
    assert find_alternative("ksys_write") == ""  # not in this kernel


def test_functions_in_which_a_tracepoint_is_hit(events: Path) -> None:
    assert find_alternative("finish_task_switch.isra.0") == "tracepoint:sched:sched_switch"
    assert find_alternative("tcp_retransmit_skb") == "tracepoint:tcp:tcp_retransmit_skb"  # of the same name
    assert find_alternative("tcp_set_state") == "" and find_alternative("nonsense") == "" and find_alternative("") == ""


def test_the_names_of_the_table_are_tracepoints_here() -> None:
    """All that the running kernel is built for; a misspelled one would never be offered."""
    if not Path(kernel_names.tracing_folder(), "events").is_dir():
        pytest.skip("needs tracefs: run as root")
    names = {f"syscalls:sys_enter_{call}" for call in alternatives._SYSCALLS.values()}
    names |= set(alternatives._EVENTS.values())
    missing = [name for name in names if not kernel_names.has_tracepoint(*name.split(":"))]
    assert len(missing) < len(names) / 10, missing
