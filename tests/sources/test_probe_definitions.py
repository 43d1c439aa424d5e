"""Probe definitions: C expressions beside pahole and BTF, the places of errors, lines of the kernel read back."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from linscope.binfmt.btf import VMLINUX, Btf
from linscope.binfmt.usdt import UsdtProbe
from linscope.errors import ExpressionError, FormatError, NotInKernel, UnknownNameError, UsageError
from linscope.sources.probes.compile import compile_probe, compile_probes
from linscope.sources.probes.definition import (
    ProbeArgument,
    ProbeDefinition,
    ProbeHits,
    iter_hits,
    parse_definition,
    parse_definitions,
)
from linscope.sources.probes.fetch import Features, parse_features
from linscope.sources.probes.targets import explain_missing_function
from linscope.sources.probes.usdt import usdt_arguments


class Machine:
    """A made-up kernel and a program."""

    def __init__(self, *functions: str) -> None:
        self.functions = functions

    def module_btf(self, module: str) -> Btf | None:
        return None

    def kernel_functions(self) -> Collection[str]:
        return self.functions

    def module_of(self, function: str) -> str:
        return "overlay" if function == "ovl_made_up" else ""

    def traceable_functions(self) -> Collection[str]:
        return ()

    def symbol_offset(self, path: str, symbol: str) -> int:
        if not path.endswith("/bash"):
            raise FileNotFoundError(path)
        if symbol != "readline":
            raise UnknownNameError("function", symbol, ["readline"])
        return 0xC6C20

    def usdt_probes(self, path: str) -> list[UsdtProbe]:
        one = UsdtProbe("lib", "hit", 0x1230, 0x4000, "-4@%edi 8@-8(%rbp) -4@$5 8f@%xmm0")
        return [one, one._replace(offset=0x1240, arguments="-4@%eax"), UsdtProbe("lib", "miss", 0x1250, 0, "")]


MACHINE = Machine("vfs_read", "tcp_sendmsg", "wake_up_new_task", "helper.isra.0", "wake_up_process")


@pytest.fixture(scope="module")
def btf() -> Btf:
    if not Path(VMLINUX).exists():
        pytest.skip("the running kernel has no BTF: CONFIG_DEBUG_INFO_BTF is off")
    return Btf.open()


def offset(struct: str, member: str) -> int:
    """Byte offset of a member, from pahole."""
    if shutil.which("pahole") is None:
        pytest.skip("needs pahole: apt-get install dwarves")
    done = subprocess.run(["pahole", "-F", "btf", "-C", struct, VMLINUX], capture_output=True, text=True, check=True)
    match = re.search(rf"\n\t+\S.*\W{member}(?:\[\d+\]|\)\([^;]*\))?;\s+/\*\s+(\d+)", done.stdout)
    assert match, (struct, member)
    return int(match[1])


def bpftool_char() -> str:
    """What bpftool tells of the type char."""
    if shutil.which("bpftool") is None:
        pytest.skip("needs bpftool: apt-get install bpftool")
    done = subprocess.run(["bpftool", "btf", "dump", "file", VMLINUX], capture_output=True, text=True, check=True)
    return next(line for line in done.stdout.splitlines() if " INT 'char' " in line)


@pytest.mark.kernel
@pytest.mark.peer
def test_fields_are_where_pahole_has_them(btf: Btf) -> None:
    def arguments(text: str) -> list[str]:
        return [argument.text() for argument in compile_probe(text, btf, MACHINE).arguments]

    path = offset("file", "f_path") + offset("path", "dentry")
    name = offset("dentry", "d_name") + offset("qstr", "name")
    assert arguments("p vfs_read file->f_path.dentry->d_name.name inode=file->f_inode->i_ino count") == [
        f"name=+0(+{name}(+{path}($arg1))):string",
        f"inode=+{offset('inode', 'i_ino')}(+{offset('file', 'f_inode')}($arg1)):u64",
        "count=$arg3:u64",
    ]
    char = "s8" if "SIGNED" in bpftool_char() else "u8"  # since v6.2 the kernel's char has no sign
    comm, cpu = offset("task_struct", "comm"), offset("task_struct", "wake_cpu")
    assert arguments("p wake_up_new_task p->comm p->comm[2] p->wake_cpu p->pid:x32 (*p).pid p[0].tgid") == [
        f"comm=+{comm}($arg1):string",
        f"comm_2=+{comm + 2}($arg1):{char}",
        f"wake_cpu=+{cpu}($arg1):s32",
        f"pid=+{offset('task_struct', 'pid')}($arg1):x32",
        f"pid_2=+{offset('task_struct', 'pid')}($arg1):s32",
        f"tgid=+{offset('task_struct', 'tgid')}($arg1):s32",
    ]
    assert arguments("p tcp_sendmsg *") == ["sk=$arg1:x64", "msg=$arg2:x64", "size=$arg3:u64"]
    assert arguments("p tcp_sendmsg sk->sk_data_ready &sk->__sk_common") == [
        f"sk_data_ready=+{offset('sock', 'sk_data_ready')}($arg1):symbol",
        "__sk_common=$arg1:x64",
    ]


@pytest.mark.kernel
@pytest.mark.peer
def test_bit_fields_are_where_pahole_has_them(btf: Btf) -> None:
    if shutil.which("pahole") is None:
        pytest.skip("needs pahole: apt-get install dwarves")
    skb = subprocess.run(["pahole", "-F", "btf", "-C", "sk_buff", VMLINUX], capture_output=True, text=True, check=True)
    fields = re.findall(r"\n\t+__u8 +(\w+):(\d+);\s+/\* +(\d+): (\d+) +1 \*/", skb.stdout)
    assert len(fields) > 20
    for name, width, byte, bit in fields:
        (argument,) = compile_probe(f"p ip_rcv skb->{name}", btf, MACHINE).arguments
        assert argument.text() == f"{name}=+{byte}($arg1):b{width}@{bit}/8"


@pytest.mark.kernel
def test_types_follow_the_source(btf: Btf) -> None:
    def one(text: str) -> str:
        return compile_probe(text, btf, MACHINE).arguments[0].text()

    assert one("r tcp_sendmsg $retval") == "ret=$retval:s32"
    assert one("r tcp_sendmsg code=$retval:u64") == "code=$retval:u64"
    assert one("p do_sys_openat2 u:filename") == "filename=+0($arg2):ustring"
    assert one("p do_sys_openat2 u:filename:string") == "filename=+u0($arg2):string"
    assert one("p do_sys_openat2 dfd") == "dfd=$arg1:s32"
    assert one("p do_sys_openat2 u:how->flags").startswith("flags=+u0($arg3)")
    assert one("r vfs_read $retval") == "ret=$retval:s64"
    old = Features(argument_numbers=False)
    assert compile_probe("p vfs_read count", btf, MACHINE, features=old).arguments[0].text() == "count=%dx:u64"
    arm = compile_probe("p vfs_read count", btf, MACHINE, features=old, machine="aarch64")
    assert arm.arguments[0].text() == "count=%x2:u64"
    all_of = compile_probe("p vfs_read", btf, MACHINE, all_arguments=True)
    assert [argument.name for argument in all_of.arguments] == ["file", "buf", "count", "pos"]
    assert compile_probe("t sched_switch *", btf, MACHINE).text().startswith("t:linscope/sched_switch sched_switch ")


def complaint(text: str, btf: Btf | None = None, machine: Machine = MACHINE) -> tuple[int, str]:
    """(place, words) of the error."""
    with pytest.raises(ExpressionError) as caught:
        compile_probe(text, btf, machine)
    lines = str(caught.value).splitlines()
    caret = next(number for number, line in enumerate(lines) if line.strip() == "^")
    assert lines[caret - 1][2:] == text and lines[caret].index("^") == caught.value.position + 2
    assert caught.value.exit_code == 2
    return caught.value.position, str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", 0, "no probe"),
        ("p", 1, "where to probe"),
        ("q vfs_read", 0, "no kind of probe"),
        ("p: vfs_read", 2, "name of the event is missing"),
        ("p:1st vfs_read", 2, "cannot name an event"),
        ("p:net/a-b vfs_read", 6, "cannot name an event"),
        ("p5 vfs_read", 1, "for returns"),
        ("r9999 vfs_read", 1, "at once"),
        ("r vfs_read+4", 2, "inside a function"),
        ("p vfs_read%exit", 10, "%exit"),
        ("p vfs-read", 2, "no function"),
        ("p vfs_read 1=%di", 11, "cannot be a name"),
        ("p vfs_read common_pid=%di", 11, "taken"),
        ("p vfs_read a=%di a=%si", 17, "taken"),
        ("p vfs_read a=", 13, "nothing to fetch"),
        ("p vfs_read %edi", 11, "no register"),
        ("p vfs_read $retval", 11, "before the function returns"),
        ("p vfs_read $arg0:u8", 11, "count from"),
        ("p vfs_read $nothing:u8", 11, "$nothing"),
        ("p vfs_read+4 $arg1:u8", 13, "inside a function"),
        ("p vfs_read +8(%di", 17, "not closed"),
        ("p vfs_read +x(%di)", 12, "not an offset"),
        ("p vfs_read +8", 13, "needs brackets"),
        ("p vfs_read +8(+4(%dii))", 17, "no register"),
        ("p vfs_read +0($comm)", 14, "cannot be dereferenced"),
        ("p vfs_read %di:u33", 15, "no type"),
        ("p vfs_read %di:", 15, "type is missing"),
        ("p vfs_read %di:string", 15, "where a pointer points"),
        ("p vfs_read $comm:u8", 17, "text is a string"),
        ("p vfs_read %di:b4@30/32", 15, "are not in 32"),
        ("p vfs_read %di:b4/32", 15, "not a bit field"),
        ("p vfs_read %di:u8[4]", 15, "array of what is not in memory"),
        ("p vfs_read +0(%di):u8[65]", 22, "1 to 64"),
        ("p vfs_read +0(%di):u8[4", 23, "not closed"),
        ("p vfs_read @+16", 12, "offset in a file"),
        ("p vfs_read @a*b", 12, "not a symbol"),
        ('p vfs_read \\"open', 17, "does not end"),
        ("p vfs_read \\x", 12, "not a number"),
        ("p /bin/bash:readline $arg1", 21, "program's function"),
        ("p /bin/bash:readline @jiffies", 22, "in a program"),
        ("p /bin/bash:readline text", 2, "no names here"),
        ("p /bin/bash:realdine", 12, "did you mean readline"),
        ("p /bin/none:readline", 2, "no file"),
        ("u /bin/bash:lib:hip", 16, "did you mean lib:hit"),
        ("u hit", 2, "PROGRAM:PROVIDER:NAME"),
        ("p vfs_read +100000(+100000(+100000(+100000(+100000(+100000(+100000(%di)))))))", 11, "the kernel takes 63"),
    ],
)
def test_errors_point_at_their_place(text: str, place: int, words: str) -> None:
    position, said = complaint(text)
    assert (position, words in said) == (place, True), said


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("p wake_up_new_task task", 19, "wake_up_new_task(p)"),
        ("p wake_up_new_task p->coom", 22, "did you mean comm"),
        ("p wake_up_new_task p.comm", 20, "it is a pointer"),
        ("p wake_up_new_task p->se->load", 24, "dot instead"),
        ("p wake_up_new_task p->se", 24, "is no number"),
        ("p wake_up_new_task p->comm[16]", 26, "the array has 16"),
        ("p wake_up_new_task p->pid[1]", 25, "no array"),
        ("p wake_up_new_task &p->pid", 19, "address"),
        ("p wake_up_new_task p->", 22, "member is missing"),
        ("p wake_up_new_task (p->pid", 26, "not closed"),
        ("p wake_up_new_task p->pid)", 25, "not expected"),
        ("p wake_up_new_task p->pid=1", 19, "cannot be a name"),
        ("p wake_up_new_task 5", 19, "begins with a parameter"),
        ("p wake_up_new_task u:p", 21, "no pointer was followed"),
        ("p wake_up_new_task+1 p->pid", 21, "inside a function"),
        ("r wake_up_new_task $retval->pid", 19, "returns nothing"),
        ("p helper x", 2, "helper.isra.0"),
        ("p wake_up_new_tusk p", 2, "did you mean wake_up_new_task"),
        ("p vfs_read.isra.0 file", 2, "changed the parameters of vfs_read"),
        ("p schedule x", 11, "no parameter 'x'"),
        ("t sched_swich *", 2, "no tracepoint"),
    ],
)
def test_errors_of_names_point_at_their_place(btf: Btf, text: str, place: int, words: str) -> None:
    position, said = complaint(text, btf)
    assert (position, words in said) == (place, True), said


def test_without_btf_names_need_it() -> None:
    with pytest.raises(NotInKernel, match="CONFIG_DEBUG_INFO_BTF"):
        compile_probe("p vfs_read file", None, MACHINE)
    assert compile_probe("p vfs_read %di", None, MACHINE).text() == "p:linscope/vfs_read vfs_read di=%di"
    returns = Features(arguments_on_return=False)
    with pytest.raises(ExpressionError, match="keeps no arguments"):
        compile_probe("r vfs_read $arg1:u64", None, MACHINE, features=returns)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("p:net/sent tcp_sendmsg+0x10 %ax:u8", "p:net/sent tcp_sendmsg+0x10 ax=%ax:u8"),
        ("r5 vfs_read a=$retval:s64", "r5:linscope/vfs_read__return vfs_read a=$retval:s64"),
        ("p vfs_read%return $retval:s64", "r:linscope/vfs_read__return vfs_read retval=$retval:s64"),
        ("f vfs_read%return", "f:linscope/vfs_read__return vfs_read%return"),
        ("f vfs_*", "f:linscope/vfs__ vfs_*"),
        ("p nf_nat:setup+4", "p:linscope/setup_0x4 nf_nat:setup+4"),
        ("p 0xffffffff81000000 $comm", "p:linscope/_0xffffffff81000000 0xffffffff81000000 comm=$comm"),
        (
            'p vfs_read @jiffies+4:u64 \\-5 \\"a:b"',
            'p:linscope/vfs_read vfs_read jiffies=@jiffies+4:u64 value=\\-5 b=\\"a:b"',
        ),
        ("p /none/bash:0x10(0x20) %di", "p:linscope/bash_0x10 /none/bash:0x10(0x20) di=%di"),
        (
            "r /none/bash:readline +0($retval):ustring",
            "r:linscope/readline__return /none/bash:0xc6c20 retval=+0($retval):ustring",
        ),
        ("p /none/bash:readline+0x4 @+0x10:u8", "p:linscope/readline_0x4 /none/bash:0xc6c24 value=@+0x10:u8"),
    ],
)
def test_lines_for_the_kernel(text: str, line: str) -> None:
    found = compile_probe(text, None, MACHINE)
    assert found.text() == line
    assert parse_definition(line) == found
    assert found.removal() == f"-:{found.group}/{found.name}"


def test_usdt_probes_with_several_places() -> None:
    first, second = compile_probes("u /none/lib.so:lib:hit", None, MACHINE)
    assert first.text() == "p:linscope/lib_hit /none/lib.so:0x1230(0x4000) arg1=%di:s32 arg2=-8(%bp):u64 arg3=\\5:s32"
    assert second.text() == "p:linscope/lib_hit_1 /none/lib.so:0x1240(0x4000) arg1=%ax:s32"
    assert "xmm0" in first.notes[0]
    assert compile_probe("sdt:x/y /none/lib.so:lib:miss", None, MACHINE).text() == "p:x/y /none/lib.so:0x1250"
    with pytest.raises(UsageError, match="2 places"):
        compile_probe("u /none/lib.so:lib:hit", None, MACHINE)


def test_operands_of_usdt_probes() -> None:
    operands = (
        "1@%dil 2@%r8w 4@%r15d 8@%rax -8@0x10(%rsp) 4@(%rbx) 8@sym(%rip) 8@8(%rax,%rcx,4) 4@$0x10 %ah 2@-0x4(%r10)"
    )
    arguments, notes = usdt_arguments(UsdtProbe("p", "n", 0, 0, operands))
    assert [one.text().partition("=")[2] for one in arguments] == [
        "%di:u8", "%r8:u16", "%r15:u32", "%ax:u64", "+0x10(%sp):s64", "+0(%bx):u32", "\\0x10:u32", "-0x4(%r10):u16",
    ]  # fmt: skip
    assert len(notes) == 3


def test_what_a_kernel_can_fetch_is_read_from_its_readme() -> None:
    old = """
 fetcharg: %<register>, @<address>, @<symbol>[+|-<offset>],
           $stack<index>, $stack, $retval, $comm,
           +|-[u]<offset>(<fetcharg>), \\imm-value
     type: s8/16/32/64, u8/16/32/64, x8/16/32/64, string, symbol,
           b<bit-width>@<bit-offset>/<container-size>, ustring,
           <type>\\[<array-size>\\]
