"""What an object is fitted to: a kernel's types, its configuration, its addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from linscope.binfmt.btf import Btf


class Target:
    """A kernel, as far as objects ask for it.  ``kernel.running.RunningKernel`` is the one that runs."""

    def __init__(
        self, btf: Btf | None = None, *, modules: Sequence[Btf] = (), config: Mapping[str, str] | None = None,
        addresses: Mapping[str, int] | None = None, facts: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """btf: its types; modules: those of its modules, with btf as base; config: "CONFIG_HZ" -> "250", "y", '"x"';

        addresses: of its symbols; facts: what libbpf finds out itself ("LINUX_KERNEL_VERSION", "LINUX_HAS_...").
        None: not known, and whoever needs it is refused.
        """
        self._btf = btf
        self._modules = modules
        self._config = config
        self._addresses = addresses
        self._facts = facts or {}

    @property
    def btf(self) -> Btf | None:
        """The kernel's types; None when it has none."""
        return self._btf

    @property
    def modules(self) -> Sequence[Btf]:
        """The types of its modules."""
        return self._modules

    def config(self) -> Mapping[str, str] | None:
        """The settings that it was built with, without those that are off; None: not known."""
        return self._config

    def addresses(self, names: set[str]) -> Mapping[str, int] | None:
        """Addresses of symbols, without those that it has not; None: not known."""
        if self._addresses is None:
            return None
        return {name: self._addresses[name] for name in names if name in self._addresses}

    def fact(self, name: str) -> int | None:
        """A value that is no setting: "LINUX_KERNEL_VERSION"; None: not known."""
        return self._facts.get(name)
