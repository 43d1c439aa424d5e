"""What -l prints: the form of bpftrace 0.26, and beside the bpftrace of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from linscope.errors import LinscopeError, SourceError
from linscope.lang.definitions.tracepoints import tracing_folder
from linscope.lang.probes import parse_attach_point
from linscope.lang.probes.listing import list_points, list_probes, split_patterns

needs_btf = pytest.mark.skipif(not os.path.exists("/sys/kernel/btf/vmlinux"), reason="the kernel has no BTF")
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="apt-get install gcc")


def listed(pattern: str, *, verbose: bool = False) -> list[str]:
    return list(list_probes(pattern, verbose=verbose))


@pytest.fixture
def events() -> None:
    try:
        next(Path(tracing_folder(), "events").iterdir())
    except (LinscopeError, OSError) as error:
        pytest.skip(f"run as root: {error}")


@pytest.mark.parametrize(("pattern", "lines"), [
    ("interval:*", ["interval:hz:", "interval:ms:", "interval:s:", "interval:us:"]),
    ("profile:*", ["profile:hz:", "profile:ms:", "profile:s:", "profile:us:"]),
    ("software:c*", ["software:context-switches:", "software:cpu:", "software:cpu-clock:", "software:cpu-migrations:",
                     "software:cs:"]),
    ("hardware:*cache*", ["hardware:cache-misses:", "hardware:cache-references:"]),
    ("*ware:cp*", ["hardware:cpu-cycles:", "software:cpu:", "software:cpu-clock:", "software:cpu-migrations:"]),
    ("software:nope", []),
])  # fmt: skip
def test_lists_that_are_the_same_everywhere(pattern: str, lines: list[str]) -> None:
    assert listed(pattern) == lines


def test_what_is_no_pattern() -> None:
    with pytest.raises(SourceError):
        listed("sched")


def test_patterns_between_commas() -> None:
    assert split_patterns("") == []
    assert split_patterns("a, b ,c") == ["a", "b", "c"]
    assert split_patterns('u:x:cpp:"f(a,b)",k:y') == ['u:x:cpp:"f(a,b)"', "k:y"]
    assert listed("interval:s*,software:cs") == ["interval:s:", "software:cs:"]


@pytest.mark.peer
@pytest.mark.skipif(not shutil.which("bpftrace"), reason="apt-get install bpftrace")
@pytest.mark.parametrize(
    "pattern", ["tracepoint:*", "tracepoint:sched:*", "tracepoint:*:sys_enter_open*", "tracepoint:net*"]
)
def test_tracepoints_are_bpftrace_s(events: None, pattern: str) -> None:
    done = subprocess.run(["bpftrace", "-l", pattern], capture_output=True, text=True, timeout=60)
    assert listed(pattern) == sorted(done.stdout.splitlines())


@pytest.mark.peer
@pytest.mark.skipif(not shutil.which("bpftrace"), reason="apt-get install bpftrace")
@pytest.mark.parametrize("pattern", [
    "tracepoint:sched:*", "tracepoint:syscalls:sys_enter_*", "tracepoint:block:*", "tracepoint:skb:*",
])  # fmt: skip
def test_arguments_are_bpftrace_s(events: None, pattern: str) -> None:
    done = subprocess.run(["bpftrace", "-lv", pattern], capture_output=True, text=True, timeout=60)
    assert listed(pattern, verbose=True) == done.stdout.splitlines()


@needs_btf
def test_functions_with_arguments() -> None:
    assert listed("fentry:vfs_read", verbose=True) == [
        "fentry:vmlinux:vfs_read", "    struct file * file", "    char * buf", "    size_t count", "    loff_t * pos",
        "    ssize_t retval",
    ]  # fmt: skip
    assert listed("kprobe:vfs_read,kretprobe:vfs_write", verbose=True) == [
        "kprobe:vfs_read", "    struct file * file", "    char * buf", "    size_t count", "    loff_t * pos",
        "kretprobe:vfs_write", "    ssize_t retval",
    ]  # fmt: skip
    assert "fentry:vmlinux:vfs_write" in listed("fentry:vfs_w*")
    assert listed("kprobe:no_such_function_at_all") == []
    raw = listed("rawtracepoint:consume_skb", verbose=True)
    assert raw[0] == "rawtracepoint:vmlinux:consume_skb"
    assert raw[1] == "    struct sk_buff * skb"
    assert not any("__data" in line or "retval" in line for line in raw)
    assert listed("iter:task", verbose=True) == ["iter:task", "    struct task_struct * task"]


@needs_btf
def test_types() -> None:
    assert listed("struct list_head") == ["vmlinux: struct list_head"]
    assert listed("struct list_head,union sigval", verbose=True) == [
        "vmlinux: struct list_head {\n\tstruct list_head *next;\n\tstruct list_head *prev;\n};\n",
        "vmlinux: union sigval {\n\tint sival_int;\n\tvoid *sival_ptr;\n};\n",
    ]
    assert listed("struct task_struct", verbose=True)[0].startswith("vmlinux: struct task_struct {\n")
    several = listed("struct sched_*")
    assert "vmlinux: struct sched_entity" in several
    assert several == sorted(several)
    assert listed("struct no_such_struct") == []
    mixed = listed("kprobe:vfs_read,struct file", verbose=True)
    assert mixed[0] == "kprobe:vfs_read"
    assert mixed[-1].startswith("vmlinux: struct file {")


def test_probes_of_a_script(events: None) -> None:
    points = [parse_attach_point(one) for one in ("hardware:cache-misses:10", "tracepoint:sched:sched_switch", "i:s:1")]
    assert list(list_points(points)) == ["hardware:cache-misses:", "tracepoint:sched:sched_switch", "interval:s:"]


@needs_gcc
def test_user_space(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(
        "struct s { int a; };\nint one(struct s *s, const char *name, unsigned long n) { return s->a + name[n]; }\n"
        "int two(void) { return 2; }\nint main(void) { return 0; }\n"
    )
    path = tmp_path / "a"
    subprocess.run(["gcc", "-g", "-o", str(path), str(tmp_path / "a.c")], check=True)
    assert listed(f"uprobe:{path}:*o*") == [f"uprobe:{path}:{name}" for name in listed_names(path) if "o" in name]
    assert listed(f"uprobe:{path}:one", verbose=True) == [
        f"uprobe:{path}:one", "    struct s * s", "    const char * name", "    long unsigned int n",
    ]  # fmt: skip
    assert listed(f"uretprobe:{path}:two", verbose=True) == [f"uretprobe:{path}:two", "    int retval"]


def listed_names(path: Path) -> list[str]:
    """Functions by readelf: of type FUNC, and defined."""
    text = subprocess.run(["readelf", "-Ws", str(path)], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in text.splitlines()]
    return sorted({row[7].partition("@")[0] for row in rows if len(row) > 7 and row[3] == "FUNC" and row[6] != "UND"})
