"""`linscope bpf`: one file a subcommand, one line each."""

from __future__ import annotations

from linscope.tables import Entry, Group

BPF = Group(
    "eBPF without a compiler: write, read, check, run, and look into the kernel.",
    (
        "linscope bpf dis filter.bpf.o",
        "linscope bpf verify filter.s --kernel",
        "linscope bpf btf struct task_struct",
        "linscope bpf list",
    ),
    {
        "asm": Entry("linscope.commands.bpf.asm:ASM", "assemble text into instructions"),
        "dis": Entry("linscope.commands.bpf.dis:DIS", "show instructions of objects, raw files, hexadecimal text"),
        "verify": Entry("linscope.commands.bpf.verify:VERIFY", "would the kernel take it, and if not, why"),
        "run": Entry("linscope.commands.bpf.run:RUN", "run a program here: interpreter, machine code, or kernel"),
        "btf": Entry("linscope.commands.bpf.btf:BTF", "types as C, with offsets, sizes, holes, cache lines"),
        "list": Entry("linscope.commands.bpf.list:LIST", "programs, maps, links and types that are in the kernel"),
        "dump": Entry("linscope.commands.bpf.dump:DUMP", "instructions of a program that is in the kernel"),
        "map": Entry("linscope.commands.bpf.map:MAP", "contents of a map that is in the kernel; change them"),
    },
)
