"""All named types and constants that a script can see."""

from __future__ import annotations

from linscope.lang import types as t
from linscope.lang.nodes import Node

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.binfmt.btf import Btf
    from linscope.lang.definitions.c_source import CSource
    from linscope.lang.definitions.kernel_types import KernelTypes
    from linscope.lang.definitions.user_arguments import UserProgram

_BTF = "/sys/kernel/btf"
# constants that are enumerators in the kernel, where they have a type, and macros for programs
_KERNEL_ENUMS = ("IPPROTO_", "TCP_", "IFF_", "SOCK_", "SHUT_")
# include/linux/sched.h (v6.17): macros, which BTF does not have
TASK_STATES = {
    "TASK_RUNNING": 0, "TASK_INTERRUPTIBLE": 1, "TASK_UNINTERRUPTIBLE": 2, "__TASK_STOPPED": 4, "__TASK_TRACED": 8,
    "EXIT_DEAD": 0x10, "EXIT_ZOMBIE": 0x20, "TASK_PARKED": 0x40, "TASK_DEAD": 0x80, "TASK_WAKEKILL": 0x100,
    "TASK_WAKING": 0x200, "TASK_NOLOAD": 0x400, "TASK_NEW": 0x800, "TASK_RTLOCK_WAIT": 0x1000, "TASK_FREEZABLE": 0x2000,
    "TASK_FROZEN": 0x8000, "TASK_KILLABLE": 0x102, "TASK_IDLE": 0x402, "TASK_NORMAL": 3,
}  # fmt: skip


class Function(Node):
    """A function of the kernel: arguments as fields at 8 * place, as a tracing program's context has them."""

    arguments: t.Struct
    returns: t.Type
    module: str = ""


class Macro(Node):
    """What a name stands for in C, as text."""

    text: str


