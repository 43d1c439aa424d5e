"""Programs in the kernel: load, try out, ask about.

Source: bpf(2); kernel/bpf/syscall.c, bpf_prog_load; kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import E2BIG, EINVAL, ENOENT, ENOSPC, EPERM

from linscope.abi import bpf as b
from linscope.bpf.instructions import WIDE, Instruction, encode
from linscope.bpf.kernel.descriptor import Descriptor, get_by_id, get_pinned
from linscope.bpf.kernel.errors import TrampolineRefused, VerifierError
from linscope.bpf.kernel.maps import KernelMap
from linscope.errors import UsageError
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    from linscope.bpf.program import Program
    from linscope.errors import SystemCallError
else:
    from linscope.bpf._named import named_tuple

_FIRST_LOG, _LARGEST_LOG = 1 << 16, 1 << 24  # bytes
_MAP_SOURCES = {b.BPF_PSEUDO_MAP_IDX: b.BPF_PSEUDO_MAP_FD, b.BPF_PSEUDO_MAP_IDX_VALUE: b.BPF_PSEUDO_MAP_VALUE}
_TRAMPOLINES = frozenset(
    (b.BPF_TRACE_FENTRY, b.BPF_TRACE_FEXIT, b.BPF_MODIFY_RETURN, b.BPF_LSM_MAC, b.BPF_LSM_CGROUP)
)  # fmt: skip
_WITH_TARGET = frozenset((b.BPF_PROG_TYPE_TRACING, b.BPF_PROG_TYPE_LSM, b.BPF_PROG_TYPE_EXT))
_PROGRAM_TYPES = {
    b.BPF_PROG_TYPE_NETFILTER: "v6.4", b.BPF_PROG_TYPE_SYSCALL: "v5.14", b.BPF_PROG_TYPE_SK_LOOKUP: "v5.9",
    b.BPF_PROG_TYPE_LSM: "v5.7", b.BPF_PROG_TYPE_EXT: "v5.6", b.BPF_PROG_TYPE_TRACING: "v5.5",
}  # fmt: skip

if TYPE_CHECKING:

    class Run(NamedTuple):
        """What a test run gave."""

        result: int  # what the program returned, signed 32 bits
        duration_ns: int  # of one run, the mean
        data: bytes  # the packet afterwards
        context: bytes  # the context afterwards

else:
    Run = named_tuple("Run", "result duration_ns data context")


class KernelProgram(Descriptor):
    """A loaded program and, when ``load`` made them, its maps in the order of ``Program.maps``."""

    __slots__ = ("_own_maps", "attach_type", "maps", "name", "target", "type")
    kind = "program"

    def __init__(
        self, fd: int, type: int, name: str = "", *, attach_type: int = 0, target: str = "",
        maps: Sequence[KernelMap] = (), own_maps: bool = False,
    ) -> None:  # fmt: skip
        """fd: is closed with this object, and with own_maps the maps too.  See ``load``, ``open``."""
        super().__init__(fd)
        self.type = type
        self.name = name
        self.attach_type = attach_type
        self.target = target
        self.maps = list(maps)
        self._own_maps = own_maps

    def __repr__(self) -> str:
        return f"<KernelProgram {self.name!r}: type {self.type}>"

    def close(self) -> None:
        """Close it, and the maps that were made for it; links keep the program."""
        super().close()
        if self._own_maps:
            for each in self.maps:
                each.close()

    @classmethod
    def from_fd(cls, fd: int) -> KernelProgram:
        """The program of a descriptor, which is closed with the result.  Raises SystemCallError."""
        import struct

        info = bytearray(256)
        try:
            sys_bpf.obj_get_info_by_fd(fd, info)
        except OSError as error:
            raise explain(error, "cannot look at a program") from error
        name: bytes = struct.unpack_from("16s", info, 64)[0]
        return cls(fd, struct.unpack_from("=I", info)[0], name.partition(b"\0")[0].decode())

    @classmethod
    def open(cls, path: str) -> KernelProgram:
        """The program that is pinned at a path.  Raises SystemCallError."""
        return cls.from_fd(get_pinned(path))

    @classmethod
    def by_id(cls, id: int) -> KernelProgram:
        """The program of an id.  Raises SystemCallError."""
        return cls.from_fd(get_by_id("program", id))

    def test_run(
        self, data: bytes = b"", *, context: bytes = b"", repeat: int = 1, room: int = 256, cpu: int | None = None,
        flags: int = 0,
    ) -> Run:  # fmt: skip
        """Run it with a packet or a context instead of an event (BPF_PROG_TEST_RUN).

        room: bytes by which the packet may grow; cpu: where to run it (raw tracepoints only).
        Raises NotInKernel when programs of the type cannot be run so, SystemCallError.
        """
        out = bytearray(len(data) + room) if data else None
        # raw tracepoints and system call programs take a context in and give none out, or write to the given one
        skb = self.type not in (b.BPF_PROG_TYPE_RAW_TRACEPOINT, b.BPF_PROG_TYPE_TRACING, b.BPF_PROG_TYPE_SYSCALL)
        context_buffer = bytearray(context) or None
        context_out = bytearray(len(context)) if context and skb else None
        once = self.type in (b.BPF_PROG_TYPE_RAW_TRACEPOINT, b.BPF_PROG_TYPE_SYSCALL)  # they refuse a repeat
        try:
            result, duration, length, context_length = sys_bpf.prog_test_run(
                self.fd, data_in=data or None, data_out=out, context_in=context_buffer, context_out=context_out,
                repeat=0 if once else repeat, flags=flags if cpu is None else flags | b.BPF_F_TEST_RUN_ON_CPU,
                cpu=cpu or 0,
            )  # fmt: skip
        except OSError as error:
            packet = "programs of its type need an Ethernet frame with whole headers in it"
            why = packet if error.errno == EINVAL and skb else ""
            not_so = "" if error.errno == EINVAL else "a kernel that runs programs of this type by BPF_PROG_TEST_RUN"
            raise explain(error, f"cannot run the program {self.name!r}", since=not_so, why=why) from error
        after = bytes(context_out[:context_length]) if context_out else bytes(context_buffer or b"")
        return Run((result ^ 1 << 31) - (1 << 31), duration, bytes(out[:length]) if out else b"", after)


def with_descriptors(instructions: Sequence[Instruction], descriptors: Sequence[int]) -> list[Instruction]:
    """Places of maps -> descriptors of maps.  Raises UsageError for a place beyond the maps."""
    result = list(instructions)
    for index, one in enumerate(result):
        if one.code == WIDE and one.src in _MAP_SOURCES:
            if not 0 <= one.imm < len(descriptors):
                raise UsageError(f"instruction {index} names map {one.imm} of {len(descriptors)}")
            result[index] = Instruction(WIDE, one.dst, _MAP_SOURCES[one.src], one.off, descriptors[one.imm])
    return result


def load(
    program: Program, maps: Sequence[KernelMap] | None = None, *, log_level: int = 0, btf_fd: int | None = None,
    target_program: KernelProgram | None = None,
) -> KernelProgram:  # fmt: skip
    """Load a program.

    maps: those of Program.maps in their order, which stay the caller's; None: they are made, and close with the
    program.  log_level: 0 asks the verifier for its log only when it refuses; btf_fd: Program.btf, loaded already;
    target_program: of which Program.target is a function (fentry of a program, freplace).
    Raises VerifierError with the log, TrampolineRefused, PermissionDenied, NotInKernel, UsageError.
    """
    own = maps is None
    made: list[KernelMap] = []
    opened: list[Descriptor] = []
    try:
        func_info = line_info = b""
        if program.btf is not None or program.lines:
            from linscope.bpf.kernel.types import KernelTypes, describe

            data, func_info, line_info = describe(program, extend=btf_fd is None)
            if btf_fd is None:
                types = KernelTypes.load(data)
                opened.append(types)
                btf_fd = types.fd
        if maps is None:
            for definition in program.maps:
                made.append(KernelMap.create(definition, btf_fd=btf_fd or 0))
            maps = made
        fd = _load(program, maps, log_level, (btf_fd or 0, func_info, line_info), target_program, opened)
    except BaseException:
        for each in made:
            each.close()
        raise
    finally:
        for other in opened:
            other.close()
    return KernelProgram(
        fd, program.type, program.name, attach_type=program.attach_type, target=program.target, maps=maps, own_maps=own
    )


def _load(
    program: Program, maps: Sequence[KernelMap], log_level: int, types: tuple[int, bytes, bytes],
    target_program: KernelProgram | None, opened: list[Descriptor],
) -> int:  # fmt: skip
    """types: the descriptor of the program's own types (0 without), and what lies in them: functions, lines."""
    code = encode(with_descriptors(program.instructions, [each.fd for each in maps]))
    btf_fd, func_info, line_info = types
    btf_id = attach_fd = 0
    if program.type in _WITH_TARGET and (program.target or target_program is not None):
        from linscope.bpf.kernel.targets import find_target

        btf_id, attach_fd = find_target(program, target_program, opened)
    def attempt(level: int, log: bytearray | None) -> int:
        return sys_bpf.prog_load(
            program.type, code, program.license, name=program.name, flags=program.flags,
            expected_attach_type=program.attach_type, btf_fd=btf_fd,
            func_info=func_info, line_info=line_info,
            attach_btf_id=btf_id, attach_fd=attach_fd, log_level=level, log=log,
        )  # fmt: skip

    if not log_level:
        try:
            return attempt(0, None)
        except OSError as error:
            if error.errno == E2BIG and len(code) > 8 * b.BPF_COMPLEXITY_LIMIT_INSNS:
                raise UsageError(f"a program of {len(code) // 8} instructions; the kernel takes a million") from error
    size = _FIRST_LOG
    while True:
        log = bytearray(size)
        try:
            return attempt(log_level or 1, log)
        except OSError as error:
            if error.errno == ENOSPC and size < _LARGEST_LOG:
                size *= 4
                continue
            raise _refusal(program, error, log.partition(b"\0")[0].decode("utf-8", "replace")) from error


