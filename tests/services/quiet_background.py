"""Background work that costs next to nothing while nobody waits for it: see shared_site.py."""

from packages_site.schedule import SCHEDULE

# What is changed past the gate is found, and put back.
NEEDED = {"reconcile"}
for _name in SCHEDULE.keys() - NEEDED:
    del SCHEDULE[_name]
