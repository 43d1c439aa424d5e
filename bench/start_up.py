"""Start-up beside a bare interpreter: `linscope --help` and `import linscope`; goal: within 1.5x."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import LINSCOPE, ROOT, run


def fastest(words: list[str], runs: int = 40) -> float:
    """CPU seconds of the least disturbed run."""
    return min(run(words).cpu_s for _ in range(runs))


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    python = str(ROOT / ".venv/bin/python")
    bare = fastest([python, "-c", "pass"])
    for name, words in (
        ("import linscope", [python, "-c", "import linscope"]),
        ("linscope --help", [LINSCOPE, "--help"]),
    ):
        ours = fastest(words)
        print(
            f"{name:<20} bare Python {bare * 1e3:5.1f} ms   ours {ours * 1e3:5.1f} ms   "
            f"ratio {ours / bare:.2f}x   goal <= 1.5x"
        )


if __name__ == "__main__":
    main()
