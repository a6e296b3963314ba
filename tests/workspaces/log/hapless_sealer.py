"""A process that seals, and waits between the insert and the commit: it is killed or stopped there.

`python -m tests.workspaces.log.hapless_sealer REACHED [SECONDS]`: makes the file REACHED when it is
there. After SECONDS without a word from it, the database gives it up.
"""

import sys
import time
from pathlib import Path

import django

WAIT_SECONDS = 120


def main(reached: Path, hung_after_seconds: int) -> None:
    """Seal, and never come to the end of it."""
    from workspaces.log import seal  # noqa: PLC0415  (models need Django to be set up)

    def wait_instead(progress: object, looked_at: int | None) -> None:
        reached.touch()
        time.sleep(WAIT_SECONDS)

    seal.HUNG_AFTER_SECONDS = hung_after_seconds
    # What is done last before the commit.
    seal._settle = wait_instead
    seal.seal_events()


if __name__ == "__main__":
    django.setup()
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60)
