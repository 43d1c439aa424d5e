"""Why a program is refused: the exception that ends a verification."""

from __future__ import annotations


class Rejection(Exception):
    """A rule is broken at the current instruction; ``verify`` makes a verdict of it.

    rule: short and stable, a key of ``explain.SUGGESTIONS``; message: in the kernel's words, R1 for register 1;
    register: number of the register that is to blame, -1 for none; slot: the instruction when it is not the current.
    """

    def __init__(self, rule: str, message: str, register: int = -1, *, slot: int = -1) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.register = register
        self.slot = slot
