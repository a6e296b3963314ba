"""Where a test and a request that waits at a named fault point find each other: two files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.parts import wait_until


@dataclass(frozen=True)
class Meeting:
    """`reached` says that the request waits; `leave` lets it go on."""

    reached: Path
    leave: Path

    def wait_until_reached(self) -> None:
        """Wait until the request is there."""
        wait_until(self.reached.exists)

    def let_go(self) -> None:
        """Let it go on."""
        self.leave.touch()


def find_meeting(folder: Path, point: str) -> Meeting:
    """Return the meeting at this point, below the data folder of the request's process."""
    name = point.replace(" ", "-").replace("'", "")
    return Meeting(folder / f"{name}.reached", folder / f"{name}.leave")


@contextmanager
def new_meeting(folder: Path, point: str) -> Iterator[Meeting]:
    """Yield the meeting with the one request that is sent with the fault "wait" there.

    However it ends, the request goes on.
    """
    meeting = find_meeting(folder, point)
    for path in (meeting.reached, meeting.leave):
        path.unlink(missing_ok=True)
    try:
        yield meeting
    finally:
        meeting.let_go()
