"""Spans of traces: of a request that is answered, and of a call of the registry.

They cost nothing until `trace_with` is called: see packages_site/otlp.py.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol


class Span(Protocol):
    """Something that takes time, and that a trace shows."""

    def describe(
        self, attributes: Mapping[str, str | int], *, name: str = "", failed: bool = False
    ) -> None:
        """Say what it was; without a name it keeps that which it began with."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What tells the one that is called that their part belongs to it."""


class Tracing(Protocol):
    """What sends spans somewhere."""

    @contextmanager
    def serve(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """Answer a request, whose headers may say of which trace it is a part."""

    @contextmanager
    def call(self, name: str) -> Iterator[Span]:
        """Call another server."""


class _Untraced:
    """A span that no one sees."""

    headers: Mapping[str, str] = {}

    def describe(
        self, attributes: Mapping[str, str | int], *, name: str = "", failed: bool = False
    ) -> None:
        pass


class _Nowhere:
    """Sends no spans."""

    @contextmanager
    def serve(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        yield _UNTRACED

    @contextmanager
    def call(self, name: str) -> Iterator[Span]:
        yield _UNTRACED


_UNTRACED = _Untraced()
_tracing: Tracing = _Nowhere()


def trace_with(tracing: Tracing | None) -> None:
    """Send the spans of this process, from now on, by `tracing`; None: nowhere."""
    global _tracing  # noqa: PLW0603  (one a process, chosen when it starts)
    _tracing = tracing or _Nowhere()


def tracing() -> Tracing:
    """Return what sends the spans of this process."""
    return _tracing
