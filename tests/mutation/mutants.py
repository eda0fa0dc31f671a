"""The mutants of a module: by mutmut's operators, and by some for whole statements.

Nothing else of mutmut is used. Its own runner knows a mutant by the path of its file,
which is not the name that the folders at the root install under, and it leaves out
what stands outside functions and in decorated ones.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

# An argument of another type is all that could be made of the first two. The others are
# for the type check: nothing that runs hangs on them.
_CALLS_LEFT_ALONE = {"isinstance", "len", "assert_never", "TypeVar", "cast"}


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        line: Where the change begins, from 1.
        within: The class and function around it, with dots; empty outside.
        was: The lines that are changed, without the space around each.
        now: What stands in their place.
        source: The module whole.
    """

    line: int
    within: str
    was: str
    now: str
    source: str


def mutants_of(source: str) -> Iterator[Mutant]:
    """Make every mutant of a module that compiles, from its first line to its last."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    places = _Places()
    wrapper.visit(places)
    seen = {source}
    for node, changed, within, line in places.changes:
        tree = wrapper.module.deep_replace(node, changed)
        if not isinstance(tree, cst.Module) or tree.code in seen:
            continue
        seen.add(tree.code)
        try:
            compile(tree.code, "mutant", "exec")
        except SyntaxError:
            continue
        yield Mutant(line, within, *lines_changed(source, tree.code), tree.code)


def lines_changed(before: str, after: str) -> tuple[str, str]:
    """Return the lines of a module that a change takes, and what it puts there."""
    old, new = before.splitlines(), after.splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = [block for block in blocks if block[0] != "equal"]
    first, last = changed[0], changed[-1]
    return (
        "\n".join(line.strip() for line in old[first[1] : last[2]]),
        "\n".join(line.strip() for line in new[first[3] : last[4]]),
    )


class _Places(cst.CSTVisitor):
    """Collect the changes: a node, what to put there, around it what, and its line."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[cst.CSTNode, cst.CSTNode, str, int]] = []
        self._within: list[str] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _is_left_alone(node):
            return False
        for kind, operator in (*mutation_operators, *_STATEMENTS):
            if isinstance(node, kind):
                for changed in operator(node):
                    self._add(node, changed)
        if isinstance(node, cst.ClassDef | cst.FunctionDef):
            self._within.append(node.name.value)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.ClassDef | cst.FunctionDef):
            self._within.pop()

    def _add(self, node: cst.CSTNode, changed: cst.CSTNode) -> None:
        position = self.get_metadata(PositionProvider, node, None)
        line = position.start.line if position else 0
        if not _is_prose(node) and not _drops_the_unreachable(node, changed):
            self.changes.append((node, changed, ".".join(self._within), line))


def _is_left_alone(node: cst.CSTNode) -> bool:
    """Say whether nothing in a node is mutated: types, names imported, decorators."""
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
        return True
    return (
        isinstance(node, cst.Call)
        and isinstance(node.func, cst.Name)
        and node.func.value in _CALLS_LEFT_ALONE
    )


def _is_prose(node: cst.CSTNode) -> bool:
    """Say whether a node is text for people: how that is worded is no behaviour."""
    return isinstance(node, cst.SimpleString) and " " in str(node.evaluated_value)


def _drops_the_unreachable(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    """Say whether a change drops the case that the type check proves to be none."""
    if not (isinstance(node, cst.Match) and isinstance(changed, cst.Match)):
        return False
    (dropped,) = [case for case in node.cases if case not in changed.cases]
    return "assert_never(" in cst.Module([]).code_for_node(dropped)


def _not(test: cst.BaseExpression) -> cst.BaseExpression:
    inner = test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    return cst.UnaryOperation(cst.Not(), inner)


def _negated(node: cst.If | cst.While | cst.IfExp) -> Iterable[cst.CSTNode]:
    """Turn round a condition that has no operator for mutmut to change."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call | cst.NamedExpr):
        yield node.with_changes(test=_not(node.test))


def _dropped(node: cst.Expr | cst.Raise) -> Iterable[cst.CSTNode]:
    """Leave out a call whose answer nobody takes, or a refusal."""
    if isinstance(node, cst.Raise) or not (
        isinstance(node.value, cst.BaseString | cst.Yield) or _is_left_alone(node.value)
    ):
        yield cst.Pass()


def _emptied(node: cst.Return) -> Iterable[cst.CSTNode]:
    """Return nothing."""
    if node.value is not None and not (
        isinstance(node.value, cst.Name) and node.value.value == "None"
    ):
        yield node.with_changes(value=cst.Name("None"))


_STATEMENTS: tuple[tuple[Any, Callable[[Any], Iterable[cst.CSTNode]]], ...] = (
    (cst.If, _negated),
    (cst.While, _negated),
    (cst.IfExp, _negated),
    (cst.Expr, _dropped),
    (cst.Raise, _dropped),
    (cst.Return, _emptied),
)
