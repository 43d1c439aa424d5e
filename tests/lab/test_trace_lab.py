"""`linscope trace` in Debian's kernel, which has what kernels in the cloud lack: kprobes, fentry, symbols of data."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
KNOWN = {"call:path_in_unsupported_fentry": "told in the kernel's words"}
TOOLS = "dcsnoop loads runqlen tcpconnect tcpdrop tcplife tcpretrans tcpaccept tcpsynbl capable oomkill vfsstat swapin"


def test_cases_with_kprobes(debian) -> None:
    out = debian.out(f"{sys.executable} {ROOT}/tests/lab/trace_guest.py", timeout_s=500)
    results = [json.loads(line) for line in out.splitlines() if line.startswith("[")]
    assert len(results) >= 25
    failed = {name: (why, output) for name, why, output in results if why and name not in KNOWN}
    assert not failed


# what fentry and fexit see, as kprobe and kretprobe see it: once by itself, once in a kernel said to have none of them
_FENTRY = """
import sys
sys.path.insert(0, "SRC")
from linscope.bpf.kernel.errors import TrampolineRefused
from linscope.session.script import runner
load = runner.load_program
refused = len(sys.argv) > 1
def refuse(unit, source, program, maps):
    if refused and source.probes[0].kind in ("fentry", "fexit"):
        raise TrampolineRefused(program.name, errno=1)
    return load(unit, source, program, maps)
runner.load_program = refuse
from linscope.cli import main
script = '''
begin { printf("begin\\n"); }
fentry:vfs_read /pid == cpid/ { @[func] = count(); @size = max(args.count); }
fentry:vfs_read /pid == cpid/ { @name[str(args.file.f_path.dentry.d_name.name)] = 1; }
fexit:vfs_read /pid == cpid/ { @read = max(retval); @[probe] = count(); }
'''
sys.argv[1:] = ["trace", "-e", script, "-c", "/bin/cat /etc/hostname"]
main()
"""


def test_fentry_and_fexit_become_kprobes(debian) -> None:
    code = debian.folder / "fentry.py"
    code.write_text(_FENTRY.replace("SRC", str(ROOT / "src")))
    first = debian.sh(f"{sys.executable} {code}", timeout_s=120)
    second = debian.sh(f"{sys.executable} {code} refuse", timeout_s=120)
    assert first.exit_code == second.exit_code == 0, (first, second)
    assert first.stdout == second.stdout and "@name[hostname]: 1" in first.stdout and "@read: " in first.stdout
    assert first.stderr == "" and second.stderr.count("WARNING: ") == 3
    assert "fentry:vmlinux:vfs_read runs as kprobe: the kernel changes no code of its own" in second.stderr


def test_single_functions_that_take_no_program_get_a_kprobe(debian) -> None:
    """migrate_disable is one that the verifier refuses; begin runs once, whatever is compiled again."""
    script = 'begin { printf("once\n"); } fentry:migrate_disable { @m = count(); } fentry:vfs_read { @r = count(); } '
    done = debian.sh(f"$linscope trace -e '{script} interval:ms:300 {{ exit(); }}' -c '/bin/cat /etc/hostname'")
    assert done.exit_code == 0 and done.stdout.count("once") == 1 and "@m: " in done.stdout and "@r: " in done.stdout
    assert "runs as kprobe: the kernel lets no program into migrate_disable" in done.stderr


def test_what_takes_neither_is_told_with_its_reason(debian) -> None:
    done = debian.sh("$linscope trace -e 'fentry:vfs_read, fentry:__bitmap_and { @ = count(); }'")
    assert done.exit_code == 1 and "1:18-37: ERROR: Unable to attach probe: fentry:vmlinux:__bitmap_and." in done.stderr
    assert "HINT: __bitmap_and is marked notrace, or was compiled without room for a probe" in done.stderr
    done = debian.sh("$linscope trace -e 'kprobe:vfs_reat { @ = count(); }'")
    assert done.exit_code == 1 and "1:1-16: ERROR: Unable to attach probe: kprobe:vfs_reat." in done.stderr
    assert "HINT: there is no function of that name: did you mean" in done.stderr


def test_tools_of_the_package_load(debian) -> None:
    """Those that a kernel in the cloud does not have the functions for."""
    if not Path("/usr/sbin/opensnoop.bt").exists():
        pytest.skip("needs the tools of bpftrace: apt-get install bpftrace")
    out = debian.out(
        f"for tool in {TOOLS}; do $linscope trace --dry-run /usr/sbin/$tool.bt && echo fine $tool; done; true",
        timeout_s=300,
    )
    assert [line.split()[1] for line in out.splitlines() if line.startswith("fine")] == TOOLS.split()


def test_tools_of_the_package_show_what_they_show_under_bpftrace(debian) -> None:
    """Fourteen of them at once with bpftrace, on one workload: line for line, times left out."""
    if shutil.which("bpftrace") is None:
        pytest.skip("needs bpftrace: apt-get install bpftrace")
    out = debian.out(f"{sys.executable} {ROOT}/tests/lab/tools_guest.py", timeout_s=600)
    results = [json.loads(line) for line in out.splitlines() if line.startswith("[")]
    assert len(results) == 14
    for tool, rounds, ours, peer in results:
        assert (rounds, ours) == (3, peer), tool
