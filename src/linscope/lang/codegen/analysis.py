"""What is to be known of a program before its code is written: its variables, and how deep its loops are nested."""

from __future__ import annotations

from linscope.lang import ir

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable


class Analysis:
    """One program.

    variables: all, in the order in which they are met; changing: those that loops assign; unset: those that may be
    read before they are set, and so must be zero at first; depth: of the loops inside of each other.
    """

    def __init__(self, source: ir.Program) -> None:
        self.variables: dict[ir.Variable, None] = {}
        self.changing: set[ir.Variable] = set()
        self.unset: set[ir.Variable] = set()
        self.depth = 0
        self._set: set[ir.Variable] = set()  # for certain, where the walk is
        self._gone = False  # whether the walk is behind a Leave, where nothing gets
        self._left: list[set[ir.Variable] | None] = []  # of each Inlined: what is set at all of its ends
        self._loops = 0
        self._all(source.body)
        done: set[int] = set()
        for body in (source.dispatch or {}).values():
            if id(body) not in done:
                done.add(id(body))
                self._perhaps(body)

    def _all(self, nodes: Iterable[object]) -> None:
        for node in nodes:
            if isinstance(node, ir.Expression | ir.Statement):
                self._walk(node)
            elif isinstance(node, list | tuple):
                self._all(node)

    def _perhaps(self, *nodes: object) -> set[ir.Variable] | None:
        """What may not be reached: gives what is set there; it is not set for certain behind it.  None: it leaves."""
        before, gone = self._set.copy(), self._gone
        self._all(nodes)
        inside = None if self._gone else self._set
        self._set, self._gone = before, gone
        return inside

    def _either(self, yes: set[ir.Variable] | None, no: set[ir.Variable] | None) -> None:
        """What is set behind two ways of which one is gone."""
        if yes is not None and no is not None:
            self._set |= yes & no
        elif yes is None and no is None:
            self._gone = True
        else:
            self._set |= yes or no or set()

    def _inlined(self, node: ir.Inlined) -> None:
        self._left.append(None)
        gone = self._gone
        self._all(node.body)
        if not self._gone:
            self._leave()
        left = self._left.pop()
        self._set, self._gone = self._set if left is None else left, gone

    def _leave(self) -> None:
        if self._left:
            known = self._left[-1]
            self._left[-1] = self._set.copy() if known is None else known & self._set
        self._gone = True

    def _assign(self, variable: ir.Variable, *, certain: bool = True) -> None:
        self.variables[variable] = None
        if self._loops:
            self.changing.add(variable)
        if certain:
            self._set.add(variable)

    def _walk(self, node: ir.Expression | ir.Statement) -> None:
        if isinstance(node, ir.Get):
            self.variables[node.variable] = None
            if node.variable not in self._set:
                self.unset.add(node.variable)
        elif isinstance(node, ir.Set):
            if node.value is not None:
                self._walk(node.value)
            self._assign(node.variable)
        elif isinstance(node, ir.If | ir.Choice):
            self._walk(node.condition)
            self._either(self._perhaps(node.yes), self._perhaps(node.no))
        elif isinstance(node, ir.Logical):
            self._walk(node.left)
            self._perhaps(node.right)
        elif isinstance(node, ir.MapHas):
            self._all((node.key,))
            if node.into is not None:
                self._assign(node.into, certain=False)
        elif isinstance(node, ir.MapSet | ir.Aggregate | ir.MapAdd):  # the key comes last
            self._all(value for name, value in node.__dict__.items() if name != "key")
            self._all((node.key,))
        elif isinstance(node, ir.While | ir.ForRange | ir.ForMap):
            self._loop(node)
        elif isinstance(node, ir.Inlined):
            self._inlined(node)
        elif isinstance(node, ir.Leave):
            self._leave()
        else:
            self._all(node.__dict__.values())

    def _loop(self, node: ir.While | ir.ForRange | ir.ForMap) -> None:
        if isinstance(node, ir.ForRange):
            self._all((node.first, node.last))
            self._assign(node.start)
        before, gone = self._set.copy(), self._gone
        self._loops += 1
        self.depth = max(self.depth, self._loops)
        if isinstance(node, ir.While):
            self._walk(node.condition)
        else:
            self.variables[node.variable] = None
            self._set.add(node.variable)
        self._all(node.body)
        self._loops -= 1
        self._set, self._gone = before, gone
