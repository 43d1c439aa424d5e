"""Commands of crash over ../shared's dump with wrong words in its memory: an answer or an error, never a traceback.

Prints what was found; exits with 1 after a finding.

    .venv/bin/python fuzz/crash_dumps.py 2000 --seed 1
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "crash"))

import damaged_kernels  # noqa: E402

from linscope.crash.session import Session  # noqa: E402
from linscope.errors import LinscopeError  # noqa: E402
from linscope.target.kernel import open_kernel  # noqa: E402

DUMP = ROOT.parent / "shared" / "dumps" / "debian-6.1-lzo.kdump"
SLOW_S = 3.0  # of CPU time


def main() -> int:
    """Damage it again and again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dump", default=str(DUMP))
    arguments = parser.parse_args()
    found = asked = refused = 0
    slowest = 0.0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        with open_kernel(arguments.dump) as kernel:
            try:
                session = Session(damaged_kernels.damaged(kernel, seed))
            except LinscopeError:
                refused += 1
                continue
            for line in damaged_kernels.lines(seed, 14):
                asked += 1
                begin = time.process_time()
                try:
                    damaged_kernels.answer(session, line, ("text", "json")[seed % 2])
                except Exception as error:  # noqa: BLE001 what we look for
                    found += 1
                    print(f"seed {seed}: {line}: {error!r}")
                    traceback.print_exc(limit=-4)
                took = time.process_time() - begin
                if took > slowest:
                    slowest = took
                    print(f"slowest: {took:.2f} s, seed {seed}: {line}", flush=True)
                found += took > SLOW_S
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{asked} commands over {arguments.count} damages, {refused} not opened, peak {peak} MB: {found} findings")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
