"""All benchmarks, one after the other: `make bench`.  Each file runs by itself too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NOT_BENCHMARKS = {"run", "measure", "inputs", "crash_drgn"}


def main() -> None:
    here = Path(__file__).resolve().parent
    for path in sorted(here.glob("*.py")):
        if path.stem not in NOT_BENCHMARKS:
            print(f"== {path.stem}", flush=True)
            subprocess.run([sys.executable, str(path)], check=False)


if __name__ == "__main__":
    main()
