"""The user-space eBPF machine: interpreter (the reference), x86-64 JIT, maps and helpers over recorded events.

    machine = Machine(program)
    machine.run(record)                                  # r0
    batch = machine.run_batch(records, stride=32)        # inside of machine code
    machine.maps["counts"].items()

``validate`` (vm/validate.py) needs nothing of the machine and can be imported by itself.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import Any

    from linscope.bpf.vm.errors import Fault as Fault
    from linscope.bpf.vm.errors import InvalidProgram as InvalidProgram
    from linscope.bpf.vm.errors import MachineError as MachineError
    from linscope.bpf.vm.errors import UnavailableError as UnavailableError
    from linscope.bpf.vm.machine import Batch as Batch
    from linscope.bpf.vm.machine import Machine as Machine
    from linscope.bpf.vm.maps import VmMap as VmMap

_PLACES = {
    "Batch": "machine",
    "Fault": "errors",
    "InvalidProgram": "errors",
    "Machine": "machine",
    "MachineError": "errors",
    "UnavailableError": "errors",
    "VmMap": "maps",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{place}"), name)
