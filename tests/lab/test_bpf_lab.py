"""eBPF in Debian's kernel, which allows what the running one may not: kprobes, fentry, fexit.  The same tests there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


# Holds a kprobe, an fentry program and a cgroup program, each of its own process only, until it is told to end.
_HOLDER = f"""
import os, sys
sys.path[:0] = [{str(ROOT / "tests/bpf/kernel")!r}]
from counters import count_of, counter
from linscope.abi import bpf as b
from linscope.bpf.kernel.attach_net import attach_cgroup
from linscope.bpf.kernel.attach_perf import attach_kprobe
from linscope.bpf.kernel.attach_raw import attach_tracing
from linscope.bpf.kernel.programs import load
me = os.getpid()
probe = load(counter(b.BPF_PROG_TYPE_KPROBE, tgid=me))
entry = load(counter(b.BPF_PROG_TYPE_TRACING, tgid=me, target="vfs_read", attach_type=b.BPF_TRACE_FENTRY))
packets = load(counter(b.BPF_PROG_TYPE_CGROUP_SKB, attach_type=b.BPF_CGROUP_INET_EGRESS, result=1))
links = [attach_kprobe(probe, "vfs_read"), attach_tracing(entry), attach_cgroup(packets, "/sys/fs/cgroup")]
file = os.open("/proc/self/comm", os.O_RDONLY)
os.read(file, 1)
print(me, probe.id, entry.id, packets.id, *(link.id for link in links), count_of(probe), count_of(entry), flush=True)
sys.stdin.read()
"""


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_list_and_dump_in_the_guest(debian) -> None:
    """What a process holds there: its programs and links in the lists, their code as bpftool has it."""
    (debian.folder / "holder.py").write_text(_HOLDER)
    out = debian.out(
        f"""mkfifo hold; {sys.executable} holder.py < hold > held & exec 9> hold
        until [ -s held ]; do busybox usleep 20000; done; cat held
        read -r me probe entry packets rest < held
        $linscope bpf list programs --json > programs; $linscope bpf list links --json > links
        $linscope bpf dump $entry > dumped; $linscope bpf dump $probe --jited > jited
        bpftool prog dump xlated id $entry > theirs; bpftool prog dump jited id $probe > their_code || true
        exec 9>&-; wait"""
    )
    me, probe, entry, packets, *rest = map(int, out.split())
    assert rest[-2:] == [1, 1]
    programs = {row["id"]: row for row in rows((debian.folder / "programs").read_text())}
    assert [programs[each]["type"] for each in (probe, entry, packets)] == ["kprobe", "tracing", "cgroup_skb"]
    assert all(str(me) in json.dumps(programs[each]) for each in (probe, entry, packets))  # who holds it
    links = {row["id"]: row for row in rows((debian.folder / "links").read_text())}
    assert [links[each]["type"] for each in rest[:3]] == ["perf_event", "tracing", "cgroup"]
    code, theirs = ((debian.folder / name).read_text() for name in ("dumped", "theirs"))
    operations = re.findall(r"^ *\d+: \(\w\w\) (.*)$", theirs, re.MULTILINE)
    assert len(operations) > 10
    assert all(" ".join(each.split()) in " ".join(code.split()) for each in operations if "map" not in each), code
    jited = (debian.folder / "jited").read_text()
    assert "push" in jited and "ret" in jited


def test_verify_asks_the_guests_kernel(debian) -> None:
    """Accepted and refused by both: a kprobe program, and one that reads what it has not written."""
    (debian.folder / "good.s").write_text(".type kprobe\nr0 = 0\nexit\n")
    (debian.folder / "bad.s").write_text(".type kprobe\nr0 = *(u64 *)(r10 -8)\nr1 = *(u64 *)(r0 +0)\nexit\n")
    out = debian.out("$linscope bpf verify good.s --kernel; echo $?; $linscope bpf verify bad.s --kernel; echo $?")
    good, bad = out.split("\n0\n")
    assert "accepted" in good and "the running kernel agrees" in good
    assert "refused" in bad and "the running kernel agrees" in bad


def test_objects_of_tools_in_the_guest(debian) -> None:
    """Debian's own tools in Debian's own kernel: fentry and kprobes too; each as bpftool loads it."""
    words = f"{sys.executable} -m pytest -q -rs --basetemp={debian.folder}/tools"
    result = debian.sh(f"cd {ROOT} && {words} tests/bpf/objects/test_objects_of_tools.py", timeout_s=400)
    assert result.exit_code == 0, result.stdout[-5000:]


def test_programs_maps_and_links_in_the_guest(debian) -> None:
    folders = "tests/bpf/kernel tests/bpf/objects/test_objects_in_the_kernel.py"
    folders += " tests/bpf/objects/test_types_that_match.py"
    # the settings, where the kernel's package would have installed them
    debian.out(f"mkdir -p /boot; cp {debian.guest.kernel.image.parent}/config-* /boot/")
    words = f"{sys.executable} -m pytest -rs --basetemp={debian.folder}/bpf {folders}"
    result = debian.sh(f"cd {ROOT} && {words}", timeout_s=400)
    assert result.exit_code == 0, result.stdout[-5000:]
    # nothing that the guest exists for was left out
    assert not re.search(r"run it in the lab|/boot/config", result.stdout), result.stdout[-5000:]
