"""Samples -> folded rows: each distinct stack once, as text, with its weight.

The modes, the names and the order of the rows are those of FlameGraph's stackcollapse-perf: tests hold them to its
output for 13 recordings.  Known differences, all on purpose: "a->b" is taken as inlining only in JIT code (operator->
is a name), an object that was deleted is called as before, a JIT's object may also be a jitted-PID-N.so, and BPF
programs count as kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linscope.analysis.call_tree import CallTree, build_call_tree
from linscope.analysis.frames import UNKNOWN, Labels, Place, ResolvedFrames
from linscope.binfmt.perf_records import KIND_EXACT
from linscope.columns.profile import Profile
from linscope.columns.trees import intern_pairs
from linscope.formats.folded import FOLDED_MARK, SUFFIXES, frame_text

_KERNEL_KINDS = ("kernel", "module", "bpf", "vdso")  # stackcollapse counts "[vdso]" to the kernel
_OFFSET = re.compile(r"\+0x[0-9a-f]+$")
_ARGUMENTS = re.compile(r"\((?!anonymous namespace\)).*", re.S)
_GO_METHOD = re.compile(r"\.\(.*\)\.")  # net/http.(*Client).Do: these parentheses are part of the name
_DELETED = " (deleted)"
_NO_NUMBER = 0xFFFFFFFF
_JAVA = "java"  # of this command, and only when it stands alone: class names lose the L in front


@dataclass(frozen=True)
class CollapseOptions:
    """What the rows show; the words are stackcollapse-perf's."""

    addrs: bool = False  # addresses of frames without a symbol
    jit: bool = False  # _[j] behind functions of JITs
    kernel: bool = False  # _[k] behind functions of the kernel
    pid: bool = False  # the process behind the command: "java-12"
    tid: bool = False  # process and thread behind the command: "java-12/13"
    inline: bool = False  # inlined functions as frames of their own, by DWARF, with _[i] behind them


ALL = CollapseOptions(jit=True, kernel=True)  # --all


def collapse(
    profile: Profile,
    resolved: ResolvedFrames,
    rows: NDArray[np.bool_],
    weight: NDArray[np.uint64],
    options: CollapseOptions | None = None,
) -> Iterator[tuple[str, int]]:
    """(frames from the command on, joined by ";", sum of the weights) of each distinct stack, sorted by its bytes.

    rows: True for the samples to count; weight: of every sample.
    """
    options = options or CollapseOptions()
    group, names = _tasks(profile, rows, options)
    plain_java = [number for number, name in enumerate(names) if name == _JAVA]
    final = FOLDED_MARK in profile.features
    if not plain_java or final:
        yield from _sorted_rows(profile, resolved, rows, weight, (group, names), options, java=False)
        return
    of_java = np.isin(group, np.array(plain_java, np.uint32))
    java = _sorted_rows(profile, resolved, rows & of_java, weight, (group, names), options, java=True)
    others = _sorted_rows(profile, resolved, rows & ~of_java, weight, (group, names), options, java=False)
    yield from _merged(java, others)


