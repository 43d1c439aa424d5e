"""What one verification knows: the program, the options, the states still to visit and those kept.

Functions of the other files take it as first argument; nothing here judges.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.program import Map, Program
    from linscope.bpf.verifier.map_values import Fields
    from linscope.bpf.verifier.state import Frame, Linked, Path, State

MAX_PENDING = 8192  # BPF_COMPLEXITY_LIMIT_JMP_SEQ
MAX_STATES = 64  # BPF_COMPLEXITY_LIMIT_STATES, for programs without CAP_BPF
# bpf_prog_load_fixup_attach_type
_ATTACH_TYPES = {
    b.BPF_PROG_TYPE_CGROUP_SOCK: b.BPF_CGROUP_INET_SOCK_CREATE,
    b.BPF_PROG_TYPE_SK_REUSEPORT: b.BPF_SK_REUSEPORT_SELECT,
}
_MAX_PATH = 512  # decisions that a path remembers
GPL_LICENSES = frozenset(
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
)  # include/linux/license.h


class Checker:
    """One verification of one program."""

    __slots__ = (
        "alu_states",
        "any_alignment",
        "async_functions",
        "attach_type",
        "bypass_speculation",
        "callbacks",
        "capable",
        "code",
        "context",
        "depth_total",
        "entry",
        "explore_limits",
        "explored",
        "field_cache",
        "force_points",
        "functions",
        "gpl",
        "ids",
        "jumps",
        "jumps_at_state",
        "kernel",
        "kernel_btf",
        "leaks_allowed",
        "live",
        "map_keys",
        "may_goto",
        "noted",
        "path_length",
        "pending",
        "previous",
        "processed",
        "processed_at_state",
        "program",
        "prune_points",
        "seen",
        "sleepable",
        "slot",
        "stack_depths",
        "state",
        "strict",
        "tail_call_maps",
        "tail_calls",
        "types",
        "uninit_stack",
        "unproven",
        "used_helpers",
        "values",
    )  # fmt: skip

    def __init__(
        self, program: Program, *, privileged: bool, kernel_btf: Btf | None, kernel: tuple[int, int], strict: bool
    ) -> None:
        """kernel: as of which version rules are applied where versions differ; strict: no unaligned access."""
        self.program = program
        self.code: list[Instruction] = program.instructions
        self.kernel = kernel
        self.kernel_btf = kernel_btf
        self.attach_type = program.attach_type or _ATTACH_TYPES.get(program.type, 0)
        self.gpl = program.license in GPL_LICENSES
        self.sleepable = bool(program.flags & b.BPF_F_SLEEPABLE)
        self.strict = strict
        # privileges: CAP_BPF, and CAP_PERFMON with what it allows
        self.capable = privileged
        self.leaks_allowed = privileged
        self.uninit_stack = privileged
        self.bypass_speculation = privileged
        # of the code
        self.functions: list[int] = [0]  # slots at which they begin, in order
        self.async_functions: set[int] = set()
        self.callbacks: set[int] = set()
        self.tail_calls: set[int] = set()  # functions with one
        self.tail_call_maps: dict[int, Map] = {}  # slot of the call -> its map
        self.prune_points: set[int] = set()
        self.force_points: set[int] = set()
        self.live: list[int] = []
        self.stack_depths: dict[int, int] = {}  # by first slot of the function
        self.depth_total = 0
        # of the walk
        self.state: State = None  # type: ignore[assignment]
        self.slot = 0
        self.previous = -1
        self.entry = 0
        self.pending: list[tuple[State, int, int]] = []  # state, its slot, the slot before it
        self.explored: dict[tuple[int, int], list[Kept]] = {}
        self.processed = 0
        self.jumps = 0
        self.jumps_at_state = 0
        self.processed_at_state = 0
        self.path_length = 0
        self.noted = 0
        self.ids = 0
        self.seen: set[int] = set()
        self.types: dict[int, int] = {}  # slot -> type of the pointer that it used
        self.unproven: set[int] = set()  # slots whose access is checked when they run
        self.used_helpers: set[int] = set()
        self.values: dict[int, int] = {}
        self.map_keys: dict[int, int] = {}
        self.alu_states: dict[int, tuple[int, int]] = {}
        self.explore_limits = False
        self.context: object = None
        self.field_cache: dict[int, Fields] = {}  # type of a value in BTF -> its special fields

    def new_id(self) -> int:
        """An id that no other value has."""
        self.ids += 1
        return self.ids

    # -- registers of the current frame

    def read(self, number: int) -> Register:
        """A register that must have a value.  Raises Rejection."""
        if number > 10:
            raise Rejection("invalid-register", f"R{number} is invalid", number)
        register = self.state.frames[-1].registers[number]
        if register.type == r.NOT_INIT:
            raise Rejection("uninitialized-register", f"R{number} !read_ok", number)
        return register

    def check_writable(self, number: int) -> None:
        """Raises Rejection for the frame pointer and what is no register."""
        if number >= 10:
            if number > 10:
                raise Rejection("invalid-register", f"R{number} is invalid", number)
            raise Rejection("frame-pointer-write", "frame pointer is read only", number)

    def is_pointer(self, register: Register) -> bool:
        """Whether a value may not be shown to unprivileged users."""
        return not self.leaks_allowed and register.type not in (r.SCALAR, r.NOT_INIT)

    def frame_of(self, register: Register) -> Frame:
        """The frame that a stack pointer points into."""
        return self.state.frames[register.info]  # type: ignore[call-overload,no-any-return]

    def function_of(self, slot: int) -> int:
        """First slot of the function that a slot is in."""
        found = 0
        for start in self.functions:
            if start > slot:
                break
            found = start
        return found

    # -- paths

    def push(self, slot: int, previous: int, *, speculative: bool = False) -> State:
        """Put a copy of the current state aside, to go on at a slot later.  Raises Rejection: too many."""
        new = self.state.copy()
        new.speculative |= speculative
        if new.parent is not None:
            new.parent.branches += 1
        self.pending.append((new, slot, previous))
        if len(self.pending) > MAX_PENDING:
            raise Rejection("too-complex", f"The sequence of {len(self.pending)} jumps is too complex.", slot=self.slot)
        return new

    def note(self, state: State, taken: bool, first: Register, second: Register | None) -> None:
        """Note a decision in the path of a state; only the latest are kept."""
        state.path = (state.path, self.slot, taken, first, second)
        self.path_length += 1
        if self.path_length % _MAX_PATH == 0:
            state.path = shorten(state)

    def remember(self, what: int | Linked) -> None:
        """Note in the history which stack slot the current instruction uses, or what it compared.

        Precision finds its way back by it.
        """
        state = self.state
        history = state.history
        if history is not None and history[1] == self.slot and self.noted == self.processed:
            state.history = (history[0], self.slot, history[2], what)
        else:
            state.history = (history, self.slot, self.previous, what)
            state.notes += 1
            self.noted = self.processed

    def map_of(self, register: Register) -> Map:
        """The map of a map pointer, a map value or key."""
        return register.info  # type: ignore[return-value]


def shorten(state: State) -> Path:
    """The path of a state, cut to the latest decisions."""
    kept: list[tuple[Path, int, bool, Register, Register | None]] = []
    node = state.path
    while node is not None and len(kept) < _MAX_PATH // 2:
        kept.append(node)
        node = node[0]
    path: Path = None
    for _, slot, taken, first, second in reversed(kept):
        path = (path, slot, taken, first, second)
    return path


class Kept:
    """A state kept at an instruction, and how often it helped."""

    __slots__ = ("hits", "misses", "state")

    def __init__(self, state: State) -> None:
        """state: of which others may be found to be a part."""
        self.state = state
        self.hits = 0
        self.misses = 0
