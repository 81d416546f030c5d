"""What can go wrong with the input, as values: files, syntax, suppressions and settings."""

from __future__ import annotations

from dataclasses import dataclass

from relucheck.span import Span


@dataclass(frozen=True, slots=True)
class Problem:
    """A file or folder that could not be read, and what to do about it.

    ``fatal`` problems make the exit status 2; the others are only said.
    """

    path: str
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SyntaxProblem(Exception):  # noqa: N818 - it is a place in the user's file, not our error
    """Text that is not Python, at the place where the parser gave up."""

    def __init__(self, span: Span, message: str) -> None:
        super().__init__(f"{span}: {message}")
        self.span = span
        self.message = message


@dataclass(frozen=True, slots=True)
class UnusedSuppression:
    """A suppression comment, or some of its codes, that nothing needs.

    ``idle`` are the codes that are not needed; ``whole``: the comment is none of any use.
    """

    span: Span
    message: str
    idle: tuple[str, ...] = ()
    whole: bool = False


class UsageProblem(Exception):  # noqa: N818 - what the user asked for, not our error
    """Options or settings that cannot be followed; the message says where and what to do."""
