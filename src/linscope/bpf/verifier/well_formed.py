"""Whether instructions are ones at all, before anything runs: codes, wide loads, maps.

Source: kernel/bpf/verifier.c, resolve_pseudo_ldimm64; kernel/bpf/core.c, bpf_opcode_in_insntable.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.instructions import WIDE
from linscope.bpf.verifier.helper_maps import check_program_maps
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.verifier.checker import Checker

_MAX_MAPS = 64  # MAX_USED_MAPS
_MAX_OFFSET = 1 << 29  # BPF_MAX_VAR_OFF
_DIRECT = (b.BPF_MAP_TYPE_ARRAY, b.BPF_MAP_TYPE_ARENA, b.BPF_MAP_TYPE_INSN_ARRAY)
_STORAGE = (b.BPF_MAP_TYPE_CGROUP_STORAGE, b.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE)


def _codes() -> frozenset[int]:
    found: set[int] = set()
    operations = (
        b.BPF_ADD, b.BPF_SUB, b.BPF_MUL, b.BPF_DIV, b.BPF_OR, b.BPF_AND, b.BPF_LSH, b.BPF_RSH, b.BPF_MOD, b.BPF_XOR,
        b.BPF_MOV, b.BPF_ARSH,
    )  # fmt: skip
    for kind in (b.BPF_ALU, b.BPF_ALU64):
        found.update(kind | operation | source for operation in operations for source in (b.BPF_K, b.BPF_X))
        found.add(kind | b.BPF_NEG)
    found.update((b.BPF_ALU | b.BPF_END | b.BPF_TO_LE, b.BPF_ALU | b.BPF_END | b.BPF_TO_BE))
    conditions = (
        b.BPF_JEQ, b.BPF_JNE, b.BPF_JGT, b.BPF_JGE, b.BPF_JLT, b.BPF_JLE, b.BPF_JSET, b.BPF_JSGT, b.BPF_JSGE,
        b.BPF_JSLT, b.BPF_JSLE,
    )  # fmt: skip
    for kind in (b.BPF_JMP, b.BPF_JMP32):
        found.update(kind | operation | source for operation in conditions for source in (b.BPF_K, b.BPF_X))
    found.update((b.BPF_JMP | b.BPF_CALL, b.BPF_JMP | b.BPF_EXIT, b.BPF_JMP | b.BPF_JA))
    for size in (b.BPF_B, b.BPF_H, b.BPF_W, b.BPF_DW):
        found.update(kind | b.BPF_MEM | size for kind in (b.BPF_LDX, b.BPF_ST, b.BPF_STX))
    found.update((b.BPF_STX | b.BPF_ATOMIC | b.BPF_W, b.BPF_STX | b.BPF_ATOMIC | b.BPF_DW, WIDE))
    for size in (b.BPF_B, b.BPF_H, b.BPF_W):
        found.update((b.BPF_LD | b.BPF_ABS | size, b.BPF_LD | b.BPF_IND | size))
    return frozenset(found)


_BEFORE_6_6 = _codes()
_SINCE_6_6 = _BEFORE_6_6 | {
    b.BPF_ALU64 | b.BPF_END, b.BPF_JMP32 | b.BPF_JA,
    *(b.BPF_LDX | b.BPF_MEMSX | size for size in (b.BPF_B, b.BPF_H, b.BPF_W)),
}  # fmt: skip
_SINCE_6_9 = _SINCE_6_6 | {b.BPF_JMP | b.BPF_JCOND}
_SINCE_6_15 = _SINCE_6_9 | {b.BPF_STX | b.BPF_ATOMIC | b.BPF_B, b.BPF_STX | b.BPF_ATOMIC | b.BPF_H}


def _known(kernel: tuple[int, int]) -> frozenset[int]:
    if kernel >= (6, 15):
        return _SINCE_6_15
    if kernel >= (6, 9):
        return _SINCE_6_9
    return _SINCE_6_6 if kernel >= (6, 6) else _BEFORE_6_6


def check_instructions(checker: Checker) -> None:
    """Whether all instructions have a known code, and wide loads load something.  Raises Rejection."""
    code = checker.code
    known = _known(checker.kernel)
    used: set[int] = set()
    storages: dict[int, int] = {}
    slot = 0
    while slot < len(code):
        instruction = code[slot]
        kind = instruction.code & 7
        if kind == b.BPF_LDX:
            modes = (b.BPF_MEM, b.BPF_MEMSX) if checker.kernel >= (6, 6) else (b.BPF_MEM,)
            if instruction.code & 0xE0 not in modes or instruction.imm:
                raise Rejection("reserved-fields", "BPF_LDX uses reserved fields", slot=slot)
        if instruction.code == WIDE:
            number = _check_wide(checker, instruction, slot)
            if number >= 0:
                map = checker.program.maps[number]
                if number not in used:
                    used.add(number)
                    if len(used) > _MAX_MAPS:
                        message = f"The total number of maps per program has reached the limit of {_MAX_MAPS}"
                        raise Rejection("too-many-maps", message, slot=slot)
                    if map.type in _STORAGE and storages.setdefault(map.type, number) != number:
                        raise Rejection("map-type", "only one cgroup storage of each type is allowed", slot=slot)
                    try:
                        check_program_maps(checker, map)
                    except Rejection as rejection:
                        rejection.slot = slot
                        raise
            slot += 2
            continue
        if instruction.code not in known:
            raise Rejection("invalid-instruction", f"unknown opcode {instruction.code:02x}", slot=slot)
        slot += 1


def _check_wide(checker: Checker, instruction: Instruction, slot: int) -> int:
    """The map that a wide load loads, by its place, or -1.  Raises Rejection."""
    code = checker.code
    second = code[slot + 1] if slot + 1 < len(code) else None
    if second is None or second.code or second.dst or second.src or second.off:
        raise Rejection("invalid-instruction", "invalid bpf_ld_imm64 insn", slot=slot)
    src, place = instruction.src, instruction.imm
    if src in (0, b.BPF_PSEUDO_BTF_ID, b.BPF_PSEUDO_FUNC):
        return -1
    if src in (b.BPF_PSEUDO_MAP_FD, b.BPF_PSEUDO_MAP_VALUE):
        raise Rejection("invalid-map", f"fd {place} is not pointing to valid bpf_map", slot=slot)
    if src not in (b.BPF_PSEUDO_MAP_IDX, b.BPF_PSEUDO_MAP_IDX_VALUE) or (src == b.BPF_PSEUDO_MAP_IDX and second.imm):
        raise Rejection("invalid-instruction", "unrecognized bpf_ld_imm64 insn", slot=slot)
    if not 0 <= place < len(checker.program.maps):
        raise Rejection("invalid-map", f"fd_idx {place} is not pointing to valid bpf_map", slot=slot)
    map = checker.program.maps[place]
    if src == b.BPF_PSEUDO_MAP_IDX_VALUE:
        off = second.imm & 0xFFFFFFFF
        if off >= _MAX_OFFSET:
            raise Rejection("map-out-of-bounds", f"direct value offset of {off} is not allowed", slot=slot)
        if map.type not in _DIRECT:
            raise Rejection("map-type", "no direct value access support for this map type", slot=slot)
        if map.max_entries != 1 or off >= map.value_size:
            raise Rejection(
                "map-out-of-bounds",
                f"invalid access to map value pointer, value_size={map.value_size} off={off}", slot=slot,
            )  # fmt: skip
    return place
