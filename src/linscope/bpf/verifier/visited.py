"""Has the program been here before: states are kept at some instructions, and a state that is a part of one ends there.

Source: kernel/bpf/verifier.c, is_state_visited, states_equal, regsafe, stacksafe.
"""

from __future__ import annotations

from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import state as st
from linscope.bpf.verifier.checker import MAX_STATES, Kept
from linscope.bpf.verifier.precision import propagate
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.verifier.checker import Checker
    from linscope.bpf.verifier.registers import Register
    from linscope.bpf.verifier.state import Frame, Slot, State

_MAX_NOTES = 40  # of the history between two kept states, as since v6.10
SAFE, EXACT, WITHIN = range(3)  # how states are compared: was safe before; is the same; its numbers are part of the old
_RANGED = frozenset((r.MAP_VALUE, r.MAP_KEY, r.MEM, r.BUF, r.TP_BUFFER))


class _Identities:
    """Which id of the old state stands for which of the new one."""

    __slots__ = ("fresh", "new", "old")

    def __init__(self, fresh: int) -> None:
        self.old: dict[int, int] = {}
        self.new: dict[int, int] = {}
        self.fresh = fresh

    def agree(self, old: int, new: int) -> bool:
        """Whether two ids can mean the same."""
        if not old or not new:
            return old == new
        if self.old.setdefault(old, new) != new:
            return False
        return self.new.setdefault(new, old) == old

    def agree_numbers(self, old: int, new: int) -> bool:
        """The same of numbers: those that were linked must be, others may."""
        if not old:
            return True
        if not new:
            self.fresh += 1
            new = -self.fresh
        return self.agree(old, new)


def is_visited(checker: Checker, slot: int) -> bool:
    """Whether the current state was seen to be safe at this instruction; keeps it otherwise, now and then.

    Raises Rejection for a loop that changes nothing.
    """
    state = checker.state
    force = slot in checker.force_points
    long = state.notes > _MAX_NOTES
    add = (
        force
        or long
        or (checker.jumps - checker.jumps_at_state >= 2 and checker.processed - checker.processed_at_state >= 8)
    )
    key = (slot, state.frames[-1].callsite)
    kept = checker.explored.get(key)
    if kept:
        index = 0
        while index < len(kept):
            one = kept[index]
            old = one.state
            if old.branches:
                same_async = old.frames[-1].async_depth == state.frames[-1].async_depth
                if same_async and _is_loop(checker, old, state, slot, force):
                    _keep_all(state)
                    one.hits += 1
                    return True
                jumps = checker.jumps - checker.jumps_at_state
                if not force and not long and jumps < 20 and checker.processed - checker.processed_at_state < 100:
                    add = False
            elif equal(checker, old, state, SAFE):
                one.hits += 1
                _propagate_reads(old, state)
                propagate(checker, old)
                return True
            if add:
                one.misses += 1
                allowed = 64 if force and old.branches else 3
                if one.misses > one.hits * allowed + allowed:
                    del kept[index]
                    continue
            index += 1
    if not checker.capable and kept and len(kept) > MAX_STATES:
        return False
    if add:
        _keep(checker, key, slot)
    return False


def _keep(checker: Checker, key: tuple[int, int], slot: int) -> None:
    state = checker.state
    checker.jumps_at_state = checker.jumps
    checker.processed_at_state = checker.processed
    new = state.copy()
    new.slot = slot
    new.branches = 1
    new.last = checker.previous
    new.path = None
    checker.explored.setdefault(key, []).append(Kept(new))
    state.parent = new
    state.first = slot
    state.history = None
    state.notes = 0
    state.marked = None
    for frame in state.frames:
        frame.written = 0


def _is_loop(checker: Checker, old: State, state: State, slot: int, force: bool) -> bool:
    """Whether the walk came back to a state that it is still in: fine for callbacks and may_goto, else refused.

    Raises Rejection.
    """
    if force:
        if old.may_goto == state.may_goto and old.callback_depth == state.callback_depth:
            return False
        return equal(checker, old, state, WITHIN)
    if old.frames[-1].registers == state.frames[-1].registers or _maybe_same(old, state):
        if old.may_goto != state.may_goto or old.callback_depth != state.callback_depth:
            return False
        if equal(checker, old, state, EXACT):
            raise Rejection("infinite-loop", f"infinite loop detected at insn {slot}", slot=slot)
    return False


