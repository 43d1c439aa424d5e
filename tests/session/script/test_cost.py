"""What a script costs at hot probes: rates from a /proc that is made up, costs of programs, when nothing is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from linscope.lang.bpftrace.compiler import compile
from linscope.lang.codegen import Options, generate
from linscope.session.script.attaching import may_cost
from linscope.session.script.cost import Meter, cost_us

STAT = """cpu  100000 0 {system} 800000 0 0 0 0 0 0
cpu0 50000 0 50000 400000 0 0 0 0 0 0
cpu1 50000 0 50000 400000 0 0 0 0 0 0
intr {intr} 0 1 2
ctxt {ctxt}
softirq 1000 1 2
"""


@pytest.fixture
def proc(tmp_path: Path) -> Callable[..., str]:
    """A function that makes the files: 10,000 s after boot, two CPUs."""

    def make(*, ctxt: int = 0, intr: int = 0, faults: int = 0, system: int = 100000, load: float = 0.5) -> str:
        (tmp_path / "net").mkdir(exist_ok=True)
        (tmp_path / "stat").write_text(STAT.format(ctxt=ctxt, intr=intr, system=system))
        (tmp_path / "uptime").write_text("10000.00 15000.00\n")
        (tmp_path / "vmstat").write_text(f"pgalloc_dma 5\npgalloc_normal {faults}\npgfault {faults}\n")
        (tmp_path / "loadavg").write_text(f"{load} 0.5 0.5 1/100 1234\n")
        (tmp_path / "net" / "dev").write_text(
            "Inter-| Receive\n face |bytes packets\n lo: 1 400000000 0 0 0 0 0 0 1 400000000 0 0 0 0 0 0\n"
        )
        return str(tmp_path)

    return make


def said(script: str, proc: str) -> list[str]:
    """The lines for a script."""
    unit = compile(script)
    return Meter(unit, proc).lines(generate(unit, Options(cpus=2))) if may_cost(unit) else []


def test_how_often_since_boot_and_what_that_costs(proc: Callable[..., str]) -> None:
    script = "tracepoint:sched:sched_switch { @ = count(); }"
    (line,) = said(script, proc(ctxt=3_000_000_000))
    assert line.startswith("tracepoint:sched:sched_switch fires about 300,000 times a second here: about ")
    percent = float(line.split("about ")[-1].split(" ")[0])
    assert line.endswith(" % of a CPU") and 3 < percent < 10
    assert said(script, proc(ctxt=120_000_000)) == []  # 12,000 a second: a third of a percent


def test_more_than_a_cpu(proc: Callable[..., str]) -> None:
    (line,) = said(
        "tracepoint:exceptions:page_fault_user { @[kstack, ustack] = count(); }", proc(faults=10_000_000_000)
    )
    assert "fires about 1,000,000 times a second here: about " in line and line.endswith(" CPUs")


def test_how_often_while_it_was_loaded(proc: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((50.0, 51.0))
    monkeypatch.setattr("linscope.session.script.cost.time", SimpleNamespace(monotonic=lambda: next(clock)))
    unit = compile("tracepoint:sched:sched_switch { @ = count(); }")
    meter = Meter(unit, proc(ctxt=0))
    proc(ctxt=200_000)
    (line,) = meter.lines(generate(unit, Options(cpus=2)))
    assert "fires about 200,000 times a second" in line


def test_system_calls_are_bounded_by_the_time_in_the_kernel(proc: Callable[..., str]) -> None:
    script = "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }"
    (line,) = said(script, proc(load=2.0))  # both CPUs are busy, half of the time in the kernel
    assert line.startswith("tracepoint:raw_syscalls:sys_enter fires up to 500,000 times a second at this load: up to ")
    assert said(script, proc(system=1000, load=0.1)) == []


def test_all_system_calls_are_named_as_the_script_has_them(proc: Callable[..., str]) -> None:
    (line,) = said("tracepoint:syscalls:sys_enter_* { @[probe] = count(); }", proc(load=2.0))
    assert line.startswith("tracepoint:syscalls:sys_enter_* fires up to ")


def test_clocks_have_their_rate(proc: Callable[..., str]) -> None:
    (line,) = said("profile:us:50 { @[kstack] = count(); }", proc())
    assert line.startswith("profile:us:50 fires about 40,000 times a second here: about ")
    assert said("profile:hz:99 { @[kstack] = count(); }", proc()) == []


def test_packets(proc: Callable[..., str]) -> None:
    (line,) = said("tracepoint:net:netif_receive_skb { @[kstack] = count(); }", proc())
    assert "fires about 80,000 times a second" in line


def test_calls_of_programs_and_many_functions(proc: Callable[..., str]) -> None:
    libc = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc.so" in line)
    assert said(f"uprobe:{libc}:malloc {{ @ = count(); }}", proc()) == [
        f"uprobe:{libc}:malloc: each call takes 1 to 10 µs longer, of maybe a million a second"
    ]
    assert said(f"uprobe:{libc}:getppid {{ @ = count(); }}", proc()) == []
    (line,) = said(f"uprobe:{libc}:* {{ @ = count(); }}", proc())
    assert line.startswith(f"uprobe:{libc}:* is put on ") and line.endswith(
        "each of their calls takes 1 to 10 µs longer"
    )


@pytest.mark.parametrize("script", [
    "begin { }", "interval:s:1 { }", "tracepoint:sched:sched_process_exec { }", "kprobe:tcp_connect { }",
    "tracepoint:block:block_rq_issue { }", "rawtracepoint:sched_process_fork { }", "profile:hz:999 { }",
])  # fmt: skip
def test_nothing_is_looked_at_for_what_is_rare(script: str) -> None:
    assert not may_cost(compile(script))


def test_of_a_predicate_only_what_is_before_it_counts() -> None:
    whole = '{ @[kstack, comm] = count(); printf("%s\\n", comm); }'
    costs = []
    for predicate in ("", "/pid == 1/"):
        unit = compile(f"rawtracepoint:sched_switch {predicate} {whole}")
        costs.append(cost_us(unit.programs[0], generate(unit, Options(cpus=2)).programs[0]))
    assert costs[0] > 1.2 > 0.2 > costs[1]


def test_a_proc_that_cannot_be_read(tmp_path: Path) -> None:
    assert said("tracepoint:sched:sched_switch { @ = count(); }", str(tmp_path / "nope")) == []


@pytest.mark.kernel
def test_it_is_said_on_standard_error_before_the_probes_are_attached(run: Callable[..., tuple[int, str, str]]) -> None:
    script = "profile:us:25 { @[kstack] = count(); } interval:ms:1 { exit(); } end { clear(@); }"
    _, out, err = run("-e", script)
    assert err.startswith("linscope: profile:us:25 fires about ") and err.count("\n") == 1 and "linscope" not in out
    for words in (("-q",), ("--no-warnings",)):
        assert run(*words, "-e", script)[2] == ""
    _, out, err = run("-f", "json", "-e", script)
    assert err.startswith("linscope: profile:us:25") and all(line.startswith("{") for line in out.splitlines())
