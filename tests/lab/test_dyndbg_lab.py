"""Dynamic debug in the lab: what the command does beside the same done by hand in /proc/dynamic_debug/control."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

_CONTROL = "/proc/dynamic_debug/control"
_EVENT = "/sys/class/mem/full/uevent"
_UEVENT = "lib/kobject_uevent.c"
# Every keyword, range, wildcard, quote and operation; each is a query of its own, in this order.
_QUERIES = (
    "file lib/kobject_uevent.c +p",
    "file kobject.c line -200 +pm",
    "file lib/kob*.c line 200- +f",
    "func kobject_uevent_env line 480-510 =pl",
    "func *_uevent* +t",
    "module main format ^init_module +p",
    "module ma?n func simplify_symbols =pmf",
    'format "uevent_suppress caused" -p',
    "format \\040attempted +l",
    "file main.c:layout_* =f",
    "func layout_sections -f",
    "file inode.c:1-3000 +m",
    "module kobject +p; module kobject -m # and a comment",
    "class DRM_UT_CORE +p",
)


@pytest.fixture
def kernel(clean) -> Iterator[object]:
    """Debian's kernel; every flag is as it was."""
    before = clean.out(f"cat {_CONTROL}")
    yield clean
    assert clean.out(f"cat {_CONTROL}") == before


def sites(text: str) -> dict[str, str]:
    """Flags by file, line and function, as the kernel's file shows them."""
    return dict(re.findall(r"^(\S+:\d+ \[\S*\]\S+) =(\S+) ", text, re.MULTILINE))


def shown(text: str, flags: str) -> dict[str, str]:
    """The same of rows in JSON; flags: the column."""
    rows = [json.loads(line) for line in text.splitlines()]
    return {f"{row['file']}:{row['line']} [{row['module']}]{row['function']}": row[flags] or "_" for row in rows}


def test_a_kernel_does_what_is_predicted(kernel) -> None:
    """83 queries, valid and not, over all sites of Debian's kernel: the same are refused, the same sites change."""
    script = Path(__file__).with_name("dynamic_debug_guest.py")
    result = kernel.guest.run([sys.executable, str(script)], timeout_s=200)
    assert result.exit_code == 0, result.stdout + result.stderr


def test_queries_do_what_they_do_by_hand(kernel) -> None:
    """All keywords and operations: a dry run tells what they would change, they change it, and it is put back."""
    real = _QUERIES[:-1]
    (kernel.folder / "queries").write_text("".join(f"{query}\n" for query in real))
    words = " ".join(f"'{query}'" for query in real)
    out = kernel.sh(
        f"""cp {_CONTROL} before
        $linscope dyndbg set --dry-run --json {words} > plan; cmp {_CONTROL} before
        $linscope dyndbg set --json {words} -- sh -c 'cp {_CONTROL} ours; exit 3' > changed; echo "exit $?"
        cmp {_CONTROL} before
        while read -r line; do printf '%s\\n' "$line" > {_CONTROL}; done < queries
        cp {_CONTROL} theirs; echo '=_' > {_CONTROL}
        sed -n 's/^\\([^:]*\\):\\([0-9]*\\) .* =\\([a-z]*\\) ".*/file \\1 line \\2 =\\3/p' before > back
        while read -r line; do printf '%s\\n' "$line" > {_CONTROL}; done < back; cmp {_CONTROL} before
        $linscope dyndbg set '{_QUERIES[-1]}' -- true"""
    )
    assert out.stdout == "exit 3\n", out
    assert "DRM_UT_CORE" in out.stderr  # a class that this kernel has no site of
    read = {name: (kernel.folder / name).read_text() for name in ("before", "ours", "theirs", "plan", "changed")}
    assert read["ours"] == read["theirs"] != read["before"]
    before, after = sites(read["before"]), sites(read["theirs"])
    changed = {site: flags for site, flags in after.items() if before[site] != flags}
    assert len(changed) > 20
    assert {"p", "m", "f", "l", "t"} <= set("".join(changed.values()))
    assert shown(read["plan"], "new_flags") == shown(read["changed"], "new_flags") == changed


