"""Processor time of processes and of all that they have started, as proc(5) tells it."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """A process, its parent, and the clock ticks that it has used.

    The ticks are those of all its threads, in user and kernel mode, and those of its children that
    have ended.
    """

    pid: int
    parent: int
    ticks: int


def parse_stat(text: str) -> Stat:
    """Parse a line of /proc/<pid>/stat."""
    # The name in brackets may itself have blanks and brackets; nothing behind it has.
    before, _, rest = text.rpartition(")")
    fields = rest.split()
    # utime, stime, cutime and cstime are the fields 14 to 17 of the line, and rest begins with 3.
    return Stat(int(before.partition(" ")[0]), int(fields[1]), sum(map(int, fields[11:15])))


def add_up(stats: Iterable[Stat], root: int) -> int:
    """Return the ticks of a process and all its descendants."""
    children: dict[int, list[Stat]] = {}
    ticks = 0
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat)
        if stat.pid == root:
            ticks = stat.ticks
    return ticks + sum(_add_up_below(children, root))


def _add_up_below(children: Mapping[int, list[Stat]], parent: int) -> Iterable[int]:
    for stat in children.get(parent, ()):
        yield stat.ticks
        yield from _add_up_below(children, stat.pid)


def read_processor_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """Return the processor seconds that each process and its descendants have used so far."""
    stats = list(_read_stats())
    return {name: add_up(stats, pid) / _TICKS_PER_SECOND for name, pid in roots.items()}


def find_parent(pid: int) -> int:
    """Return the parent of a running process."""
    return parse_stat(Path(f"/proc/{pid}/stat").read_text()).parent


def _read_stats() -> Iterable[Stat]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        # It may end while this looks.
        with suppress(FileNotFoundError, ProcessLookupError):
            yield parse_stat(path.read_text())
