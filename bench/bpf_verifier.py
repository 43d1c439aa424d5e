"""How long the verifier takes for 1,000 instructions, next to loading the same programs into the kernel."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT / "tests" / "bpf" / "verifier"))

import verifier_programs as programs  # noqa: E402
from verifier_kernel import Kernel  # noqa: E402

from linscope.bpf.asm import assemble_program  # noqa: E402
from linscope.bpf.program import Program  # noqa: E402
from linscope.bpf.verifier import verify  # noqa: E402

PROGRAMS = 400
MOST = 20_000  # instructions looked at; the few loops beyond would be all that is measured


LOOKUP = """
*(u32 *)(r10 -4) = {0}
r1 = map[counts]
r2 = r10
r2 += -4
call bpf_map_lookup_elem
if r0 == 0 goto l{0}
r1 = *(u64 *)(r0 +0)
r1 += r6
*(u64 *)(r0 +0) = r1
l{0}:
"""
SHAPES = {  # head, what is repeated, how often
    "straight": ("", "r0 = {0}\nr0 *= 3\nr2 = r0\nr2 &= 255\nr6 += r2\n", 199),
    "branches": ("", "r1 = r6\nr1 >>= {1}\nr1 &= 1\nif r1 == 0 goto l{0}\nr7 = {0}\nl{0}:\n", 199),
    "lookups": (".map counts hash 4 8 1024\n", LOOKUP, 99),
    "spills": ("", "*(u64 *)(r10 -{2}) = r6\nr6 = *(u64 *)(r10 -{2})\n", 498),
    "loop": ("", "r7 = 0\na{0}:\nr7 += 1\nif r7 < 1000 goto a{0}\n", 1),
}


def shape(name: str) -> Program:
    """A program of about 1,000 instructions of one kind, or that runs through more than 1,000."""
    head, body, count = SHAPES[name]
    text = "".join(body.format(i, i % 63, 8 + 8 * (i % 32)) for i in range(count))
    return assemble_program(f".type raw_tracepoint\n{head}r6 = *(u64 *)(r1 +0)\n{text}r0 = 0\nexit")


def measure_shapes() -> None:
    """Print milliseconds for each shape, and what loading it takes."""
    for name in SHAPES:
        program = shape(name)
        begin = time.perf_counter()
        verdict = verify(program)
        took = time.perf_counter() - begin
        if not verdict.accepted:
            sys.exit(f"{name}: {verdict.message}")
        show(name, took, verdict.instructions, len(program.instructions))
        if os.geteuid() == 0:
            kernel = Kernel(program.maps)
            begin = time.perf_counter()
            loads, _ = kernel.load(program)
            took = time.perf_counter() - begin
            kernel.close()
            show("  kernel" if loads else "  refused", took, verdict.instructions, len(program.instructions))


def main() -> None:
    """Print the shapes, then generated programs beside the kernel."""
    measure_shapes()
    made = [programs.generate(seed) for seed in range(PROGRAMS)]
    seconds, looked_at, length, kept = 0.0, 0, 0, []
    for program in made:
        begin = time.perf_counter()
        verdict = verify(program)
        took = time.perf_counter() - begin
        if verdict.accepted and verdict.instructions < MOST:
            seconds += took
            looked_at += verdict.instructions
            length += len(program.instructions)
            kept.append(program)
    print(f"{len(kept)} accepted programs, {length} instructions, {looked_at} looked at")
    show("linscope", seconds, looked_at, length)
    if os.geteuid() != 0:
        return
    kernel = Kernel(programs.make_maps())
    begin = time.perf_counter()
    for program in kept:
        kernel.load(program)
    took = time.perf_counter() - begin
    kernel.close()
    show("kernel", took, looked_at, length)


def show(name: str, seconds: float, looked_at: int, length: int) -> None:
    """One line: milliseconds for 1,000 instructions, as often as they are looked at, and as they stand there."""
    print(
        f"{name:9} {1e6 * seconds / looked_at:7.2f} ms per 1,000 looked at {1e6 * seconds / length:7.2f} ms per 1,000"
    )


if __name__ == "__main__":
    main()
