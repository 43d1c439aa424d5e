"""The kernel's tracers beside the same thing done by hand in tracefs, and beside trace-cmd."""

from __future__ import annotations

import json
import re

import pytest

from linscope.recording import open_recording

pytestmark = pytest.mark.kernel

# What a private instance holds while a command runs in it.
_SHOW = 'cd $T/instances/linscope-*; for f in %s; do echo "[$f]"; cat $f; done'
_CAT = "cat /etc/hostname >/dev/null"


def sections(text: str) -> dict[str, list[str]]:
    """Lines by the file that _SHOW printed."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\S+)\]", line):
            lines = found.setdefault(match[1], [])
        elif found:
            lines.append(line)
    return found


def test_function_filters_are_those_set_by_hand(clean) -> None:
    """-f, -n, --module and --command fill the same files in the same way."""
    files = "set_ftrace_filter set_ftrace_notrace current_tracer"
    clean.out(
        f"""
        mkdir $T/instances/byhand; cd $T/instances/byhand
        echo 'vfs_r*' > set_ftrace_filter; echo 'fuse_file*' >> set_ftrace_filter
        echo '*:mod:overlay' >> set_ftrace_filter
        echo 'do_sys_openat2:traceoff:3' >> set_ftrace_filter; echo '*_rename' > set_ftrace_notrace
        echo function > current_tracer
        for f in {files}; do echo "[$f]"; cat $f; done > $OLDPWD/byhand
        echo nop > current_tracer; echo '!do_sys_openat2:traceoff:3' >> set_ftrace_filter
        cd /; rmdir $T/instances/byhand
        """
    )
    clean.out(
        f"""$linscope ftrace function -f 'vfs_r*' -f 'fuse_file*' --module overlay -n '*_rename' \\
            --command 'do_sys_openat2:traceoff:3' -o x.dat -- sh -c '{_SHOW % files} > '$PWD/ours"""
    )
    by_hand = sections((clean.folder / "byhand").read_text())
    ours = sections((clean.folder / "ours").read_text())
    assert len(by_hand["set_ftrace_filter"]) > 100
    for lines in (by_hand["set_ftrace_filter"], ours["set_ftrace_filter"]):
        lines[:] = [re.sub(r"traceoff:count=\d", "traceoff:count", line) for line in lines]
    assert ours == by_hand


def test_functions_are_those_of_trace_cmd(clean) -> None:
    """The same command, the same filter: as many calls of each function, only of this command, named alike."""
    clean.out(f"$linscope ftrace function -f 'vfs_read' -f 'vfs_open' -o ours.dat -- sh -c '{_CAT}'")
    clean.out(f"trace-cmd record -q -p function -l vfs_read -l vfs_open -o theirs.dat -F -c sh -c '{_CAT}' >/dev/null")
    counts = {}
    for name in ("ours", "theirs"):
        text = clean.out(f"trace-cmd report -N {name}.dat 2>/dev/null")
        calls = re.findall(r"function: +(\S+) <-- (\S+)", text)
        counts[name] = {one: sum(1 for call in calls if call[0] == one) for one in ("vfs_read", "vfs_open")}
        assert set(re.findall(r"^ *(\S+)-\d+ +\[", text, re.MULTILINE)) <= {"sh", "cat", "python", "trace-cmd"}
    # trace-cmd traces itself up to the exec of the command.
    assert counts["ours"]["vfs_read"] > 3
    assert abs(counts["ours"]["vfs_read"] - counts["theirs"]["vfs_read"]) <= 3
    script = clean.out("$linscope script ours.dat")
    assert script == clean.out("trace-cmd report -N ours.dat 2>/dev/null").partition("\n")[2]


_BESIDE_THE_KERNEL = """
import os, sys
from linscope.recording import open_recording
from linscope.session.tracing.capture import Capture
from linscope.session.tracing.options import TraceOptions
from linscope.session.tracing.record import trace_contents
from linscope.session.tracing.session import TraceSession
from linscope.formats.trace_dat.writer import TraceBuffer, write_trace_dat

options = TraceOptions(tracer="function_graph", graph_functions=("vfs_read", "do_filp_open"), max_depth=4)
with TraceSession(["cat", "/etc/hostname", "/etc/passwd"], options) as session:
    session.run()
    with open(session.instance.path + "/trace") as file:
        theirs = file.read()
    with Capture(session.instance, {cpu: f"pages{cpu}" for cpu in session.instance.cpus()}) as capture:
        capture.finish()
        contents = trace_contents(session)
        pages = [(one.cpu, one.file_path, one.bytes_written) for one in capture.cpus]
        contents.buffers.append(TraceBuffer("", "local", capture.page_size, pages))
        write_trace_dat("graph.dat", contents)
ours = "".join(row[-1] + "\\n" for row in open_recording("graph.dat", tables=True).calls().rows)
open("ours.txt", "w").write(ours)
open("theirs.txt", "w").write(theirs)
"""


def test_the_call_graph_is_drawn_as_the_kernel_draws_it(clean) -> None:
    """The same pages: our lines and those of the kernel's file `trace`, one by one."""
    clean.python(_BESIDE_THE_KERNEL)
    theirs = [line for line in (clean.folder / "theirs.txt").read_text().splitlines() if not line.startswith("#")]
    ours = (clean.folder / "ours.txt").read_text().splitlines()
    # The kernel also marks interrupts, by sections of its text that kallsyms does not show.
    kept = [re.sub(r" \[\w+\](?=\(\)| \*/)", "", line.rstrip()) for line in theirs if "==========" not in line]
    assert len(ours) > 50
    assert [line.rstrip() for line in ours] == kept


