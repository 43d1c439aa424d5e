"""Probes in the lab: definitions beside those made by hand, values beside what the program knows, refusals, ends."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).resolve().parents[2]

# Sends known bytes over the loopback, opens and reads known files, and says what it did.
_PROGRAM = """
import os, socket
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
client.connect(("127.0.0.1", port))
peer, _ = server.accept()
client.send(b"x" * 777)
peer.send(b"y" * 33)
open("known file", "w").write("0123456789")
file = os.open("known file", os.O_RDONLY)
sizes = [len(os.read(file, size)) for size in (1, 6, 100, 100)]
try:
    os.open("/no/such/file", os.O_RDWR)
except FileNotFoundError as error:
    missing = -error.errno
print("KNOWN", socket.htons(port), client.getsockname()[1], file, *sizes, missing, os.getpid())
"""


def layout(folder: Path, struct: str) -> dict[str, str]:
    """Members of a struct of the guest's kernel and where they are ("12", "19: 4"), by pahole."""
    if shutil.which("pahole") is None:
        pytest.skip("needs pahole: apt-get install dwarves")
    words = ["pahole", "-F", "btf", "-C", struct, str(folder / "btf")]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"(\w+)(?:\[\d+\])?(?::\d+)?;\s+/\*\s+(\d+(?:: ?\d+)?)\s+\d+", text)
    return dict(found)


def fields(script: str, event: str) -> list[dict[str, str]]:
    """The fields of each line of one event, as they are printed."""
    lines = [line for line in script.splitlines() if f" {event}: " in line]
    return [dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line.partition(") ")[2])) for line in lines]


def test_definitions_are_those_made_by_hand(clean) -> None:
    """Every kind of place and of argument: kprobe_events and uprobe_events hold what a person would have written."""
    clean.out("cp /sys/kernel/btf/vmlinux btf")
    common, file, path = (layout(clean.folder, name) for name in ("sock_common", "file", "path"))
    dentry, qstr, skb = (layout(clean.folder, name) for name in ("dentry", "qstr", "sk_buff"))
    byte, bit = common["skc_reuseport"].split(":")
    inner = int(file["f_path"]) + int(path["dentry"])
    name = int(dentry["d_name"]) + int(qstr["name"])
    pairs = [
        ("p tcp_sendmsg sk size", "p:linscope/tcp_sendmsg tcp_sendmsg sk=$arg1:x64 size=$arg3:u64"),
        (
            "p:net/port tcp_sendmsg sk->__sk_common.skc_dport re=sk->__sk_common.skc_reuseport",
            f"p:net/port tcp_sendmsg skc_dport=+{common['skc_dport']}($arg1):u16 re=+{byte}($arg1):b1@{int(bit)}/8",
        ),
        (
            "p vfs_read file->f_path.dentry->d_name.name",
            f"p:linscope/vfs_read vfs_read name=+0(+{name}(+{inner}($arg1))):string",
        ),
        ("r20:net/got vfs_read $retval", "r20:net/got vfs_read ret=$retval:s64"),
        ("p:linscope/raw vfs_read+5 %ax s=$stack0 $comm @jiffies:u64 five=\\5", None),
        ("p:far overlay:ovl_open file->f_flags", "p:linscope/far overlay:ovl_open "
         f"f_flags=+{file['f_flags']}($arg2):u32"),
        ("p do_sys_openat2 filename how->flags", "p:linscope/do_sys_openat2 do_sys_openat2 "
         "filename=+0($arg2):string flags=+0($arg3):u64"),
        ("p:cb ip_rcv skb->cb[3] skb->len:x32", f"p:linscope/cb ip_rcv cb=+{int(skb['cb']) + 3}($arg1):s8 "
         f"len=+{skb['len']}($arg1):x32"),
    ]  # fmt: skip
    raw = "p:linscope/raw vfs_read+5 ax=%ax s=$stack0 comm=$comm jiffies=@jiffies:u64 five=\\5"
    by_hand = "\n".join(line or raw for _, line in pairs) + "\n"
    (clean.folder / "lines").write_text(by_hand)
    texts = " ".join(f"'{text}'" for text, _ in pairs)
    clean.out(
        f"""$linscope probe add {texts} --json > added; cat $T/kprobe_events > ours
        $linscope probe list net/p* > listed
        $linscope probe show {texts} --json > shown
        $linscope probe del -a > deleted; $linscope probe del 'net/*' > /dev/null; cat $T/kprobe_events > empty
        while read -r line; do printf '%s\\n' "$line" >> $T/kprobe_events; done < lines
        cat $T/kprobe_events > theirs; echo > $T/kprobe_events"""
    )
    read = {name: (clean.folder / name).read_text() for name in ("ours", "theirs", "empty", "deleted", "listed")}
    assert read["ours"] == read["theirs"]
    assert len(read["ours"].splitlines()) == len(pairs)
    assert read["empty"] == ""
    assert read["deleted"].count("linscope:") == 6
    assert re.search(r"kprobe +net:port +tcp_sendmsg +0 +0 +skc_dport=", read["listed"])
    for name in ("added", "shown"):
        rows = [json.loads(line) for line in (clean.folder / name).read_text().splitlines()]
        assert [row["definition"] for row in rows] == by_hand.splitlines()


