"""What may have happened to a tag before a registry asks about it."""

from datetime import datetime, timedelta

from containers.writes import STRAY_LIFE
from immutability.policy.protection import PolicyRule, Protection
from tests.immutability.checks import Checks
from tests.immutability.core import named
from tests.immutability.registry_double import NO_ANSWER, image

ONE, TWO = (named(name, image(name)) for name in ("one", "two"))
V_TAGS = PolicyRule("v", "^v")


def nothing(checks: Checks) -> None:
    pass


def there(checks: Checks) -> None:
    checks.write("v1", image=ONE)


def locked(checks: Checks) -> None:
    assert checks.core.push("v1", image=ONE) == "201"


def locked_by_a_check(checks: Checks) -> None:
    assert checks.push("v1", image=ONE) == "locked_now"


def released(checks: Checks) -> None:
    locked(checks)
    checks.core.release()


def reserved(checks: Checks) -> None:
    locked(checks)
    assert checks.core.delete("v1", is_admin=True) == "202"


def uncovered(checks: Checks) -> None:
    checks.core.protect(Protection.NONE)


def suspended(checks: Checks) -> None:
    locked(checks)
    uncovered(checks)


def claimed_and_left(checks: Checks) -> None:
    checks.core.registry.script("PUT v1", NO_ANSWER)
    assert checks.core.push("v1", image=ONE) == "503"


def stray_from_before_the_protection(checks: Checks) -> None:
    uncovered(checks)
    claimed_and_left(checks)
    checks.core.protect()


def begun(checks: Checks) -> None:
    checks.begin("v1", image=ONE)


def being_deleted(checks: Checks) -> None:
    locked(checks)
    checks.core.registry.script("DELETE v1", NO_ANSWER)
    assert checks.core.delete("v1", is_admin=True) == "503"


def deleted_by_digest(checks: Checks) -> None:
    checks.write(image=ONE)
    checks.core.registry.script("DELETE", NO_ANSWER)
    assert checks.core.delete(ONE) == "503"


def over_at(sent_by: datetime) -> datetime:
    """Return the end of the minute in which a write that was sent by then is over."""
    return (sent_by + STRAY_LIFE).replace(second=0, microsecond=0) + timedelta(minutes=1)
