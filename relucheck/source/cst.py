"""A document's concrete syntax tree (libcst), in which the nodes of a fix are found by their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from relucheck.source.files import Document
from relucheck.source.parse import could_overflow
from relucheck.source.splices import CannotEdit, Rows
from relucheck.span import Span

if TYPE_CHECKING:
    import libcst as cst
    from libcst.metadata import CodeRange

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of a document's text; ``ranges`` are offsets, without a node's own parentheses."""

    document: Document
    rows: Rows
    module: cst.Module
    ranges: Callable[[cst.CSTNode], Range]
    parents: Mapping[cst.CSTNode, cst.CSTNode]
    expressions: Mapping[Range, cst.BaseExpression]

    @property
    def text(self) -> str:
        return self.document.text

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """The node that holds a node."""
        return self.parents[node]

    def source(self, node: cst.CSTNode) -> str:
        """The text of a node."""
        start, end = self.ranges(node)
        return self.text[start:end]

    def outer(self, node: cst.BaseExpression) -> Range:
        """The range of an expression with its own parentheses."""
        start, end = self.ranges(node)
        if node.lpar:
            start = self.ranges(node.lpar[0])[0]
        if node.rpar:
            end = self.ranges(node.rpar[-1])[1]
        return start, end

    def expression(self, span: Span) -> cst.BaseExpression:
        """The expression at a place that the reader named."""
        node = self.expressions.get(self.range_of(span))
        if node is None:
            raise CannotEdit("no expression starts and ends at this place")
        return node

    def call(self, span: Span) -> cst.Call:
        """The call at a place that the reader named."""
        import libcst as cst

        node = self.expression(span)
        if not isinstance(node, cst.Call):
            raise CannotEdit("this place holds no call")
        return node

    def range_of(self, span: Span) -> Range:
        """The offsets of a place."""
        before = next((c.first_row - 1 for c in self.document.cells if c.position == span.cell), 0)
        try:
            return (
                self.rows.offset(span.row + before, span.column - 1),
                self.rows.offset(span.end_row + before, span.end_column - 1),
            )
        except IndexError:
            raise CannotEdit("the file has no such line") from None

    def row_start(self, offset: int) -> int:
        """The offset at which the row of an offset starts."""
        return self.text.rfind("\n", 0, offset) + 1

    def row_end(self, offset: int) -> int:
        """The offset of the line end behind an offset."""
        end = self.text.find("\n", offset)
        return len(self.text) if end < 0 else end

    def leads(self, offset: int) -> bool:
        """Whether nothing but space stands before an offset in its row."""
        return not self.text[self.row_start(offset) : offset].strip()

    def indent(self, offset: int) -> str:
        """What stands before an offset that leads its row."""
        return self.text[self.row_start(offset) : offset]


def tree_of(document: Document) -> Tree:
    """The tree of a document; CannotEdit where libcst does not take it."""
    import libcst as cst
    from libcst.metadata import ParentNodeProvider, PositionProvider

    if could_overflow(document.text):
        raise CannotEdit(_TOO_DEEP)
    try:
        module, found = _parsed(document.text)
    except RecursionError:  # libcst walks a tree with its own recursion, of which an elif is a level too
        raise CannotEdit(_TOO_DEEP) from None
    except cst.ParserSyntaxError:
        raise CannotEdit("libcst, which makes the edits, does not know this file's syntax") from None
    positions = cast("Mapping[cst.CSTNode, CodeRange]", found[PositionProvider])
    parents = cast("Mapping[cst.CSTNode, cst.CSTNode]", found[ParentNodeProvider])
    rows = Rows.of(document.lines)

    def ranges(node: cst.CSTNode) -> Range:
        place = positions[node]
        return rows.offset(place.start.line, place.start.column), rows.offset(
            place.end.line, place.end.column
        )

    expressions = {ranges(node): node for node in positions if isinstance(node, cst.BaseExpression)}
    return Tree(document, rows, module, ranges, parents, expressions)


_TOO_DEEP = "the file is nested too deeply to be edited"


def _parsed(text: str) -> tuple[cst.Module, Mapping[Any, Any]]:
    """The tree of a text with its positions and parents."""
    import libcst as cst
    from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider

    module = cst.parse_module(text)
    if module.code != text:
        raise CannotEdit("libcst, which makes the edits, does not keep this file as it is")
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    return module, wrapper.resolve_many([PositionProvider, ParentNodeProvider])


def dotted(node: cst.BaseExpression) -> str:
    """The dotted name that an expression spells, empty where it is no name."""
    import libcst as cst

    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr.value}" if base else ""
    return ""


def last_name(call: cst.Call) -> str:
    """The last name of what is called: ``Sequential`` of ``nn.Sequential(...)``."""
    import libcst as cst

    if isinstance(call.func, cst.Attribute):
        return call.func.attr.value
    return call.func.value if isinstance(call.func, cst.Name) else ""


def has_comma(item: cst.Arg | cst.BaseElement) -> bool:
    """Whether a comma follows an argument or element."""
    import libcst as cst

    return isinstance(item.comma, cst.Comma)


def is_call(node: cst.CSTNode) -> TypeGuard[cst.Call]:
    """Whether a node is a call."""
    import libcst as cst

    return isinstance(node, cst.Call)


def plain(args: Sequence[cst.Arg]) -> bool:
    """Whether no argument is starred, so that positions and names are known."""
    return not any(arg.star for arg in args)