"""
    found = parse_features(old)
    assert (found.argument_numbers, found.arguments_on_return, found.user_dereference) == (False, False, True)
    assert "symstr" not in found.types and {"u32", "ustring", "symbol"} <= found.types
    new = old.replace("$comm,", "$comm, $arg<N>,").replace(
        "     type:", "     kernel return probes support: $retval, $arg<N>, $comm\n     type: char, symstr, %pd/%pD,"
    )
    assert parse_features(new) == Features()
    assert parse_features("") == Features(False, False, False, found.types - {"string", "ustring", "symbol"})


def test_lines_of_the_kernel_are_read_back() -> None:
    text = (
        "r64:kprobes/r_0 nf_nat:setup a=$retval:x64\np:uprobes/readline /usr/bin/bash:0x00000000000c6c20(0x10) a=%di\n"
        'e:x/y sched.sched_switch\nf:a/b vfs_read%return t=\\"u:v"\n\n'
    )
    assert parse_definitions(text) == [
        ProbeDefinition("kernel", True, "kprobes", "r_0", "nf_nat:setup", (ProbeArgument("a", "$retval", "x64"),), 64),
        ProbeDefinition(
            "user", False, "uprobes", "readline", "/usr/bin/bash:0x00000000000c6c20(0x10)", (ProbeArgument("a", "%di"),)
        ),
        ProbeDefinition("function", True, "a", "b", "vfs_read", (ProbeArgument("t", '\\"u:v"'),)),
    ]
    for line in ("p vfs_read", "p:a/b", "p:b vfs_read", "p:a/b vfs_read x"):
        with pytest.raises(FormatError):
            parse_definition(line)
    profile = "  p_vfs_read_0                   12     3\n  /usr/bin/bash readline           7\nnonsense\n"
    assert list(iter_hits(profile)) == [ProbeHits("p_vfs_read_0", 12, 3), ProbeHits("readline", 7, -1, "/usr/bin/bash")]


def test_why_a_function_is_not_there() -> None:
    assert explain_missing_function("vfs_read", None, MACHINE) == ("", "")
    assert "wake_up_new_task" in explain_missing_function("wake_up_new_tasks", None, MACHINE)[0]
    assert explain_missing_function("helper", None, MACHINE)[1] == "p helper.isra.0"
    assert explain_missing_function("zzz", None, MACHINE)[0] == "no symbol of that name"
    assert explain_missing_function("zzz", None, Machine()) == ("", "")


def test_a_function_of_a_module_is_named_with_it(btf: Btf) -> None:
    with pytest.raises(ExpressionError, match=r"ovl_made_up is in a module\n.*\n.*\n  try: overlay:ovl_made_up"):
        compile_probe("p ovl_made_up file", btf, MACHINE)


def test_all_that_a_return_has(btf: Btf) -> None:
    """Parameters where the kernel keeps them, else the result, else nothing."""
    old = Features()._replace(arguments_on_return=False)
    for text, features, fetched in (
        ("r vfs_read", Features(), ["$arg1", "$arg2", "$arg3", "$arg4"]),
        ("r vfs_read", old, ["$retval"]),
        ("r do_exit", old, []),
    ):
        made = compile_probe(text, btf, Machine(), features=features, all_arguments=True)
        assert [one.fetch.rpartition("(")[2].rstrip(")") for one in made.arguments] == fetched, text
