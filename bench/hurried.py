"""Production's application with shorter waits, so that a soak need not wait for minutes.

Gates, site and the soak itself import this, so all of them count with the same times. It changes
how long things take, and nothing else.
"""

import sys
from datetime import timedelta
from typing import Any

import packages_site.wsgi
from containers.registry import client
from immutability.actions import attempts, push_manifest

DEADLINE_SECONDS = 2.0
# What holds in production has to hold here: a call ends before its lease does, and nothing that
# chaos.py and wire.py do together keeps a write on its way for as long as the quarantine.
LEASE_SECONDS = 6.0
QUARANTINE_SECONDS = 30.0
HOLD_SECONDS = 3.0


def _change(owner: Any, name: str, value: Any) -> None:
    """Change a constant in its module, and in every other that has imported it."""
    old = getattr(owner, name)
    for module in list(sys.modules.values()):
        if getattr(module, name, None) is old:
            setattr(module, name, value)


client.RegistryClient.__init__.__defaults__ = (DEADLINE_SECONDS,)
_change(client, "UPSTREAM_DEADLINE_SECONDS", DEADLINE_SECONDS)
_change(attempts, "ATTEMPT_LEASE", timedelta(seconds=LEASE_SECONDS))
_change(attempts, "QUARANTINE", timedelta(seconds=QUARANTINE_SECONDS))
_change(push_manifest, "HOLD_SECONDS", HOLD_SECONDS)

application = packages_site.wsgi.application