def _refusal(program: Program, error: OSError, log: str) -> SystemCallError:
    number = error.errno or 0
    if log.strip():
        return VerifierError(program.name, errno=number, log=log)
    if number == EPERM and program.attach_type in _TRAMPOLINES and program.type in _WITH_TARGET and _may_load():
        return TrampolineRefused(program.name, errno=number)
    since = _PROGRAM_TYPES.get(program.type, "") if number in (EINVAL, ENOENT) else ""
    net = program.type not in (b.BPF_PROG_TYPE_KPROBE, b.BPF_PROG_TYPE_TRACEPOINT, b.BPF_PROG_TYPE_RAW_TRACEPOINT,
                               b.BPF_PROG_TYPE_PERF_EVENT, b.BPF_PROG_TYPE_TRACING)  # fmt: skip
    return explain(error, f"cannot load the program {program.name!r} (type {program.type})", since=since, net=net)


def _may_load() -> bool:
    """Whether this process may load a raw tracepoint program, which needs the same capabilities."""
    import os

    nothing = encode([Instruction(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 0, 0, 0, 0), Instruction(0x95, 0, 0, 0, 0)])
    try:
        os.close(sys_bpf.prog_load(b.BPF_PROG_TYPE_RAW_TRACEPOINT, nothing, "GPL"))
    except OSError:
        return False
    return True