def _maybe_same(old: State, state: State) -> bool:
    for a, c in zip(old.frames[-1].registers, state.frames[-1].registers, strict=True):
        if a is not c and (a.type != c.type or a.bounds != c.bounds or a.off != c.off):
            return False
    return True


def _keep_all(state: State) -> None:
    """What a loop still reads is not known yet: all of it counts as read and precise."""
    node = state.parent
    while node is not None:
        if all(frame.reads == frame.precise_stack == (1 << 64) - 1 for frame in node.frames):
            return  # and so are those before it
        for frame in node.frames:
            frame.reads = (1 << 64) - 1
            frame.precise = (1 << 11) - 1
            frame.precise_stack = (1 << 64) - 1
        node = node.parent


def _propagate_reads(old: State, state: State) -> None:
    for number, frame in enumerate(old.frames):
        if frame.reads:
            state.read_stack(number, frame.reads)


# -- comparing


def equal(checker: Checker, old: State, new: State, mode: int) -> bool:
    """Whether new is old, or a part of it that need not be looked at again."""
    if len(old.frames) != len(new.frames) or (old.speculative and not new.speculative):
        return False
    if old.rcu != new.rcu or old.preempt != new.preempt or len(old.references) != len(new.references):
        return False
    ids = _Identities(checker.ids)
    if old.lock != new.lock:
        if old.lock is None or new.lock is None or old.lock[0] is not new.lock[0]:
            return False
        if not ids.agree(old.lock[1], new.lock[1]):
            return False
    for (a, _), (c, _) in zip(old.references, new.references, strict=True):
        if not ids.agree(a, c):
            return False
    last = len(old.frames) - 1
    for number, (frame, mine) in enumerate(zip(old.frames, new.frames, strict=True)):
        if frame.callsite != mine.callsite or frame.callback != mine.callback or frame.called_back > mine.called_back:
            return False
        at = old.slot if number == last else old.frames[number + 1].callsite
        if not _frames_equal(checker, frame, mine, checker.live[at], ids, mode):
            return False
    return True


def _frames_equal(checker: Checker, old: Frame, new: Frame, live: int, ids: _Identities, mode: int) -> bool:
    precise = old.precise if checker.capable and mode == SAFE else -1
    ours, theirs = new.registers, old.registers
    for number in range(10):
        if not live >> number & 1:
            continue
        a, c = theirs[number], ours[number]
        if a is c and not a.id and not a.ref:
            continue
        if not _fits(checker, a, c, ids, bool(precise >> number & 1), mode):
            return False
    return _stacks_equal(checker, old, new, ids, mode)


def _fits(checker: Checker, old: Register, new: Register, ids: _Identities, precise: bool, mode: int) -> bool:
    """Whether what was safe with the old value is safe with the new one."""
    kind = old.type
    if kind == r.NOT_INIT and mode != EXACT:
        return True
    if kind != new.type:
        return False
    if mode == EXACT:
        return (
            old.bounds == new.bounds and old.off == new.off and old.range == new.range and old.info == new.info
            and ids.agree_numbers(old.id, new.id) and ids.agree(old.ref, new.ref)
        )  # fmt: skip
    if kind == r.SCALAR:
        if checker.explore_limits:
            return old.bounds == new.bounds and ids.agree_numbers(old.id, new.id)
        if not precise and mode == SAFE:
            return True
        return ids.agree_numbers(old.id, new.id) and (old.bounds == new.bounds or bd.is_within(old.bounds, new.bounds))
    base = kind & r.BASE
    if base in r.PACKETS:
        if (old.range < 0) != (new.range < 0) or old.range > new.range or old.off != new.off:
            return False
        if not ids.agree(old.id, new.id):
            return False
        return old.bounds == new.bounds or bd.is_within(old.bounds, new.bounds)
    if old.off != new.off or old.info != new.info or old.uid != new.uid:
        return False
    if not ids.agree(old.id, new.id) or not ids.agree(old.ref, new.ref):
        return False
    if old.bounds == new.bounds:
        return True
    return base in _RANGED and bd.is_within(old.bounds, new.bounds)


