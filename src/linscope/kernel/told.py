"""Walks whose end is told and not raised: what came before it is shown."""

from __future__ import annotations

from linscope.errors import LinscopeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeVar

    from linscope.target.kernel import Kernel

    Item = TypeVar("Item")


def told(kernel: Kernel, what: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items; a LinscopeError that ends them goes to kernel.problems, with what they are in front."""
    try:
        yield from items
    except LinscopeError as error:
        kernel.problems.append(f"{what}: {error}")