class Definitions:
    """Types and constants by name: first the script's own C and the headers it includes, then the kernel's."""

    def __init__(
        self,
        parts: Sequence[tuple[str, int]],
        *,
        include_dirs: Sequence[str] = (),
        includes: Sequence[str] = (),
        string_size: int = 1025,
        script: str = "",
    ) -> None:
        """parts: the C in the script, each with its place; includes: headers of the command line.

        string_size: bytes of strings that have no size of their own; script: the whole text, which the lines and
        columns of messages are told from (without it: those of the part).  Raises SourceError: what is wrong in the C.
        """
        self._c: CSource | None = None
        self.string_size = string_size
        self._kernel: list[KernelTypes] | None = None
        self._modules_read = False
        self._types: dict[tuple[str | None, str], t.Type | None] = {}
        self._tracepoints: dict[tuple[str, str], t.Struct | None] = {}
        self._functions: dict[tuple[str, str], Function | None] = {}
        self._programs: dict[str, UserProgram] = {}
        if parts or includes:
            from linscope.lang.definitions.c_source import CSource

            self._c = CSource(parts, self, include_dirs, includes, script)

    # -- the kernel's own types

    @property
    def has_btf(self) -> bool:
        """Whether the kernel tells its types."""
        import os

        return os.path.exists(f"{_BTF}/vmlinux")

    def _open(self, name: str, base: Btf | None = None) -> Btf | None:
        from linscope.binfmt.btf import Btf

        try:
            return Btf.open(f"{_BTF}/{name}", base)
        except OSError:
            return None

    def kernel(self, *, modules: bool = False) -> list[KernelTypes]:
        """The types of the kernel; modules: and those of its modules, behind it.  Raises FormatError."""
        from linscope.lang.definitions.kernel_types import KernelTypes

        if self._kernel is None:
            found = self._open("vmlinux")
            self._kernel = [KernelTypes(found)] if found is not None else []
        if modules and not self._modules_read and self._kernel:
            import os

            self._modules_read = True
            base = self._kernel[0].btf
            for name in sorted(entry.name for entry in os.scandir(_BTF)):
                module = self._open(name, base) if name != "vmlinux" else None
                if module is not None:
                    self._kernel.append(KernelTypes(module))
        return self._kernel

    # -- types

    def find_type(self, tag: str | None, name: str) -> t.Type | None:
        """A type: of a tag ("struct", "union", "enum"), or a typedef or base type (tag None).  None: there is none."""
        key = tag, name
        if key not in self._types:
            found = self._c.find_type(tag, name) if self._c is not None else None
            self._types[key] = found if found is not None else self.kernel_type(tag, name)
        return self._types[key]

    def kernel_type(self, tag: str | None, name: str) -> t.Type | None:
        """A type of the kernel or its modules, whatever the script defines; see find_type."""
        found = self._find_in_kernel(tag, name)
        return found[0].type(found[1]) if found is not None else None

    def btf_id(self, tag: str | None, name: str) -> int:
        """The number of a type in the kernel's BTF, or in that of the module that has it; 0: there is none."""
        found = self._find_in_kernel(tag, name)
        return found[1] if found is not None else 0

    def _find_in_kernel(self, tag: str | None, name: str) -> tuple[KernelTypes, int] | None:
        from linscope.binfmt import btf_types as bt

        kinds: dict[str | None, tuple[int, ...]] = {
            "struct": (bt.KIND_STRUCT,), "union": (bt.KIND_UNION,), "enum": (bt.KIND_ENUM, bt.KIND_ENUM64),
            None: (bt.KIND_TYPEDEF, bt.KIND_INT),
        }  # fmt: skip
        for modules in (False, True):
            for types in self.kernel(modules=modules)[int(modules) :]:
                found = types.btf.find_one(name, kinds[tag])
                if found:
                    return types, found
            if tag is None:
                break
        return None

    # -- constants

    def find_constant(self, name: str) -> tuple[int | bytes, t.Type] | Macro | None:
        """A value of an enum (with its type), or what a macro stands for.  None: there is none."""
        from linscope.abi.c_constants import find_constant

        if self._c is not None:
            found = self._c.find_constant(name)
            if found is not None:
                return found
        if not name.startswith(_KERNEL_ENUMS):
            value = find_constant(name)
            if value is not None:
                return value, t.INT64 if value < 1 << 63 else t.UINT64
        for modules in (False, True):
            for types in self.kernel(modules=modules)[int(modules) :]:
                place = types.btf.find_enumerator(name)
                if place is not None:
                    type_id, value = place
                    return value, types.type(type_id)
        value = find_constant(name)
        return None if value is None else (value, t.INT64)

    def near_constants(self, name: str) -> list[str]:
        """Names of constants that may have been meant, the nearest first; for messages."""
        import difflib

        from linscope.abi.c_constants import names

        known = names() if self._c is None else [*self._c.constants, *self._c.preprocessor.macros, *names()]
        return difflib.get_close_matches(name, known, 3)

    # -- what probes see

    def tracepoint(self, system: str, event: str) -> t.Struct | None:
        """The fields of a tracepoint, at their offsets in its context; None: there is no such tracepoint."""
        key = system, event
        if key not in self._tracepoints:
            from linscope.lang.definitions.tracepoints import parse_format, read_format

            text = read_format(system, event)
            user = system == "syscalls"
            self._tracepoints[key] = text and parse_format(  # type: ignore[assignment]  # "" is None
                text, f"{system}:{event}", self.find_type, string_size=self.string_size, user=user
            )
        return self._tracepoints[key]

    def syscall_number(self, target: str) -> int | None:
        """The number of the system call of a tracepoint ("sys_enter_openat")."""
        from linscope.abi.syscalls import syscall_number

        name = target.removeprefix("sys_enter_").removeprefix("sys_exit_")
        return syscall_number(name)

    def find_function(self, name: str, module: str = "") -> Function | None:
        """A function of the kernel by its BTF; None: there is none."""
        key = name, module
        if key not in self._functions:
            self._functions[key] = self._find_function(name, module)
        return self._functions[key]

    def _find_function(self, name: str, module: str) -> Function | None:
        from linscope.binfmt import btf_types as bt

        for modules in (False, True):
            for types in self.kernel(modules=modules)[int(modules) :]:
                where = types.btf.where.rpartition("/")[2]
                if module and where != module:
                    continue
                found = types.btf.find_one(name, (bt.KIND_FUNC,))
                if found:
                    function = types.btf.type(found)
                    assert isinstance(function, bt.Func)
                    prototype = types.btf.type(function.proto)
                    assert isinstance(prototype, bt.FuncProto)
                    arguments = _arguments(types, prototype, name, 0)
                    returns = types.type(prototype.returns)
                    return Function(arguments, returns, "" if where == "vmlinux" else where)
        return None

    def raw_tracepoint(self, event: str) -> t.Struct | None:
        """The arguments of a raw tracepoint, at 8 * place; None: it is not known."""
        from linscope.binfmt import btf_types as bt

        for modules in (False, True):
            for types in self.kernel(modules=modules)[int(modules) :]:
                found = types.btf.find_one(f"btf_trace_{event}", (bt.KIND_TYPEDEF,))
                if found:
                    pointer = types.btf.type(types.btf.resolve(found))
                    assert isinstance(pointer, bt.Pointer)
                    prototype = types.btf.type(pointer.target)
                    assert isinstance(prototype, bt.FuncProto)
                    names = self._trace_function(types, event)
                    return _arguments(types, prototype, event, 1, names)
        return None

    def _trace_function(self, types: KernelTypes, event: str) -> list[str]:
        """The names of a raw tracepoint's arguments, which the prototype of the typedef lacks."""
        from linscope.binfmt import btf_types as bt

        for name in (f"__bpf_trace_{event}", f"__traceiter_{event}", f"__probestub_{event}"):
            found = types.btf.find_one(name, (bt.KIND_FUNC,))
            if found:
                function = types.btf.type(found)
                assert isinstance(function, bt.Func)
                prototype = types.btf.type(function.proto)
                assert isinstance(prototype, bt.FuncProto)
                return [parameter.name for parameter in prototype.parameters]
        return []

    def find_variable(self, name: str) -> tuple[int, t.Type] | None:
        """(BTF id, type) of a variable of the kernel; None: there is none."""
        from linscope.binfmt import btf_types as bt

        for types in self.kernel():
            found = types.btf.find_one(name, (bt.KIND_VAR,))
            if found:
                variable = types.btf.type(found)
                assert isinstance(variable, bt.Var)
                return found, types.type(variable.type)
        return None

    def user_type(self, path: str, tag: str | None, name: str) -> t.Type | None:
        """A type of a program by its debug information, tag as in find_type; None: it is not known."""
        from linscope.errors import FormatError

        try:
            return self._user_program(path).find_type(tag, name)
        except (OSError, FormatError):
            return None

    def _user_program(self, path: str) -> UserProgram:
        """The debug information of a file, opened once.  Raises OSError, FormatError."""
        if path not in self._programs:
            from linscope.lang.definitions.user_arguments import UserProgram

            self._programs[path] = UserProgram(path)
        return self._programs[path]

    def uprobe_arguments(self, path: str, function: str) -> t.Struct | None:
        """The arguments of a function of a program, at their registers' offsets; None: they are not known."""
        from linscope.errors import FormatError

        try:
            return self._user_program(path).arguments(function)
        except (OSError, FormatError):
            return None

    def uprobe_result(self, path: str, function: str) -> t.Type | None:
        """The type of what a function of a program returns; None: it is not known."""
        from linscope.errors import FormatError

        try:
            return self._user_program(path).returns(function)
        except (OSError, FormatError):
            return None


def _arguments(types: KernelTypes, prototype: object, name: str, skip: int, names: Sequence[str] = ()) -> t.Struct:
    """Parameters as a struct: each at 8 * place."""
    parameters = getattr(prototype, "parameters", ())[skip:]
    fields = []
    for place, parameter in enumerate(parameters):
        shown = parameter.name or (names[place + skip] if place + skip < len(names) else "") or f"arg{place}"
        fields.append(t.Field(shown, types.type(parameter.type), 8 * place))
    return t.Struct(name, 8 * len(fields), lambda: fields)
