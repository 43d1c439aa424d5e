"""What -l prints: the probes that match a pattern, or those of a script, with their arguments; types of the kernel.

Source of the forms: bpftrace 0.26, docs/man/adoc/bpftrace.adoc, "Listing"; what bpftrace -l prints.
"""

from __future__ import annotations

from linscope.errors import FormatError, SourceError
from linscope.lang.probes import kernel_names as kernel
from linscope.lang.probes.attach_points import AttachPoint, parse_attach_point
from linscope.lang.probes.expansion import expand
from linscope.lang.probes.kinds import UNITS, event_names
from linscope.lang.probes.wildcards import filter_names, has_wildcard, matches

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from linscope.binfmt.btf import Btf

_TAGS = ("struct", "union", "enum")
_INDENT = "    "


def list_probes(pattern: str = "", *, verbose: bool = False, pid: int | None = None) -> Iterator[str]:
    """The lines of -l: probes, or types ("struct task_struct"), of one or several patterns with commas between.

    pattern "": all kinds of the kernel.  verbose: with their arguments, or members.  pid: probes in that process.
    Raises SourceError: the pattern cannot be one.
    """
    lister = _Lister(verbose, pid)
    for one in split_patterns(pattern) or ["*:*"]:
        if one.partition(" ")[0] in _TAGS:
            yield from lister.types(one)
        else:
            colon = one if ":" in one else f"{one}:*"  # a pattern of kinds: all of theirs
            yield from lister.point(parse_attach_point(colon, pid=pid))


def list_points(points: Iterable[AttachPoint], *, verbose: bool = False, pid: int | None = None) -> Iterator[str]:
    """The lines of -l with a script: the probes of its attach points."""
    lister = _Lister(verbose, pid)
    for point in points:
        yield from lister.point(point)


def split_patterns(text: str) -> list[str]:
    """The patterns between commas that are not in quotes or brackets.

    >>> split_patterns('kprobe:a,uprobe:x:cpp:"f(int, int)"')
    ['kprobe:a', 'uprobe:x:cpp:"f(int, int)"']
    """
    found, start, quoted, depth = [], 0, False, 0
    for at, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter in "([" and not quoted:
            depth += 1
        elif letter in ")]" and not quoted:
            depth -= 1
        elif letter == "," and not quoted and depth <= 0:
            found.append(text[start:at])
            start = at + 1
    return [one for one in (part.strip() for part in [*found, text[start:]]) if one]