def _stacks_equal(checker: Checker, old: Frame, new: Frame, ids: _Identities, mode: int) -> bool:
    reads = old.reads if mode == SAFE else -1
    precise = old.precise_stack if checker.capable and mode == SAFE else -1
    mine = new.stack
    for place, slot in old.stack.items():
        if not reads >> place & 1:
            continue
        other = mine.get(place, st.EMPTY)
        if other is slot and (slot.register is None or not (slot.register.id or slot.register.ref)):
            continue
        if not _slots_equal(checker, slot, other, ids, bool(precise >> place & 1), mode):
            return False
    if mode == EXACT:
        return all(place in old.stack or slot is st.EMPTY for place, slot in mine.items())
    return True


def _slots_equal(checker: Checker, old: Slot, new: Slot, ids: _Identities, precise: bool, mode: int) -> bool:
    if mode == EXACT and old.kinds != new.kinds:
        return False
    mine = old.register
    if old.kinds[0] == st.SPILL and mine is not None:
        other = new.register
        if new.kinds == old.kinds and other is not None:
            return _fits(checker, mine, other, ids, precise, mode)
        # a number that decides nothing may as well be any bytes
        if mine.type != r.SCALAR or (precise and mine.bounds != bd.UNKNOWN) or mode != SAFE:
            return False
        return _is_data(checker, old, new)
    if st.DYNAMIC in old.kinds:
        other = new.register
        if new.kinds != old.kinds or other is None or mine is None:
            return False
        return other.type == mine.type and other.off == mine.off and ids.agree(mine.ref, other.ref)
    return _is_data(checker, old, new)


def _is_data(checker: Checker, old: Slot, new: Slot) -> bool:
    """Byte by byte: zeros stay zeros, data may be zeros or numbers, what was not set may be anything."""
    spill = new.register
    number = spill is not None and spill.type == r.SCALAR
    anything = checker.uninit_stack and checker.kernel >= (6, 3) and st.DYNAMIC not in new.kinds
    for a, c in zip(old.kinds, new.kinds, strict=True):
        if a == c and a != st.SPILL:
            continue
        if a == st.INVALID or (a == st.MISC and anything):
            continue
        if a == st.SPILL and checker.uninit_stack and c == st.INVALID:
            continue
        if a == st.NULL:
            if c == st.SPILL and spill is not None and r.is_null(spill):
                continue
            return False
        if c in (st.MISC, st.NULL) or (c == st.SPILL and number):
            continue
        return False
    return True


# -- loops without a known end


def widen(checker: Checker, slot: int) -> None:
    """At an instruction that the walk comes back to: numbers that changed since, and decide nothing, are unknown."""
    state = checker.state
    node = state.parent
    if node is not None and node.slot == slot and state.first == slot:
        node = node.parent
    calls = [frame.callsite for frame in state.frames]
    while node is not None:
        if node.slot == slot and [frame.callsite for frame in node.frames] == calls:
            break
        node = node.parent
    if node is None:
        return
    for old, mine in zip(node.frames, state.frames, strict=True):
        for number in range(10):
            a, c = old.registers[number], mine.registers[number]
            if a is c or old.precise >> number & 1 or a.type != r.SCALAR or c.type != r.SCALAR:
                continue
            if a.bounds != c.bounds:
                mine.registers[number] = r.UNKNOWN
        for place, slot_now in mine.stack.items():
            before = old.stack.get(place)
            if before is None or before is slot_now or old.precise_stack >> place & 1:
                continue
            a_spill, c_spill = before.register, slot_now.register
            if a_spill is None or c_spill is None or before.kinds != slot_now.kinds:
                continue
            if a_spill.type == c_spill.type == r.SCALAR and a_spill.bounds != c_spill.bounds and slot_now.is_spill:
                mine.stack[place] = st.Slot(slot_now.kinds, r.UNKNOWN)