def test_values_are_those_that_the_program_knows(clean) -> None:
    """Ports, sizes, file names of the program and of the kernel, flags, results, a bit field, the task's name."""
    (clean.folder / "program.py").write_text(_PROGRAM)
    result = clean.sh(
        f"""busybox ifconfig lo 127.0.0.1 up
        $linscope probe run 'p tcp_sendmsg sk->__sk_common.skc_dport port=sk->__sk_common.skc_num size $comm
            re=sk->__sk_common.skc_reuseport sk->__sk_common.skc_prot->name' 'r tcp_sendmsg $retval' \\
            'p do_sys_openat2 filename how->flags' 'r do_sys_openat2' \\
            'p vfs_read file->f_path.dentry->d_name.name count' 'r vfs_read $retval' \\
            'p:opened vfs_open path->dentry->d_name.name if name == "known file"' --args \\
            -- {sys.executable} -S -E program.py; cat $T/kprobe_events"""
    )
    output = result.stdout
    known = re.search(r"^KNOWN (.*)", output, re.MULTILINE)
    assert known is not None, result
    dport, port, opened, *sizes, missing, pid = known[1].split()
    to, back = fields(output, "tcp_sendmsg")
    assert to == {"skc_dport": dport, "port": port, "size": "777", "re": "1", "name": '"TCP"', "comm": '"python"'}
    assert (back["size"], back["re"]) == ("33", "0")
    assert fields(output, "tcp_sendmsg__return") == [{"ret": "777"}, {"ret": "33"}]
    names = fields(output, "do_sys_openat2")
    results = [one["ret"] for one in fields(output, "do_sys_openat2__return")]
    at = [one["filename"] for one in names].index('"known file"', 0)
    last = [place for place, one in enumerate(names) if one["filename"] == '"known file"'][-1]
    assert at < last  # written, then read
    assert int(names[at]["flags"]) & 0o3 == 1 and int(names[last]["flags"]) & 0o3 == 0
    assert results[last] == opened
    assert names[-1]["filename"] == '"/no/such/file"' and results[-1] == missing
    reads = list(zip(fields(output, "vfs_read"), fields(output, "vfs_read__return"), strict=True))
    ours = [(one["count"], result["ret"]) for one, result in reads if one["name"] == '"known file"']
    assert ours[-4:] == list(zip(("1", "6", "100", "100"), sizes, strict=True))
    assert {one["name"] for one in fields(output, "opened")} == {'"known file"'}
    pids = set(re.findall(r"^ +\S+-(\d+) +\[", output, re.MULTILINE))
    assert pids == {pid}
    assert "linscope_" not in output.splitlines()[-1]