def test_list_keep_and_what_is_refused(kernel) -> None:
    """list shows the lines of the file; --keep stays; a wrong query changes nothing, and is pointed at."""
    out = kernel.sh(
        f"""$linscope dyndbg list --json 'file {_UEVENT}' 'module main line 1-3000' > listed
        $linscope dyndbg set --keep --json 'file {_UEVENT} +pl' > kept; grep '{_UEVENT}' {_CONTROL} > after
        $linscope dyndbg set --keep 'file {_UEVENT} =_' > /dev/null
        $linscope dyndbg set 'file {_UEVENT} +p; fil x +p' -- true; echo $?
        $linscope dyndbg set 'module mian +p' -- true; echo $?
        $linscope dyndbg set 'module main +s' -- true; echo $?
        cat {_CONTROL} > control"""
    )
    assert out.stdout.split() == ["2", "2", "2"], out
    assert "no keyword 'fil'" in out.stderr and "no flag 's'" in out.stderr and "did you mean main" in out.stderr
    read = {name: (kernel.folder / name).read_text() for name in ("listed", "kept", "after", "control")}
    everything = sites(read["control"])
    place = re.compile(r"(\S+):(\d+) \[(\S*)\]")
    wanted = {}
    for site, flags in everything.items():
        match = place.match(site)
        assert match is not None
        if match[1] == _UEVENT or (match[3] == "main" and int(match[2]) <= 3000):
            wanted[site] = flags
    assert shown(read["listed"], "flags") == wanted
    assert sites(read["after"]) == shown(read["kept"], "new_flags")
    assert set(sites(read["after"]).values()) == {"pl"}


def test_watch_prints_what_these_sites_print(kernel) -> None:
    """The same messages as the kernel's log has, without those of other sites and of other writers."""
    out = kernel.out(
        f"""echo 'file lib/kobject.c +p' > {_CONTROL}
        cat > steps <<'END'
        echo 'kobject_uevent:kobject_uevent_env: not of the kernel' > /dev/kmsg
        for n in 1 2 3; do echo change > {_EVENT}; done
END
        busybox dmesg -c > /dev/null
        $linscope dyndbg watch --json 'file {_UEVENT}' -- sh steps > watched
        busybox dmesg > log; $linscope dyndbg watch 'file {_UEVENT}' --duration 1ms
        echo 'file lib/kobject.c -p' > {_CONTROL}
        $linscope dyndbg boot 'module nvme +p' 'file dd.c +p' -f csv"""
    )
    rows = [json.loads(line) for line in (kernel.folder / "watched").read_text().splitlines()]
    log = (kernel.folder / "log").read_text()
    theirs = re.findall(r"\] kobject_uevent:(\w+):(\d+): (.*)", log)
    assert [(row["function"], str(row["line"]), row["text"]) for row in rows] == theirs
    assert len(rows) == 3 and "fill_kobj_path" in log
    assert {(row["module"], row["file"]) for row in rows} == {("kobject_uevent", _UEVENT)}
    times = [float(one) for one in re.findall(r"\[ *([\d.]+)\] kobject_uevent:\w+:\d+", log)]
    assert [round(row["time_s"], 6) for row in rows] == times
    assert 'nvme.dyndbg=""+p""' in out and 'dyndbg=""file dd.c +p""' in out


@pytest.mark.parametrize("signal", ["INT", "KILL"])
def test_ends_that_come_early(kernel, signal: str) -> None:
    """Ctrl-C puts flags back at once; after kill -9 the journal does."""
    same = f"cat {_CONTROL} | cmp -s - before"  # cmp -s alone looks at sizes, which /proc does not tell
    out = kernel.sh(
        f"""cp {_CONTROL} before
        $linscope dyndbg set 'file {_UEVENT} +pt' -- sh -c '{same} || echo set >&2; kill -{signal} $PPID' > /dev/null
        echo "exit $?"; {same} || echo left
        $linscope doctor --clean; {same} && echo same"""
    )
    assert "set" in out.stderr.splitlines(), out
    # A lab of this machine has its folder in /tmp, which the guest sees, too.
    lines = [line for line in out.stdout.splitlines() if not line.startswith(("undone: /tmp", "nothing was left"))]
    if signal == "INT":
        assert lines == ["exit 130", "same"], out
    else:
        assert lines == ["exit 137", "left", f"undone: {_CONTROL}", "same"], out


def test_only_root_may_switch(kernel) -> None:
    """One sentence for everybody else."""
    if not os.path.exists("/usr/bin/setpriv"):
        pytest.skip("needs setpriv: apt-get install util-linux")
    result = kernel.sh("setpriv --reuid=65534 --clear-groups $linscope dyndbg set 'module main +p' -- true; echo $?")
    assert result.stdout == "1\n"
    assert len(result.stderr.splitlines()) <= 2 and "root" in result.stderr
