"""Production's application with shorter waits, so that a soak need not wait for minutes.

Gates, site and the soak itself import this, so all of them count with the same times.
"""

import os

# What holds in production has to hold here: nothing that chaos.py and wire.py do together keeps a
# write on its way for as long as a stray lives.
os.environ.setdefault("SHORT_DEADLINE_SECONDS", "2")
os.environ.setdefault("SHORT_STRAY_SECONDS", "30")

from tests.services.short_timeouts import (
    DEADLINE_SECONDS,
    LEASE_SECONDS,
    STRAY_SECONDS,
    application,
)

__all__ = ["DEADLINE_SECONDS", "LEASE_SECONDS", "STRAY_SECONDS", "application"]