def test_totals_and_flame_graph_of_calls(clean) -> None:
    """Self times add up to the time of the outermost calls; the picture has the same sum."""
    clean.out(f"$linscope ftrace function_graph --graph do_sys_openat2 -o calls.dat -- sh -c '{_CAT}'")
    recording = open_recording(clean.folder / "calls.dat", tables=True)
    totals = {row[-1]: row for row in recording.calls(total=True).rows}
    outer = totals["do_sys_openat2"]
    everything = sum(row[1] for row in totals.values())
    lone = sum(row[2] for name, row in totals.items() if "irq" in name or "apic" in name)  # their own roots, at times
    assert outer[2] <= everything <= outer[2] + lone
    report = clean.out("trace-cmd report -N calls.dat 2>/dev/null")
    assert outer[3] == len(re.findall(r"funcgraph_exit.*<-- do_sys_openat2 ", report))
    graph = recording.flame()
    assert "do_sys_openat2" in graph.text(width=100, color=False)
    shown = clean.out("$linscope ftrace show calls.dat --total --json").splitlines()
    assert {json.loads(line)["function"] for line in shown} == set(totals)


def test_graph_options_reach_the_kernel_and_go_again(clean) -> None:
    """--graph, --graph-notrace, --max-depth, --thresh and options of the top-level buffer, borrowed."""
    files = "set_graph_function set_graph_notrace max_graph_depth tracing_thresh options/funcgraph-irqs current_tracer"
    show = f'cd $T; for f in {files}; do echo "[$f]"; cat $f; done'
    clean.out(
        f"""$linscope ftrace function_graph --graph vfs_read --graph-notrace dput --max-depth 3 --thresh 7 \\
            -O nofuncgraph-irqs -o x.dat -- sh -c '{show} > '$PWD/ours"""
    )
    assert sections((clean.folder / "ours").read_text()) == {
        "set_graph_function": ["vfs_read"],
        "set_graph_notrace": ["dput"],
        "max_graph_depth": ["3"],
        "tracing_thresh": ["7"],
        "options/funcgraph-irqs": ["0"],
        "current_tracer": ["function_graph"],
    }


def test_somebody_elses_tracer_is_not_touched(clean) -> None:
    """The top-level buffer in use: one sentence, and it stays as it is."""
    script = """echo function > $T/current_tracer
    $linscope ftrace function_graph -- true; echo "code $?"; cat $T/current_tracer
    echo nop > $T/current_tracer"""
    result = clean.sh(script)
    assert result.stdout == "code 1\nfunction\n"
    assert "in use: current_tracer is function" in result.stderr


def test_what_cannot_be_is_said(clean) -> None:
    """A tracer that the kernel lacks, one that does not exist, a function that does not."""
    result = clean.sh(
        """$linscope ftrace irqsoff -- true; echo $?
        $linscope ftrace function_grahp -- true; echo $?
        $linscope ftrace function -f vfs_raed -- true; echo $?
        $linscope ftrace function -O sym-ofset -- true; echo $?"""
    )
    assert result.stdout.split() == ["1", "2", "2", "2"]
    assert "CONFIG_IRQSOFF_TRACER is not set" in result.stderr
    assert "did you mean function_graph" in result.stderr
    assert "did you mean vfs_read" in result.stderr
    assert "did you mean sym-offset" in result.stderr


@pytest.mark.parametrize("tracer", ["irqsoff", "preemptoff", "preemptirqsoff"])
def test_a_known_latency_is_found(lab_kernel, tracer: str) -> None:
    """A module that keeps interrupts (or preemption) off for 20 ms: the tracer finds it, the file keeps its text."""
    mode = "preempt" if tracer == "preemptoff" else "irq"
    text = lab_kernel.out(
        f"""$linscope ftrace {tracer} -a -o {tracer}.dat -- busybox insmod $KO delay=20000 test_mode={mode} >/dev/null
        busybox rmmod preemptirq_delay_test
        trace-cmd report -N {tracer}.dat 2>/dev/null"""
    )
    latency = re.search(r"# latency: (\d+) us", text)
    assert latency is not None
    assert int(latency[1]) >= 20_000
    ours = lab_kernel.out(f"$linscope script {tracer}.dat")
    assert ours.rstrip().splitlines() == text.rstrip().splitlines()[1:]  # trace-cmd adds an empty line


def test_wakeup_latencies(lab_kernel) -> None:
    """What is printed is the kernel's own text, in a private instance."""
    for tracer, command in (("wakeup", "nice -n -15 sleep 0.05"), ("wakeup_rt", "chrt -f 50 sleep 0.05")):
        text = lab_kernel.out(f"$linscope ftrace {tracer} -a -- {command}; cat $T/current_tracer; ls $T/instances")
        assert f"# {tracer} latency trace" in text
        assert re.search(r"# latency: [1-9]\d* us", text)
        assert text.endswith("\nnop\n")


def test_noise_tracers(lab_kernel) -> None:
    """osnoise, timerlat and hwlat fill their events; knobs that exist once are put back."""
    text = lab_kernel.out(
        """cat $T/osnoise/period_us
        $linscope ftrace osnoise -a --set osnoise/runtime_us=100000 --set osnoise/period_us=200000 --duration 1s --json
        cat $T/osnoise/period_us
        $linscope ftrace timerlat -a --duration 300ms | tail -3
        $linscope ftrace hwlat -a --set hwlat_detector/width=90000 --duration 1s -o h.dat
        $linscope script h.dat | tail -1
        cat $T/osnoise/period_us $T/osnoise/runtime_us $T/hwlat_detector/width"""
    )
    lines = text.splitlines()
    assert lines[0] == "1000000"
    noise = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(noise) >= 2
    assert all("noise" in str(row) for row in noise)
    assert any("timer_latency:" in line for line in lines)
    assert lines[-3:] == ["1000000", "1000000", "500000"]
