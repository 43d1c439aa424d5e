"""What a person writes -> ProbeDefinition.

    p tcp_sendmsg sk->__sk_common.skc_dport size          the entry of a function, fields by their names in C
    r:net/sent tcp_sendmsg ret=$retval                    its return
    p nf_nat:nf_nat_setup_info+4 %ax                      an instruction in a module
    p /bin/bash:readline   r /bin/bash:readline +0($retval):string
    u /usr/lib/libc.so.6:libc:setjmp                      a USDT probe
    f tcp_* / t sched_switch                              fprobe, raw tracepoint (v6.4)

Source: Documentation/trace/kprobetrace.rst, uprobetracer.rst, fprobetrace.rst; kernel/trace/trace_kprobe.c,
__trace_kprobe_create; kernel/trace/trace_uprobe.c, __trace_uprobe_create.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.errors import ExpressionError, UnknownNameError, UsageError
from linscope.sources.probes import definition as pd
from linscope.sources.probes.definition import ProbeArgument, ProbeDefinition, split_type
from linscope.sources.probes.expressions import Function, prototype_of
from linscope.sources.probes.fetch import MAX_ARGUMENTS, MAX_NAME, Checker, Context, Features
from linscope.sources.probes.targets import Resolver, explain_missing_function, require_btf
from linscope.sources.probes.usdt import usdt_arguments

DEFAULT_GROUP = "linscope"
MAX_EVENT_NAME = 63  # MAX_EVENT_NAME_LEN, with NUL
_MAX_MAXACTIVE = 4096  # KRETPROBE_MAXACTIVE_MAX
_KINDS = {"p": "", "r": "", "u": pd.USER, "sdt": pd.USER, "f": pd.FUNCTION, "t": pd.TRACEPOINT}
_HEAD = re.compile(r"(p|r|u|sdt|f|t)(\d*)(?::(.*))?\Z")
_EVENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLACE = re.compile(r"(?P<symbol>[A-Za-z_.][\w.$]*)(?:\+(?P<offset>0[xX][0-9a-fA-F]+|\d+))?\Z")
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)\Z")
_RAW = re.compile(r"[%@\\+-]|\$\w*(?=:|\Z)")


class _Target(NamedTuple):
    """A place, taken apart."""

    text: str  # as the kernel takes it
    label: str  # what to name the event after
    function: str = ""  # of the kernel, when the place is in one that has a name
    module: str = ""
    entry: bool = True
    tracepoint: bool = False
    arguments: tuple[ProbeArgument, ...] = ()  # that it brings
    notes: tuple[str, ...] = ()


def compile_probe(
    text: str,
    btf: Btf | None,
    resolver: Resolver,
    *,
    features: Features = Features(),  # noqa: B008 - a tuple
    machine: str = "x86_64",
    all_arguments: bool = False,
) -> ProbeDefinition:
    """The definition of one probe.

    btf: the running kernel's types, None without; features: what its fetch arguments can be; all_arguments: every
    parameter of the function when none is written, as ``*`` does; what it returns where the kernel keeps none.
    Raises ExpressionError (a UsageError with the place) for what is wrong in the text, NotInKernel when names need a
    BTF that is not there, UsageError for a USDT probe with several places, OSError and FormatError of the program.
    """
    found = compile_probes(text, btf, resolver, features=features, machine=machine, all_arguments=all_arguments)
    if len(found) > 1:
        raise UsageError(f"{found[0].name} has {len(found)} places", next_step="define them all")
    return found[0]


def compile_probes(
    text: str,
    btf: Btf | None,
    resolver: Resolver,
    *,
    features: Features = Features(),  # noqa: B008 - a tuple
    machine: str = "x86_64",
    all_arguments: bool = False,
) -> list[ProbeDefinition]:
    """As compile_probe; a USDT probe that was inlined gives one definition for each place, with names of their own."""
    words = [(match[0], match.start()) for match in re.finditer(r"\S+", text)]
    compiler = _Compiler(text, btf, resolver, Context(machine=machine, features=features), all_arguments)
    return compiler.compile(words)


class _Compiler:
    """One text."""

    def __init__(self, text: str, btf: Btf | None, resolver: Resolver, context: Context, all_arguments: bool) -> None:
        self.text = text
        self.btf = btf
        self.resolver = resolver
        self.all_arguments = all_arguments
        self.checker = Checker(text, context)
        self.fail = self.checker.fail

    def compile(self, words: list[tuple[str, int]]) -> list[ProbeDefinition]:
        if not words:
            raise self.fail(
                "no probe", 0, next_step="p FUNCTION, r FUNCTION, p PROGRAM:FUNCTION, u PROGRAM:PROVIDER:NAME"
            )
        kind, maxactive, event, event_at = self._head(*words[0])
        if len(words) < 2:
            raise self.fail("where to probe is missing", len(self.text), next_step=f"{kind} FUNCTION")
        place, at = words[1]
        place, percent, suffix = place.partition("%")
        if percent and suffix != "return":
            raise self.fail(f"no %{suffix}", at + len(place), next_step=f"{place}%return")
        returns = kind == "r" or bool(percent)
        if maxactive and not returns:
            raise self.fail("a number of calls is for returns", words[0][1] + 1, next_step=f"r{maxactive}")
        probes = _KINDS[kind] or (pd.USER if "/" in place and ":" in place else pd.KERNEL)
        targets = self._targets(kind, probes, place, at)
        definitions = []
        for number, target in enumerate(targets):
            entry = target.entry
            if returns and not entry:
                raise self.fail(
                    "a return probe inside a function", at, why="only at its entry is it known where it returns"
                )
            self.checker.context = self.checker.context._replace(user=probes == pd.USER, returns=returns, entry=entry)
            arguments = target.arguments or self._arguments(words[2:], target, at)
            group, name = self._event(event, event_at, target, returns)
            name = f"{name}_{number}" if number else name
            definitions.append(
                ProbeDefinition(probes, returns, group, name, target.text, arguments, maxactive, target.notes)
            )
        return definitions

    # -- the first word

    def _head(self, word: str, at: int) -> tuple[str, int, str, int]:
        """(kind, maxactive, event, where the event's name is)."""
        match = _HEAD.match(word)
        if match is None:
            raise self.fail(
                f"{word!r} is no kind of probe", at, next_step="p, r, u, f or t; p:GROUP/NAME names the event"
            )
        maxactive = int(match[2] or 0)
        if maxactive > _MAX_MAXACTIVE:
            raise self.fail(f"{maxactive} calls at once", at + 1, why=f"the kernel takes {_MAX_MAXACTIVE}")
        if match[3] == "":
            raise self.fail("the name of the event is missing", at + len(word))
        return match[1], maxactive, match[3] or "", at + (match.start(3) if match[3] else 0)

    def _event(self, event: str, at: int, target: _Target, returns: bool) -> tuple[str, str]:
        group, slash, name = (
            event.replace(".", "/", 1).partition("/") if "/" in event or "." in event else ("", "", event)
        )
        if not event:
            label = re.sub(r"\W", "_", target.label)
            label = f"_{label}" if label[:1].isdigit() else label
            tail = "__return" if returns else ""
            return DEFAULT_GROUP, label[: MAX_EVENT_NAME - len(tail)] + tail
        for part, where in ((group, at), (name, at + len(group) + len(slash))):
            if (part or part is name) and not _EVENT.match(part):
                raise self.fail(
                    f"{part!r} cannot name an event", where, next_step="letters, digits and _, no digit first"
                )
            if len(part) > MAX_EVENT_NAME:
                raise self.fail(f"a name of {len(part)} characters", where, why=f"the kernel takes {MAX_EVENT_NAME}")
        return group or DEFAULT_GROUP, name

    # -- the second word

    def _targets(self, kind: str, probes: str, place: str, at: int) -> list[_Target]:
        if kind in ("u", "sdt"):
            return self._usdt(place, at)
        if probes == pd.USER:
            return [self._user(place, at)]
        if probes == pd.TRACEPOINT:
            if not _EVENT.match(place):
                raise self.fail(f"{place!r} is no tracepoint", at)
            return [_Target(place, place, place, tracepoint=True)]
        if _NUMBER.match(place):
            return [_Target(place, place, entry=False)]
        module, colon, rest = place.rpartition(":")
        match = _PLACE.match(rest)
        wildcard = probes == pd.FUNCTION and re.fullmatch(r"[\w.$*?]+", rest)
        if match is None and not wildcard:
            raise self.fail(
                f"{rest!r} is no function", at + len(module) + len(colon), next_step="NAME, NAME+OFFSET, or 0xADDRESS"
            )
        if match is None:
            return [_Target(place, rest)]
        offset = int(match["offset"] or "0", 0)
        symbol = match["symbol"]
        return [_Target(place, f"{symbol}_{offset:#x}" if offset else symbol, symbol, module, not offset)]

    def _user(self, place: str, at: int) -> _Target:
        path, _, rest = place.rpartition(":")
        path = str(Path(path).resolve())
        base = path.rpartition("/")[2].partition(".")[0]
        counter = re.search(r"\((0[xX][0-9a-fA-F]+|\d+)\)\Z", rest)
        rest = rest[: counter.start()] if counter else rest
        if _NUMBER.match(rest):
            return _Target(f"{path}:{rest}{counter[0] if counter else ''}", f"{base}_{rest}")
        match = _PLACE.match(rest)
        if match is None:
            raise self.fail(
                f"{rest!r} is no function or offset", at + len(place) - len(rest), next_step=f"{path}:NAME+OFFSET"
            )
        try:
            start = self.resolver.symbol_offset(path, match["symbol"])
        except FileNotFoundError:
            raise self.fail(f"no file {path}", at) from None
        except UsageError as error:
            where = at + len(place) - len(rest)
            raise self.fail(error.what, where, why=error.why, next_step=error.next_step) from None
        offset = int(match["offset"] or "0", 0)
        label = f"{match['symbol']}_{offset:#x}" if offset else match["symbol"]
        return _Target(f"{path}:{start + offset:#x}{counter[0] if counter else ''}", label, entry=not offset)

    def _usdt(self, place: str, at: int) -> list[_Target]:
        path, _, name = place.rpartition(":")
        path, _, provider = path.rpartition(":")
        if not path or not name:
            raise self.fail("a USDT probe is PROGRAM:PROVIDER:NAME", at)
        path = str(Path(path).resolve())
        try:
            probes = self.resolver.usdt_probes(path)
        except FileNotFoundError:
            raise self.fail(f"no file {path}", at) from None
        found = [one for one in probes if one.name == name and provider in ("", one.provider)]
        if not found:
            known = sorted({f"{one.provider}:{one.name}" for one in probes})
            near = UnknownNameError("USDT probe", f"{provider}:{name}", known)
            why = near.why or ("" if known else "the file has none")
            step = ", ".join(known[:12])
            raise self.fail(f"no USDT probe {provider}:{name}", at + len(place) - len(name), why=why, next_step=step)
        targets = []
        for one in found:
            arguments, notes = usdt_arguments(one)
            counter = f"({one.semaphore:#x})" if one.semaphore else ""
            label = f"{one.provider}_{one.name}"
            targets.append(_Target(f"{path}:{one.offset:#x}{counter}", label, arguments=arguments, notes=notes))
        return targets

    # -- the rest

    def _arguments(self, words: list[tuple[str, int]], target: _Target, at: int) -> tuple[ProbeArgument, ...]:
        if len(words) > MAX_ARGUMENTS:
            raise self.fail(f"{len(words)} arguments", words[MAX_ARGUMENTS][1], why=f"the kernel takes {MAX_ARGUMENTS}")
        function: Function | None = None
        if not words and self.all_arguments and target.function and target.entry:
            words = self._all_words(target)
        taken: set[str] = set()
        for word, place in words:  # names that are given come before those that we make
            if self._name(word)[1]:
                self.checker.check_name(self._name(word)[0], place, taken)
                taken.add(self._name(word)[0])
        found: list[ProbeArgument] = []
        for word, place in words:
            name, _, body = self._name(word)
            body_at = place + len(word) - len(body)
            if not body:
                raise self.fail("nothing to fetch", body_at)
            if word == "*":
                function = function or self._function(target, at)
                found += self._all(function, place, taken)
                continue
            argument = self._raw(name, body, body_at, target, at, taken) if _RAW.match(body) else None
            if argument is None:
                function = function or self._function(target, at)
                argument = self._expression(function, name, body, body_at, taken)
            taken.add(argument.name)
            found.append(argument)
        return tuple(found)

    def _all_words(self, target: _Target) -> list[tuple[str, int]]:
        """Every parameter; where the kernel has none of them left, at a return, the result."""
        context = self.checker.context
        if not context.returns or context.features.arguments_on_return:
            return [("*", len(self.text))]
        proto = self._prototype(target)
        result = proto is not None and self.btf is not None and self.btf.resolve(proto.returns)
        return [("$retval", len(self.text))] if result else []

    def _name(self, word: str) -> tuple[str, str, str]:
        name, equals, body = word.partition("=")
        return (name, equals, body) if equals else ("", "", word)

    def _raw(
        self, name: str, body: str, at: int, target: _Target, target_at: int, taken: set[str]
    ) -> ProbeArgument | None:
        """A fetch argument as the kernel takes it; the type of a bare $retval or $argN comes from BTF when it can."""
        fetch, colon, type_ = split_type(body)
        if colon and not type_:
            raise self.fail("the type is missing", at + len(body))
        typed = not colon and fetch.startswith(("$retval", "$arg")) and self._prototype(target)
        if typed and (fetch != "$retval" or self.checker.context.returns):
            return None  # an expression: its type comes from BTF
        self.checker.check(fetch, at, type_, at + len(fetch) + 1)
        return ProbeArgument(name or _unique(_label(fetch), taken), fetch, type_)

    def _expression(self, function: Function, name: str, body: str, at: int, taken: set[str]) -> ProbeArgument:
        user = body.startswith("u:")
        start = 2 if user else 0
        text, _, type_ = body[start:].partition(":")
        type_at = at + start + len(text) + 1
        compiled = function.compile(text, at + start, user=user, type_=type_)
        self.checker.check(compiled.fetch, at, compiled.type, type_at)
        label = "ret" if compiled.field == "retval" else compiled.field
        return ProbeArgument(name or _unique(label, taken), compiled.fetch, compiled.type)

    def _all(self, function: Function, at: int, taken: set[str]) -> list[ProbeArgument]:
        """Every parameter that is a number, a pointer or text."""
        found: list[ProbeArgument] = []
        for name in function.parameter_names():
            try:
                compiled = function.compile(name, at)
            except ExpressionError:
                if not found and name == function.parameter_names()[0]:
                    raise
                continue  # passed by value, or behind what is
            found.append(ProbeArgument(_unique(name, taken), compiled.fetch, compiled.type))
            taken.add(found[-1].name)
        return found

    def _btf_of(self, target: _Target) -> Btf | None:
        if not target.module or self.btf is None:
            return self.btf
        return self.resolver.module_btf(target.module)

    def _prototype(self, target: _Target) -> bt.FuncProto | None:
        btf = self._btf_of(target)
        if btf is None or not target.function:
            return None
        return prototype_of(btf, target.function, tracepoint=target.tracepoint)

    def _function(self, target: _Target, at: int) -> Function:
        """The function whose parameters are named.  Raises ExpressionError that says why there is none."""
        if self.checker.context.user or not target.function:
            why = "names of parameters are known of the kernel's functions only"
            raise self.fail("no names here", at, why=why, next_step="raw fetch arguments, as name=%di:u64")
        require_btf(self.btf)
        btf, proto = self._btf_of(target), self._prototype(target)
        name = target.function
        if btf is not None and proto is not None:
            return Function(btf, name, proto, self.checker)
        if target.tracepoint:
            raise self.fail(f"no tracepoint {name!r} in the kernel", at)
        base = name.partition(".")[0]
        if base != name and btf is not None and btf.find(base, (bt.KIND_FUNC,)):
            why = f"the compiler changed the parameters of {base}"
            raise self.fail(f"the parameters of {name} are not known", at, why=why, next_step="registers, as %di")
        module = "" if target.module else self.resolver.module_of(name)
        if module:
            raise self.fail(f"{name} is in a module", at, next_step=f"{module}:{name}")
        why, step = explain_missing_function(name, btf, self.resolver)
        what = f"no function {name!r} in the kernel" if why else f"BTF does not know the function {name!r}"
        raise self.fail(what, at, why=why, next_step=step or "raw fetch arguments, as name=%di:u64")


def _label(fetch: str) -> str:
    """A name after the last word of a fetch argument: "di", "arg1", "jiffies"."""
    words = re.findall(r"(?<!\w)[A-Za-z_]\w*", fetch)
    return (words[-1] if words else "value")[:MAX_NAME]


def _unique(name: str, taken: set[str]) -> str:
    """The name, with a number behind it when it is taken."""
    name, number = name[:MAX_NAME], 1
    unique = name
    while unique in taken:
        number += 1
        unique = f"{name[: MAX_NAME - len(str(number)) - 1]}_{number}"
    return unique
