"""A kernel crashes, another one captures it, the dump is read here: all of kdump in one command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from linscope.kernel.task import iter_tasks
from linscope.memory import open_memory
from linscope.target.kernel import open_kernel

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


def test_crash_capture_and_look(tmp_path: Path) -> None:
    if shutil.which("qemu-system-x86_64") is None or os.geteuid() != 0:
        pytest.skip("needs root and QEMU: apt-get install qemu-system-x86")
    target = tmp_path / "vmcore"
    command = [sys.executable, "-m", "linscope", "kdump", "test", "--reserve", "192M", "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = [line.split("  ")[0].strip() for line in done.stdout.splitlines()[:4]]
    assert steps == ["boot", "load", "crash and capture", "fetch"]
    assert 'PANIC: "Kernel panic - not syncing: sysrq triggered crash"' in done.stdout
    assert "write_sysrq_trigger at ffffffff" in done.stdout
    assert "The kernel died" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vmcore", "vmcore.log"]
    assert "sysrq: Trigger a crash" in (tmp_path / "vmcore.log").read_text()
    with open_memory(str(target)) as memory:
        assert memory.format == "kdump-compressed, zstd"
        assert memory.dump_level == 31
        assert not memory.is_incomplete
        assert memory.utsname is not None
        assert memory.utsname.nodename == "linscope-lab"
        assert len(memory.cpus) == 1
        stored = sum(behind - first for first, behind in memory.iter_present())
        assert stored < memory.size // 3
    with open_kernel(str(target)) as kernel:
        names = {task.comm.string_() for task in iter_tasks(kernel)}
        assert {"kthreadd", "sh", "busybox"} <= names
        assert kernel.problems == []
