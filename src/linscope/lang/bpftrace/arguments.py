"""What ``args`` is for a probe, and the type of ``retval``: a struct whose offsets are those of the context."""

from __future__ import annotations

from linscope.lang import types as t
from linscope.lang.bpftrace import registers
from linscope.lang.bpftrace.problems import Wrong

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.state import Body
    from linscope.lang.bpftrace.syntax import Span
    from linscope.lang.definitions import Definitions
    from linscope.lang.probe import Probe

REGISTERS = "registers"  # Probe.arguments of a tracepoint of system calls that is attached as a raw one
FENTRY = "fentry"  # of a kprobe or kretprobe that the script has as fentry or fexit; see kprobes_instead.py
_FIRST_ARGUMENT = 16  # of a system call, in the tracepoint's record


def find_arguments(body: Body, span: Span) -> t.Struct:
    """The struct.  Raises Wrong: the probe has no arguments."""
    if body.arguments is None:
        found = probe_arguments(body.script.definitions, body.probes[0], by_registers=bool(body.syscalls))
        if found is None:
            raise Wrong(span, _no_arguments(body), _hint(body))
        body.arguments = found
    return body.arguments


def _no_arguments(body: Body) -> str:
    if body.kind in ("tracepoint", "fentry", "fexit", "rawtracepoint", "uprobe"):
        return f"The arguments of {body.probes[0].name} are not known"
    kinds = "'tracepoint', 'fentry', 'fexit', 'rawtracepoint' and 'uprobe'"
    return f"The args builtin can only be used with {kinds} probes"


def _hint(body: Body) -> str:
    if body.kind == "kretprobe" and body.probes[0].arguments == FENTRY:
        return "it runs as kretprobe here, which has retval only: keep the arguments in a map, in a fentry probe"
    if body.kind == "uprobe":
        return "the program has no debug information; arg0, arg1 ... are there"
    return "arg0, arg1 ... are the registers with the arguments" if body.kind == "kprobe" else ""


def probe_arguments(definitions: Definitions, probe: Probe, *, by_registers: bool = False) -> t.Struct | None:
    """The arguments of a probe; by_registers: of a system call, where its registers are.  None: it has none."""
    if probe.kind == "tracepoint":
        found = definitions.tracepoint(probe.module, probe.target)
        return _in_registers(found) if found is not None and by_registers else found
    if probe.kind in ("fentry", "fexit"):
        function = definitions.find_function(probe.target, probe.module)
        return function.arguments if function is not None else None
    if probe.kind == "kprobe" and probe.target and not probe.offset:
        function = definitions.find_function(probe.target, probe.module)
        return _of_function(function.arguments) if function is not None else None
    if probe.arguments == REGISTERS:
        found = definitions.tracepoint("raw_syscalls", probe.target)
        return _in_registers(found) if found is not None else None
    if probe.kind == "rawtracepoint":
        return definitions.raw_tracepoint(probe.target)
    if probe.kind == "uprobe":
        return definitions.uprobe_arguments(probe.path, probe.target)
    return None


def _in_registers(found: t.Struct) -> t.Struct:
    """A system call's record as the registers that its values are in."""
    fields = []
    for field in found.fields:
        if field.name in ("__syscall_nr", "id"):
            offset = registers.SYSCALL_NUMBER
        elif field.name == "ret":
            offset = registers.OFFSETS[registers.RETURN]
        elif field.offset >= _FIRST_ARGUMENT:
            place = (field.offset - _FIRST_ARGUMENT) // 8
            offset = registers.OFFSETS[registers.SYSCALL_ARGUMENTS[place]]
        else:
            continue
        fields.append(t.Field(field.name, field.type, offset))
    return t.Struct(found.name, 8 * len(registers.OFFSETS), lambda: fields)


def _of_function(found: t.Struct) -> t.Struct | None:
    """A kernel function's arguments as the registers that they are in when it is entered."""
    names = registers.ARGUMENTS
    places = zip(found.fields, names, strict=False)  # those beyond are on the stack
    fields = [t.Field(field.name, field.type, registers.OFFSETS[name]) for field, name in places]
    return t.Struct(found.name, 8 * len(registers.OFFSETS), lambda: fields)


def find_return(body: Body, span: Span) -> tuple[t.Type, int]:
    """(type, offset in the context) of what a traced function returned.  Raises Wrong."""
    probe = body.probes[0]
    function = body.script.definitions.find_function(probe.target, probe.module)
    if function is None:
        raise Wrong(span, f"The result of {probe.name} is not known")
    return function.returns, 8 * len(function.arguments.fields)