class _Lister:
    """One listing; BTF is opened once."""

    def __init__(self, verbose: bool, pid: int | None) -> None:
        self.verbose = verbose
        self.pid = pid
        self._btf: dict[str, Btf] | None = None

    @property
    def btf(self) -> dict[str, Btf]:
        """The BTF of the kernel and of its modules, by name."""
        if self._btf is None:
            self._btf = dict(kernel.iter_btf())
        return self._btf

    def point(self, point: AttachPoint) -> Iterator[str]:
        """The probes of an attach point."""
        for one in point.alternatives or (point,):
            for name in self._names(one):
                yield name
                if self.verbose:
                    yield from (_INDENT + line for line in self._arguments(one, name))

    def _names(self, point: AttachPoint) -> Iterator[str]:
        kind = point.kind
        if kind in ("hardware", "software"):
            yield from (f"{kind}:{name}:" for name in filter_names(point.target, event_names(kind)))
        elif kind in ("interval", "profile"):
            yield from (f"{kind}:{unit}:" for unit in filter_names(point.target, sorted(UNITS)))
        elif kind == "iter":
            yield from (f"iter:{name}" for name in filter_names(point.function, kernel.all_iterators()))
        elif kind in ("uprobe", "uretprobe", "usdt") or has_wildcard(point.target + point.function):
            yield from dict.fromkeys(self._expanded(point))
        elif kind in ("kprobe", "kretprobe", "fentry", "fexit") and point.target != "bpf":
            yield from self._functions(point)
        else:
            yield from self._expanded(point)

    def _functions(self, point: AttachPoint) -> Iterator[str]:
        """A function that is named: listed when it is there."""
        match = kernel.match_functions if "kprobe" in point.kind or "kret" in point.kind else kernel.match_btf_functions
        for module, name in match(point.target, point.function):
            shown = module if point.target or point.kind in ("fentry", "fexit") else ""
            yield point.with_(target=shown, function=name).name

    def _expanded(self, point: AttachPoint) -> list[str]:
        try:
            names = [probe.name for probe in expand(point, pid=self.pid)]
        except SourceError:
            return []  # a listing of nothing
        return [_demangled(name) for name in names] if point.language == "cpp" else names

    # -- arguments

    def _arguments(self, point: AttachPoint, name: str) -> Iterator[str]:
        parts = name.split(":")
        kind = point.kind
        if kind == "tracepoint":
            yield from tracepoint_fields(*parts[1:])
        elif kind in ("kprobe", "kretprobe", "fentry", "fexit"):
            yield from self._of_function(parts[-1], parts[1] if len(parts) > 2 else "", kind)
        elif kind == "rawtracepoint":
            yield from self._of_raw_tracepoint(parts[1], parts[2])
        elif kind == "iter":
            yield from list(self._of_function(f"bpf_iter_{parts[1]}", "", "kprobe"))[1:]  # the first: struct meta
        elif kind in ("uprobe", "uretprobe"):
            yield from self._of_program(point, name)

    def _of_program(self, point: AttachPoint, name: str) -> Iterator[str]:
        from linscope.lang.definitions.user_arguments import describe_arguments

        path, _, function = name.partition(":")[2].rpartition(":")
        yield from describe_arguments(path, function, result=point.kind == "uretprobe")

    def _find(self, module: str, name: str, kind: int) -> tuple[Btf, int] | None:
        for owner, btf in self.btf.items():
            found = btf.find_one(name, (kind,)) if not module or owner == module else 0
            if found:
                return btf, found
        return None

    def _of_function(self, name: str, module: str, kind: str) -> Iterator[str]:
        """``struct file * file``; of fentry and fexit the result, too; of a kretprobe only that."""
        from linscope.binfmt import btf_types as bt

        place = self._find(module, name, bt.KIND_FUNC)
        if place is None:
            return
        btf, type_id = place
        function = btf.type(type_id)
        proto = btf.type(function.proto) if isinstance(function, bt.Func) else None
        if not isinstance(proto, bt.FuncProto):
            return
        if kind != "kretprobe":
            yield from _declared(btf, [(one.type, one.name) for one in proto.parameters])
        if kind != "kprobe" and proto.returns:
            yield from _declared(btf, [(proto.returns, "retval")])

    def _of_raw_tracepoint(self, module: str, event: str) -> Iterator[str]:
        from linscope.binfmt import btf_types as bt

        for prefix in ("__bpf_trace_", "__traceiter_", "__probestub_"):  # these have the arguments' names
            place = self._find(module, prefix + event, bt.KIND_FUNC)
            if place is not None:
                function = place[0].type(place[1])
                assert isinstance(function, bt.Func)
                yield from self._parameters(place[0], function.proto)
                return
        place = self._find(module, f"btf_trace_{event}", bt.KIND_TYPEDEF)
        if place is not None:
            pointer = place[0].type(place[0].resolve(place[1]))
            if isinstance(pointer, bt.Pointer):
                yield from self._parameters(place[0], pointer.target)

    def _parameters(self, btf: Btf, proto_id: int) -> Iterator[str]:
        """All but the first, which is the tracing program's own."""
        from linscope.binfmt import btf_types as bt

        proto = btf.type(proto_id)
        if isinstance(proto, bt.FuncProto):
            named = enumerate(proto.parameters[1:])
            yield from _declared(btf, [(one.type, one.name or f"arg{place}") for place, one in named])

    # -- types

    def types(self, pattern: str) -> Iterator[str]:
        """``vmlinux: struct file``; verbose: with the members."""
        from linscope.binfmt import btf_types as bt
        from linscope.binfmt.btf_c import definition

        tag, _, wanted = pattern.partition(" ")
        wanted = wanted.strip() or "*"
        kinds = {"struct": (bt.KIND_STRUCT,), "union": (bt.KIND_UNION,), "enum": (bt.KIND_ENUM, bt.KIND_ENUM64)}[tag]
        for module, btf in self.btf.items():
            found: dict[str, int] = {}
            if has_wildcard(wanted):
                for kind in kinds:
                    for type_id in btf.iter_ids(kind):
                        if module == kernel.VMLINUX or type_id >= btf.first_id:
                            name = btf.name(type_id)
                            if name and matches(wanted, name):
                                found.setdefault(name, type_id)
            else:
                ids = [one for one in btf.find(wanted, kinds) if module == kernel.VMLINUX or one >= btf.first_id]
                found = dict.fromkeys([wanted], ids[0]) if ids else {}
            for name in sorted(found):
                if not self.verbose:
                    yield f"{module}: {tag} {name}"
                else:
                    yield f"{module}: {definition(btf, found[name])}\n"


def _declared(btf: Btf, pairs: Iterable[tuple[int, str]]) -> Iterator[str]:
    from linscope.binfmt.btf_c import declaration

    for type_id, name in pairs:
        try:
            yield f"{declaration(btf, type_id) or 'void'} {name}"
        except FormatError:
            yield f"? {name}"


def _demangled(name: str) -> str:
    """The name of a C++ function in the form in which it can be attached to."""
    from linscope.symbols.demangle import demangle

    head, _, symbol = name.rpartition(":")
    plain = demangle(symbol, parameters=True)
    return f'{head}:"{plain}"' if plain != symbol else name


def tracepoint_fields(system: str, event: str) -> Iterator[str]:
    """The fields of a tracepoint as its format declares them, without those that all have."""
    from linscope.lang.definitions.tracepoints import read_format

    text = read_format(system, event) or ""
    for line in text.partition("\n\n")[2].splitlines():
        if line.startswith("\tfield:"):
            yield line[len("\tfield:") :].partition(";")[0]
