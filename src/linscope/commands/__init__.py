"""The subcommands: one file each (arguments, call, rows; no logic) and one line here."""

from __future__ import annotations

from linscope.tables import Entry, Table

COMMANDS = Table(
    "command",
    {
        "record": Entry("linscope.commands.record:RECORD", "record samples and events of a program to perf.data"),
        "stat": Entry("linscope.commands.stat:STAT", "count events while a program runs"),
        "report": Entry("linscope.commands.report:REPORT", "where the time went, as a table with call graphs"),
        "script": Entry("linscope.commands.script:SCRIPT", "every event of a recording, one by one, in time order"),
        "flame": Entry("linscope.commands.flame:FLAME", "where the time went, as a flame graph (HTML, SVG, text)"),
        "heat": Entry("linscope.commands.heat:HEAT", "latencies between two events over time, as a heat map"),
        "export": Entry("linscope.commands.export:EXPORT", "write a recording in another format"),
        "events": Entry("linscope.commands.events:EVENTS", "the kernel's trace events: list, show, record, stream"),
        "ftrace": Entry("linscope.commands.ftrace:FTRACE", "the kernel's tracers: functions, call graphs, latencies"),
        "hist": Entry("linscope.commands.hist:HIST", "histograms that the kernel itself counts, as tables with bars"),
        "probe": Entry("linscope.commands.probe:PROBE", "events of your own: kernel functions, programs, USDT probes"),
        "dyndbg": Entry("linscope.commands.dyndbg:DYNDBG", "the kernel's debug prints: list, switch, follow"),
        "bpf": Entry("linscope.commands.bpf:BPF", "eBPF: assemble, read, verify and run programs; BTF; what is loaded"),
        "lab": Entry("linscope.commands.lab:LAB", "run a command in a disposable kernel with this machine's files"),
        "doctor": Entry("linscope.commands.doctor:DOCTOR", "what this machine allows, and what to change; --clean"),
    },
)
