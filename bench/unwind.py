"""Unwinding dumped user stacks beside perf script: CPU seconds of whole processes on one recording, medians.

The recording is made here, of examples/busy.py with perf record --call-graph dwarf (8 KiB a sample), once with the
mappings of data, which perf needs to unwind through the C library, and once without.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import ROOT, compare, median

READ = "import sys; from linscope.formats import read_profile; read_profile(sys.argv[1])"
LEAVE = "from linscope.formats.perf_data import reader; reader.has_stack_dumps = lambda attrs: False; "
SHOW = (
    "import sys; from linscope.formats import read_profile; p = read_profile(sys.argv[1]);"
    "print(len(p.samples), 'samples', p.stack_endings)"
)


def record(path: str, *options: str) -> None:
    command = ["perf", "record", "-q", "-F", "3999", "-e", "cpu-clock", "--call-graph", "dwarf", *options, "-o", path]
    program = [sys.executable, str(ROOT / "examples" / "busy.py"), "8"]
    subprocess.run([*command, "--", *program], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (("with data mappings", ["-d"]), ("as usual", [])):
            path = str(Path(folder) / "perf.data")
            record(path, *options)
            print(f"input: {Path(path).stat().st_size / 1e6:.0f} MB, {name}: ", end="", flush=True)
            subprocess.run([sys.executable, "-c", SHOW, path], check=True)
            perf = median(["perf", "script", "--no-inline", "-F", "ip", "-i", path])
            ours = median([sys.executable, "-c", READ, path], 5)
            compare(f"read, {name} / perf script", perf, ours, "none")
            # the unwinding alone: less the same without it
            perf_reads = median(["perf", "script", "--no-inline", "-G", "-F", "ip", "-i", path])
            we_read = median([sys.executable, "-c", LEAVE + READ, path], 5)
            perf = perf._replace(cpu_s=perf.cpu_s - perf_reads.cpu_s)
            ours = ours._replace(cpu_s=max(ours.cpu_s - we_read.cpu_s, 1e-3))
            compare("  the unwinding alone", perf, ours, ">= 20x")


if __name__ == "__main__":
    main()
