"""A process that seals, and waits between the insert and the commit: it is killed or stopped there.

`python -m tests.workspaces.log.hapless_sealer REACHED [SECONDS]`: makes the file REACHED when it is
there. After SECONDS without a word from it, the database gives it up.
"""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import django

WAIT_SECONDS = 120


def main(reached: Path, hung_after_seconds: int) -> None:
    """Seal, and never come to the end of it."""
    # Models need Django to be set up.
    from workspaces.log import seal  # noqa: PLC0415
    from workspaces.log.models import LockEvent  # noqa: PLC0415

    def insert_and_wait(events: Iterable[LockEvent]) -> int:
        sealed = insert(events)
        reached.touch()
        time.sleep(WAIT_SECONDS)
        return sealed

    insert, seal._seal = seal._seal, insert_and_wait
    seal.HUNG_AFTER_SECONDS = hung_after_seconds
    seal.seal_events()


if __name__ == "__main__":
    django.setup()
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60)
