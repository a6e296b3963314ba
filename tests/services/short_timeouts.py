"""Production's application with shorter waits. It changes how long things take, and nothing else.

The environment says how long: SHORT_DEADLINE_SECONDS is for a call of the registry, and what is
measured by that in production is here, too.
"""

import os
import sys
from datetime import timedelta
from typing import Any

import packages_site.wsgi
from containers import writes
from containers.registry import client
from immutability import look, patience

DEADLINE_SECONDS = float(os.environ.get("SHORT_DEADLINE_SECONDS", "2"))
LEASE_SECONDS = 1.5 * DEADLINE_SECONDS
TAKE_OVER_SECONDS = DEADLINE_SECONDS / 4
WAIT_SECONDS = DEADLINE_SECONDS / 2
STRAY_SECONDS = float(os.environ.get("SHORT_STRAY_SECONDS", "900"))
UNREADABLE_SECONDS = STRAY_SECONDS / 3


def _change(owner: Any, name: str, value: Any) -> None:
    """Change a constant in its module, and in every other that has imported it."""
    old = getattr(owner, name)
    for module in list(sys.modules.values()):
        if getattr(module, name, None) is old:
            setattr(module, name, value)


client.RegistryClient.__init__.__defaults__ = (DEADLINE_SECONDS,)
_change(client, "UPSTREAM_DEADLINE_SECONDS", DEADLINE_SECONDS)
_change(writes, "WRITE_LEASE", timedelta(seconds=LEASE_SECONDS))
_change(writes, "TAKE_OVER_AFTER", timedelta(seconds=TAKE_OVER_SECONDS))
_change(writes, "STRAY_LIFE", timedelta(seconds=STRAY_SECONDS))
_change(look, "UNREADABLE_AFTER", timedelta(seconds=UNREADABLE_SECONDS))
_change(patience, "MAX_WAIT_SECONDS", WAIT_SECONDS)

application = packages_site.wsgi.application