def _merged(a: Iterator[tuple[str, int]], b: Iterator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    import heapq

    yield from heapq.merge(a, b, key=lambda row: row[0].encode("utf-8", "replace"))


def _tasks(
    profile: Profile, rows: NDArray[np.bool_], options: CollapseOptions
) -> tuple[NDArray[np.uint32], list[str]]:
    """(number of each sample's task, names of the tasks): no two tasks have one name."""
    samples = profile.samples
    final = FOLDED_MARK in profile.features
    if options.tid:
        pair, comm_and_pid, tid = intern_pairs(
            samples.comm.astype(np.uint64) << np.uint64(32) | samples.pid, samples.tid
        )
        comms, pids = (comm_and_pid >> np.uint64(32)).tolist(), (comm_and_pid & np.uint64(_NO_NUMBER)).tolist()
        ends = [f"-{_number(p)}/{_number(t)}" for p, t in zip(pids, tid.tolist(), strict=True)]
    elif options.pid:
        pair, comm, pid = intern_pairs(samples.comm, samples.pid)
        comms, ends = comm.tolist(), [f"-{_number(p)}" for p in pid.tolist()]
    else:
        pair, comms, ends = samples.comm, list(range(len(profile.comms))), [""] * len(profile.comms)
    numbers: dict[str, int] = {}
    of_pair = []
    for comm_number, end in zip(comms, ends, strict=True):
        name = frame_text(profile.comms[comm_number])
        if not final:
            name = (name + end).replace(" ", "_")
        of_pair.append(numbers.setdefault(name, len(numbers)))
    return np.array(of_pair, np.uint32)[pair], list(numbers)


def _number(value: int) -> str:
    """A pid or tid; "?" where the recording tells none."""
    return "?" if value == _NO_NUMBER else str(value)


class _Texts:
    """What each frame is called in the rows, in numbers: frames of one text have one."""

    def __init__(self, profile: Profile, resolved: ResolvedFrames, options: CollapseOptions, *, java: bool) -> None:
        self.profile = profile
        self.resolved = resolved
        self.options = options
        self.java = java
        self.final = FOLDED_MARK in profile.features
        self.numbers: dict[str, int] = {}

    def labels(self, used: NDArray[np.bool_]) -> Labels:
        """The frames grouped by text; only those used have one."""
        resolved = self.resolved
        count = len(resolved.place)
        one_each = self.profile.named is not None
        symbols = resolved.symbol_labels()
        of_frame = np.zeros(count, np.uint32)
        if one_each:
            for frame in np.flatnonzero(used).tolist():
                of_frame[frame] = self._intern(self._named_text(frame))
        else:
            wanted = np.zeros(len(symbols), np.bool_)
            wanted[symbols.of_frame[used]] = True
            of_label = np.zeros(len(symbols), np.uint32)
            for label in np.flatnonzero(wanted).tolist():
                of_label[label] = self._intern(self._text(int(symbols.first[label])))
            of_frame = of_label[symbols.of_frame]
            if self.options.addrs:
                for frame in np.flatnonzero(used & (resolved.symbol < 0)).tolist():
                    of_frame[frame] = self._intern(self._text(frame))
        first = np.zeros(max(1, len(self.numbers)), np.int64)
        rows = np.flatnonzero(used)
        first[of_frame[rows]] = rows
        return Labels(resolved, of_frame, first)

    def _intern(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))

    def _text(self, frame: int) -> str:
        place = self.resolved.places[int(self.resolved.place[frame])]
        known = self.resolved.symbol[frame] >= 0
        name = self.resolved.name(frame) if known else UNKNOWN
        return self._finish(name, place.path, place.key.kind, frame if not known else None, place)

    def _named_text(self, frame: int) -> str:
        """The name is the file's own, not demangled."""
        named = self.profile.named
        assert named is not None
        name, path, kind = named.symbols[frame], named.objects[frame], named.kinds[frame]
        if self.final:
            return frame_text(name) + self._suffix(path, kind)
        if self.profile.frames.address[frame]:
            name = _OFFSET.sub("", name)
        return self._finish(name or " ", path, kind, frame if name == UNKNOWN else None, None)

    def _finish(self, name: str, path: str, kind: str, unknown: int | None, place: Place | None) -> str:
        """unknown: number of a frame without a symbol."""
        if unknown is not None:
            found = path.removesuffix(_DELETED).rsplit("/", 1)[-1] if path not in ("", UNKNOWN) else "unknown"
            name = found.strip("[]")
            name = f"[{name} <{self._address(unknown, place):x}>]" if self.options.addrs else f"[{name}]"
            return frame_text(name) + self._suffix(path, kind)
        if kind == "jit" and "->" in name:
            pieces = [self.tidy(piece) for piece in name.split("->")]
            inlined = [f"{p}{'' if p.endswith(SUFFIXES['inlined']) else SUFFIXES['inlined']}" for p in pieces[1:] if p]
            return ";".join([pieces[0] + self._suffix(path, kind), *inlined])
        return self.tidy(name) + self._suffix(path, kind)

    def tidy(self, name: str) -> str:
        """A name without its arguments, without what separates frames, without quotes."""
        name = frame_text(name)
        if "(" in name and not _GO_METHOD.search(name):
            name = _ARGUMENTS.sub("", name)
        name = name.replace('"', "").replace("'", "")
        if self.java and name.startswith("L") and "/" in name:
            name = name[1:]
        return name

    def _suffix(self, path: str, kind: str) -> str:
        options = self.options
        if kind == "jit":
            return SUFFIXES["jit"] if options.jit else ""
        if kind in _KERNEL_KINDS or path.startswith("[vdso"):
            return SUFFIXES["kernel"] if options.kernel else ""
        if kind == "inlined":
            return SUFFIXES["inlined"] if options.inline or (options.jit and options.kernel) else ""
        return ""

    def _address(self, frame: int, place: Place | None) -> int:
        """The address that perf script prints: of a file, the offset in it."""
        frames = self.profile.frames
        if place is None or place.key.kind not in ("user", "vdso"):
            return int(frames.address[frame])
        return int(self.resolved.address[frame]) + (0 if frames.kind[frame] & KIND_EXACT else 1)