def test_programs_and_usdt(clean) -> None:
    """Functions with an offset, text, results and USDT probes of a program: as by hand; every command takes them."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc: apt-get install gcc")
    program = clean.folder / "probed"
    source = str(ROOT / "tests" / "sources" / "probed.c")
    subprocess.run(["gcc", "-O1", "-g", "-static", "-o", str(program), source], check=True)
    nm = subprocess.run(["readelf", "-sW", str(program)], capture_output=True, text=True, check=True).stdout
    start = re.search(r"(\w+) +\d+ FUNC +\S+ +\S+ +\d+ probed$", nm, re.MULTILINE)
    load = subprocess.run(["readelf", "-lW", str(program)], capture_output=True, text=True, check=True).stdout
    code = re.search(r"LOAD +0x(\w+) 0x(\w+) .* R E ", load)
    assert start is not None and code is not None
    offset = int(start[1], 16) - int(code[2], 16) + int(code[1], 16)
    clean.out(
        f"""p=$PWD/probed; out="r:out $p:probed \\$retval:s32"
        in="p:in $p:probed n=%di:s32 text=+0(%dx):ustring kind=+4(%si):u8"
        $linscope probe add "$in" "$out" "u:mark $p:linscope:entered" "u:sem $p:linscope:counted" > /dev/null 2> notes
        cat $T/uprobe_events > ours
        $linscope events record -q -e linscope:in --filter 'n == 1' -e 'linscope:[om]*' -e sem -o up.dat -- $p 3
        $linscope script up.dat > script; trace-cmd report -N up.dat 2>/dev/null > report
        $linscope hist linscope:in:keys=n:values=kind -f csv -- $p 4 > hist
        $linscope probe list --json > listed; $linscope probe del 'i*' linscope/out mark sem >/dev/null
        echo "p:linscope/in $p:{offset:#x} n=%di:s32 text=+0(%dx):ustring kind=+4(%si):u8" >> $T/uprobe_events
        echo "r:linscope/out $p:{offset:#x} retval=\\$retval:s32" >> $T/uprobe_events
        cat $T/uprobe_events > theirs; echo > $T/uprobe_events"""
    )
    names = ("notes", "ours", "theirs", "script", "report", "hist", "listed")
    read = {name: (clean.folder / name).read_text().splitlines() for name in names}
    assert read["notes"] == ["linscope probe: argument 5 of linscope:entered cannot be fetched: 8@(%rsi,%rsi,8)"]
    assert read["ours"][:2] == read["theirs"]
    assert len(read["ours"]) == 4 and re.search(r":0x\w+\(0x\w+\)", read["ours"][3])
    script = "\n".join(read["script"])
    assert read["script"] == [line for line in read["report"] if not line.startswith(("cpus=", "version"))]
    assert fields(script, "in") == [{"n": "1", "text": '"the text"', "kind": "200"}]
    assert [one["retval"] for one in fields(script, "out")] == ["195", "196", "197"]
    assert [one["arg1"] for one in fields(script, "mark")] == ["0", "1", "2"]
    assert len(fields(script, "sem")) == 3
    assert sorted(read["hist"][2:]) == [f"linscope:in,{number},1,200" for number in range(4)]
    rows = {row["event"]: row for row in map(json.loads, read["listed"])}
    assert rows["linscope:in"]["hits"] == 7 and rows["linscope:sem"]["hits"] == 3
    assert rows["linscope:out"]["kind"] == "uretprobe"


_REFUSED = """
from linscope.errors import LinscopeError
from linscope.session.tracing.instance import open_tracefs
from linscope.session.tracing.probes import add_probes

tracefs = open_tracefs()
for text in TEXTS:
    try:
        add_probes(["p:first vfs_write", text], tracefs)
        print("taken")
    except LinscopeError as error:
        print(type(error).__name__, error.exit_code, getattr(error, "position", ""), str(error).partition("\\n")[0])
    if open(tracefs + "/kprobe_events").read():
        print("left")
"""


def test_why_the_kernel_refuses(clean) -> None:
    """Each with its reason and its place; the probe before it does not stay."""
    cases = [
        ("p vfs_raed", 2, "did you mean vfs_read?"),
        ("p:x vfs_read+1 %di", 4, "no instruction begins there"),
        ("p kprobe_dispatcher", 2, "list of what must not be probed"),
        ("p rcu_is_watching", 2, "is marked as not to be probed or traced"),
        ("p topa_alloc", 2, "the compiler made topa_alloc.constprop.0 of it"),
        ("p type_show", 2, "there are several functions 'type_show'"),
        ("p vfs_read count x=@nosuch:u8", 17, "no symbol 'nosuch' in the kernel"),
        ("p ovl_open file", 2, "ovl_open is in a module"),
        ("f vfs_read", "", "CONFIG_FPROBE_EVENTS is not set"),
        ("p vfs_read fiel", 11, "vfs_read has no parameter 'fiel'"),
    ]
    code = f"TEXTS = {[text for text, _, _ in cases]!r}\n{_REFUSED}"
    lines = clean.python(code, timeout_s=200).splitlines()
    assert len(lines) == len(cases), lines
    for line, (text, position, why) in zip(lines, cases, strict=True):
        kind, code, place = line.split(" ")[:3]
        assert why in line, line
        assert place == str(position), (text, line)
        assert code == ("1" if kind == "NotInKernel" else "2"), line


_MANY = """
from linscope.session.tracing.instance import open_tracefs
from linscope.session.tracing.probes import add_probes, delete_probes, list_probes

