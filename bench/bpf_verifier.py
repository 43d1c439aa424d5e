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

from linscope.bpf.verifier import verify  # noqa: E402

PROGRAMS = 400
MOST = 20_000  # instructions looked at; the few loops beyond would be all that is measured


def main() -> None:
    """Print both."""
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