def _sorted_rows(
    profile: Profile,
    resolved: ResolvedFrames,
    rows: NDArray[np.bool_],
    weight: NDArray[np.uint64],
    tasks: tuple[NDArray[np.uint32], list[str]],
    options: CollapseOptions,
    *,
    java: bool,
) -> Iterator[tuple[str, int]]:
    """Fold, then make text once a distinct stack."""
    if not rows.any():
        return
    group, names = tasks
    texts = _Texts(profile, resolved, options, java=java)
    used = np.zeros(len(resolved.place) + 1, np.bool_)
    used[np.minimum(profile.stacks.frame, len(resolved.place))] = True
    labels = texts.labels(used[:-1])
    tree, node = build_call_tree(profile, labels, rows, group, weight, inlines=options.inline)
    shown = list(texts.numbers)
    shown += [texts.tidy(name) + SUFFIXES["inlined"] for name in tree.inlined]
    sampled = np.zeros(len(tree.tree.parent), np.bool_)
    sampled[node] = True
    walked = _walk(tree, sampled, shown, names)
    if len(set(shown)) == len(shown) and not any(";" in text for text in shown):
        yield from walked
        return
    # Frames that stand for several, or two frames of one text: equal rows may lie apart.
    sums: dict[str, int] = {}
    for text, total in walked:
        sums[text] = sums.get(text, 0) + total
    yield from sorted(sums.items(), key=lambda row: row[0].encode("utf-8", "replace"))


def _walk(
    tree: CallTree, sampled: NDArray[np.bool_], shown: list[str], names: list[str]
) -> Iterator[tuple[str, int]]:
    """The rows in the order of their bytes, one path at a time in memory.

    A node gives two entries among its siblings: its own row, sorted as "name", and what is below it, as "name;".
    """
    parent, is_group = tree.tree.parent, tree.tree.is_group
    label = np.where(is_group, tree.tree.label, tree.tree.label + np.uint32(len(names))).astype(np.int64)
    texts = names + shown
    order = sorted(
        [(text.encode("utf-8", "replace"), number) for number, text in enumerate(texts)]
        + [(text.encode("utf-8", "replace") + b";", number + len(texts)) for number, text in enumerate(texts)]
    )
    rank = np.empty(2 * len(texts), np.int64)
    rank[[number for _, number in order]] = np.arange(len(order))
    count = len(parent)
    leaf = np.flatnonzero(sampled & (np.arange(count) > 0))
    inner = np.unique(parent[1:])
    inner = inner[inner > 0].astype(np.int64)
    node = np.concatenate([leaf, inner])
    entry_parent = parent[node].astype(np.int64)
    by = np.lexsort((np.concatenate([rank[label[leaf]], rank[label[inner] + len(texts)]]), entry_parent))
    is_leaf = np.concatenate([np.ones(len(leaf), np.bool_), np.zeros(len(inner), np.bool_)])[by].tolist()
    bounds = np.searchsorted(entry_parent[by], np.arange(count + 1)).tolist()
    node_of = node[by].tolist()
    text_of = label[node][by].tolist()
    own = memoryview(tree.self_weight.data)
    begin, end, path = bounds[0], bounds[1], ""
    waiting: list[tuple[int, int, str]] = []
    while True:
        while begin == end:
            if not waiting:
                return
            begin, end, path = waiting.pop()
        at = node_of[begin]
        text = path + texts[text_of[begin]]
        if is_leaf[begin]:
            begin += 1
            yield text, own[at]
            continue
        if begin + 1 < end:
            waiting.append((begin + 1, end, path))
        begin, end, path = bounds[at], bounds[at + 1], text + ";"