tracefs = open_tracefs()
with open(tracefs + "/available_filter_functions") as file:
    names = sorted({line.split()[0] for line in file if line.startswith(("vfs_", "tcp_"))})
made = add_probes(["p " + name for name in names if "." not in name][:200], tracefs)
listed = [one.definition for one in list_probes(tracefs)]
print(len(made), [one.text() for one in listed] == [one.definition.text() for one in made])
gone, complaints = delete_probes(listed, tracefs)
print(len(gone), complaints)
"""


def test_many_probes_and_one_that_is_hit_often(clean) -> None:
    """200 definitions; 30,000 hits of which a filter takes three; returns that there was no room for are counted."""
    assert clean.python(_MANY).splitlines() == ["200 True", "200 []"]
    result = clean.sh(
        """$linscope probe run 'p vfs_read count pos=*pos if count == 7' \\
            -- sh -c 'dd if=/dev/zero of=/dev/null bs=8 count=30000; dd if=/dev/zero of=/dev/null bs=7 count=3'
        busybox mkfifo pipe
        $linscope probe run -a 'r1 vfs_read $retval' -o missed.dat -- sh -c 'cat pipe & exec 3> pipe
            until grep -q pipe /proc/$!/wchan; do :; done; cat /etc/passwd > /dev/null; exec 3>&-; wait'"""
    )
    assert result.exit_code == 0, result
    assert [one["count"] for one in fields(result.stdout, "vfs_read")] == ["7", "7", "7"]
    assert re.search(r"vfs_read__return: \d+ hits, [1-9]\d* MISSED, in the whole system: r64 can", result.stderr)


def test_modules_and_users_come_and_go(clean) -> None:
    """A module goes and comes back under its probe; what is recorded stays; what kill -9 left is removed."""
    result = clean.sh(
        """modprobe loop || busybox insmod /lib/modules/$(uname -r)/kernel/drivers/block/loop.ko
        dd if=/dev/zero of=img bs=1k count=64 2>/dev/null
        cat > steps <<'END'
        rmmod loop; echo "rmmod $?"
        $linscope probe del 'linscope_*/lo_ioctl'; echo "del $?"; $linscope probe list 'linscope_*/lo*' --json
        modprobe loop || busybox insmod /lib/modules/$(uname -r)/kernel/drivers/block/loop.ko
        losetup /dev/loop3 img; losetup -d /dev/loop3
END
        $linscope probe run -a 'p loop:lo_ioctl cmd:x32' 'p:later nomodule:none' -- sh steps
        $linscope probe run 'p vfs_read' -- sh -c 'kill -9 $PPID'; echo "killed $?"; grep -c linscope_ $T/kprobe_events
        $linscope doctor --clean; rmmod loop"""
    )
    lines = result.stdout.splitlines()
    assert "rmmod 0" in lines and "del 1" in lines
    assert re.search(r"cannot remove linscope_\d+:lo_ioctl: it is enabled in instance linscope-", result.stderr)
    assert "the probe waits for the module nomodule to be loaded" in result.stderr
    (row,) = (json.loads(line) for line in lines if line.startswith("{"))
    assert (row["kind"], row["target"], row["hits"]) == ("kprobe", "loop:lo_ioctl", 0)
    assert row["enabled"][0].startswith("instance linscope-")
    commands = [one["cmd"] for one in fields(result.stdout, "lo_ioctl")]
    assert commands[-1] == "0x4c01" and "0x4c0a" in commands  # LOOP_CLR_FD, LOOP_CONFIGURE
    assert lines[lines.index("killed 137") + 1] == "1"
    assert any(line.startswith("undone: kprobe_events") for line in lines)
