"""Where a script's named types and constants come from: its own C, headers, BTF, tracepoints, debug information.

``Definitions(parts)`` takes the C of a script; then

    find_type("struct", "sock")       a type by its tag, or None for a typedef: the script's, a header's, the kernel's
    find_constant("AF_INET")          (value, type) of an enumerator or number, or Macro(text) to be parsed
    tracepoint("sched", "sched_switch")    the fields of a tracepoint, at their offsets in its context
    find_function("vfs_read")         arguments (at 8 * place) and result of a function of the kernel
    raw_tracepoint("sched_switch")    the arguments of a raw tracepoint, at 8 * place
    find_variable("runqueues")        (BTF id, type) of a variable of the kernel
    uprobe_arguments(path, "main")    arguments of a program's function at its registers' offsets in struct pt_regs
    uprobe_result(path, "main"), user_type(path, "struct", "s")    the same program's types
    syscall_number("sys_enter_openat")

Whatever is not asked for is not read: a script without C costs nothing, a struct of the kernel some milliseconds.
"""

from __future__ import annotations

from linscope.lang.definitions.definitions import Definitions, Function, Macro

__all__ = ["Definitions", "Function", "Macro"]
