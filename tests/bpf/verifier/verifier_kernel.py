"""What the running kernel says of a program: loaded by bpf(2), and closed at once; nothing is attached.

By hand, our verdicts beside the kernel's: ``python tests/bpf/verifier/verifier_kernel.py --count 20000 --seed 0``.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import struct
import sys

from linscope.abi import bpf as b
from linscope.bpf.instructions import WIDE, encode
from linscope.bpf.program import Map, Program

_SYSCALL = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine, 0)
_LOG_SIZE = 1 << 24
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytearray) -> int:
    buffer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    return int(_libc.syscall(_SYSCALL, command, ctypes.byref(buffer), len(attributes)))


def create_map(map: Map) -> int:
    """A descriptor of a new map.  Raises OSError."""
    attributes = bytearray(72)
    struct.pack_into("<IIIII", attributes, 0, map.type, map.key_size, map.value_size, map.max_entries, map.flags)
    descriptor = _bpf(b.BPF_MAP_CREATE, attributes)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), f"cannot create {map!r}")
    return descriptor


class Kernel:
    """The running kernel, with maps that all programs share."""

    def __init__(self, maps: list[Map]) -> None:
        """maps: as in ``Program.maps`` of all that is loaded.  Raises OSError."""
        self.descriptors = [create_map(map) for map in maps]
        self.log = ctypes.create_string_buffer(_LOG_SIZE)

    def close(self) -> None:
        """Forget the maps."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def load(self, program: Program, *, log_level: int = 0) -> tuple[bool, str]:
        """(whether it loads, the verifier's log)."""
        code = [
            one._replace(src=b.BPF_PSEUDO_MAP_FD, imm=self.descriptors[one.imm])
            if one.code == WIDE and one.src == b.BPF_PSEUDO_MAP_IDX and 0 <= one.imm < len(self.descriptors)
            else one
            for one in program.instructions
        ]
        data = encode(code)
        instructions = ctypes.create_string_buffer(data, len(data))
        license = ctypes.create_string_buffer(program.license.encode())
        attributes = bytearray(152)
        log = ctypes.addressof(self.log) if log_level else 0
        struct.pack_into(
            "<IIQQIIQII", attributes, 0, program.type, len(code), ctypes.addressof(instructions),
            ctypes.addressof(license), log_level, _LOG_SIZE if log_level else 0, log, 0, program.flags,
        )  # fmt: skip
        struct.pack_into("<I", attributes, 68, program.attach_type)
        self.log[0] = b"\0"
        descriptor = _bpf(b.BPF_PROG_LOAD, attributes)
        if descriptor >= 0:
            os.close(descriptor)
            return True, self.log.value.decode(errors="replace")
        if ctypes.get_errno() == errno.EPERM and not log_level:
            raise PermissionError(errno.EPERM, "the kernel loads no programs: needs root")
        return False, self.log.value.decode(errors="replace")


def main() -> int:
    """Compare; 1 when less than 97 % of the verdicts agree."""
    import verifier_programs

    from linscope.bpf.verifier import verify

    parser = argparse.ArgumentParser(description="our verdicts on generated programs beside the running kernel's")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first program; the others follow")
    options = parser.parse_args()
    kernel = Kernel(verifier_programs.make_maps())
    loaded = differ = unsafe = 0
    for seed in range(options.seed, options.seed + options.count):
        program = verifier_programs.generate(seed)
        loads, _ = kernel.load(program)
        loaded += loads
        verdict = verify(program)
        if verdict.accepted != loads:
            differ += 1
            unsafe += verdict.accepted
            print(f"seed {seed}: kernel {'accepts' if loads else 'refuses'}; {verdict.slot}: {verdict.message}")
    kernel.close()
    agree = 1 - differ / max(options.count, 1)
    print(f"{options.count} programs, the kernel accepts {loaded}; {100 * agree:.2f} % agree, ", end="")
    print(f"{unsafe} accepted that the kernel refuses, {differ - unsafe} the other way")
    return int(agree < 0.97)


if __name__ == "__main__":
    sys.exit(main())
