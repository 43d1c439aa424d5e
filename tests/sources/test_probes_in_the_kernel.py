"""Probes of programs, in this kernel: it takes what we take, refuses what we refuse, and fetches what was there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from linscope.binfmt.btf import Btf
from linscope.binfmt.elf import ElfFile
from linscope.binfmt.usdt import file_offset, iter_usdt_probes
from linscope.errors import ExpressionError
from linscope.sources.probes.compile import compile_probe
from linscope.sources.probes.definition import ProbeDefinition, iter_hits, parse_definition, parse_definitions
from linscope.sources.probes.fetch import parse_features
from linscope.sources.probes.targets import HostResolver, find_symbol
from linscope.sys.tracefs import read_text

SOURCE = Path(__file__).with_name("probed.c")
GROUP = f"linscope_test_{os.getpid()}"
pytestmark = pytest.mark.kernel


def write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, text.encode() + b"\n")
    finally:
        os.close(fd)


def ours(uprobe_tracefs: str) -> list[ProbeDefinition]:
    return [one for one in parse_definitions(read_text(f"{uprobe_tracefs}/uprobe_events")) if one.group == GROUP]


@pytest.fixture
def events(uprobe_tracefs: str) -> Iterator[str]:
    """uprobe_events; what a test defined is removed."""
    yield f"{uprobe_tracefs}/uprobe_events"
    for one in {one.removal() for one in ours(uprobe_tracefs)}:
        write(f"{uprobe_tracefs}/uprobe_events", one)
    assert not ours(uprobe_tracefs)


ARGUMENTS = (
    "%di %rdi %r15 %ip %flags %orig_ax %xx "
    "$comm $retval $stack $stack0 $stackx $arg1 @0x1000 @+0x10 @symbol @+x \\5 \\-5 "
    "\\0x5 \\+5 \\x 5 di +0(%di) -8(%di) +0x10(%di) 8(%di) +u8(%di) -u8(%di) +8(+8(%di)) +8(%di +8 +(%di) +0($comm) "
    "+0(\\5) +0($stack) +0(@+8) "
    "%di:u8 %di:s64 %di:x32 %di:u33 %di:u %di: %di:string %di:ustring %di:symbol %di:symstr +0(%di):%pd %di:char "
    "+0(%di):string "
    "+0(%di):ustring +u0(%di):string +0(%di):symbol $comm:string $comm:u8 $comm:string[2] @+0x10:string \\5:u8 "
    "%di:b4@2/32 %di:b4@30/32 %di:b0@0/8 %di:b8@0/8 %di:b4@2/33 %di:b4/32 %di:b4@/32 +0(%di):b3@0/8 "
    "%di:u8[2] +0(%di):u8[2] +0(%di):u8[0] +0(%di):u8[64] +0(%di):u8[65] +0(%di):u8[x] +0(%di):u8[2 +0(%di):u8[2]x "
    "+0(%di):string[2] +0(%di):x64[4] "
    "a=%di a-b=%di 1a=%di =%di a= common_pid=%di __probe_ip=%di " + "n" * 33 + "=%di " + "n" * 32 + "=%di "
    "+100000(+100000(+100000(+100000(+100000(+100000(+100000(%di)))))))"
).split()  # fmt: skip


@pytest.mark.parametrize("argument", [*ARGUMENTS, '\\"text"', '\\"text', '\\"text":string', '\\"text":u8'])
@pytest.mark.parametrize("kind", ["p", "r"])
def test_the_kernel_takes_and_refuses_the_same(
    probed_program: Path, uprobe_tracefs: str, events: str, kind: str, argument: str
) -> None:
    features = parse_features(read_text(f"{uprobe_tracefs}/README"))
    text = f"{kind}:{GROUP}/grammar {probed_program}:probed {argument}"
    try:
        line = compile_probe(text, None, HostResolver(), features=features).text()
    except ExpressionError:
        line = ""
    raw = f"{kind}:{GROUP}/grammar {probed_program}:{find_symbol(str(probed_program), 'probed'):#x} {argument}"
    try:
        write(events, line or raw)
        taken = True
    except OSError:
        taken = False
    assert taken == bool(line), line or raw
    if taken:
        (shown,) = ours(uprobe_tracefs)
        assert shown.arguments == compile_probe(text, None, HostResolver(), features=features).arguments


def run(uprobe_tracefs: str, probed_program: Path, count: int) -> list[str]:
    """What the events of our group recorded while the program ran, in an instance of its own."""
    instance = Path(uprobe_tracefs, "instances", GROUP)
    instance.mkdir()
    try:
        (instance / "events" / GROUP / "enable").write_text("1")
        subprocess.run([str(probed_program), str(count)], check=True, capture_output=True)
        (instance / "events" / GROUP / "enable").write_text("0")
        return [line for line in (instance / "trace").read_text().splitlines() if not line.startswith("#")]
    finally:
        instance.rmdir()


def test_arguments_of_a_function_are_fetched(probed_program: Path, uprobe_tracefs: str, events: str) -> None:
    resolver = HostResolver()
    for text in (
        f"p:{GROUP}/enter {probed_program}:probed number=%di:s32 x=+0(%si):s32 kind=+4(%si):u8 name=+0(+8(%si)):string "
        "text=+0(%dx):ustring comm=$comm both=+0(%si):x8[2]",
        f"r:{GROUP}/leave {probed_program}:probed $retval:s32",
    ):
        definition = compile_probe(text, None, resolver)
        write(events, definition.text())
    shown = ours(uprobe_tracefs)
    assert [(one.name, one.returns, one.arguments) for one in shown] == [
        (one.name, one.returns, one.arguments) for one in (parse_definition(s.text()) for s in shown) if one
    ]
    lines = run(uprobe_tracefs, probed_program, 3)
    assert len(lines) == 6
    assert 'number=2 x=-5 kind=200 name="a name" text="the text" comm="probed" both={0xfb,0xff}' in lines[4]
    assert lines[5].endswith("retval=197")
    hits = {one.name: one for one in iter_hits(read_text(f"{uprobe_tracefs}/uprobe_profile"))}
    assert hits["enter"].hits == 3 and hits["enter"].path.endswith("/probed")


def test_usdt_probes_fetch_their_arguments(probed_program: Path, uprobe_tracefs: str, events: str) -> None:
    resolver = HostResolver()
    entered = compile_probe(f"u:{GROUP}/entered {probed_program}:linscope:entered", None, resolver)
    counted = compile_probe(f"u:{GROUP}/counted {probed_program}:linscope:counted", None, resolver)
    assert "argument 5" in entered.notes[0]
    assert "(0x" in counted.target and "(0x" not in entered.target
    write(events, entered.text())
    write(events, counted.text())
    lines = run(uprobe_tracefs, probed_program, 2)
    assert len(lines) == 4  # the second probe is behind its semaphore, which the kernel counts up
    assert re.search(r"entered: .* arg1=1 arg2=0x[0-9a-f]+|entered: .* arg1=1 arg2=\d+ arg3=-7 arg4=200", lines[2])
    assert "counted" in lines[3]


def test_places_of_usdt_probes_are_those_of_readelf(probed_program: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf: apt-get install binutils")
    libraries = [path for path in (Path("/usr/lib/x86_64-linux-gnu/libstdc++.so.6"),) if path.exists()]
    for path in (probed_program, *libraries):
        done = subprocess.run(["readelf", "-n", str(path)], capture_output=True, text=True, check=True)
        theirs = re.findall(
            r"Provider: (\S+)\s+Name: (\S+)\s+Location: (\S+), Base: \S+, Semaphore: (\S+)\s+Arguments:(.*)",
            done.stdout,
        )
        with ElfFile(str(path)) as elf:
            found = list(iter_usdt_probes(elf))
            assert [(one.provider, one.name, one.arguments) for one in found] == [
                (provider, name, arguments.strip()) for provider, name, _, _, arguments in theirs
            ]
            for one, (_, _, location, semaphore, _) in zip(found, theirs, strict=True):
                assert one.offset == file_offset(elf, int(location, 16))
                assert one.semaphore == (file_offset(elf, int(semaphore, 16)) if int(semaphore, 16) else 0)
        assert found


def test_the_machine_s_own_functions() -> None:
    resolver = HostResolver(Btf.open()) if Path("/sys/kernel/btf/vmlinux").exists() else HostResolver()
    assert "schedule" in resolver.kernel_functions()
    assert resolver.traceable_functions() == ()
    assert resolver.module_btf("no_such_module") is None
