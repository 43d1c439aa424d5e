"""KVM where a trial shows that it works, else TCG: a /dev/kvm may be there and a kernel hang in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

from linscope.sys.folders import cache_folder

_TRIAL_SECONDS = 3
_PROOF = b"Linux version"  # what a kernel prints once it is unpacked and runs


def choose_accelerator(qemu: str, image: Path) -> str:
    """Returns "kvm" when this kernel image really starts under it within three seconds, else "tcg".

    The answer is remembered until the machine boots again.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    memory = Path(cache_folder("lab")) / "accelerator"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError, ValueError):
        of_boot, answer = memory.read_text().split()
        if of_boot == boot:
            return answer
    answer = "kvm" if _kernel_starts(qemu, image) else "tcg"
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(f"{boot} {answer}\n")
    return answer


def _kernel_starts(qemu: str, image: Path) -> bool:
    """Whether the kernel, without any root, says who it is."""
    command = [qemu, "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot"]
    command += ["-serial", "stdio", "-monitor", "none", "-kernel", str(image)]
    command += ["-append", "console=ttyS0 earlyprintk=serial panic=-1"]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=null, stdout=subprocess.PIPE, stderr=null) as trial:
        assert trial.stdout is not None
        os.set_blocking(trial.stdout.fileno(), False)
        deadline, seen = time.monotonic() + _TRIAL_SECONDS, b""
        while time.monotonic() < deadline and _PROOF not in seen:
            seen += trial.stdout.read() or b""
            if trial.poll() is not None:
                seen += trial.stdout.read() or b""
                break
            time.sleep(0.02)
        trial.kill()
    return _PROOF in seen
