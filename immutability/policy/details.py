"""A policy as an event keeps it, and back: what was covered when follows from these events."""

from dataclasses import asdict, fields
from typing import Any

from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection

_FIELDS = frozenset(field.name for field in fields(Policy))
_PATTERNS = {"rules": PolicyRule, "exceptions": PolicyException}


def to_details(policy: Policy) -> dict[str, Any]:
    """Return a policy as JSON has it, whose lists are lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(policy).items()
    }


def from_details(details: dict[str, Any]) -> Policy:
    """Return the policy that an event keeps. What an older event does not have is the default."""
    kept: dict[str, Any] = {
        name: tuple(_PATTERNS[name](**each) for each in value) if name in _PATTERNS else value
        for name, value in details.items()
        if name in _FIELDS
    }
    return Policy(**{**kept, "protection": Protection(kept["protection"])})
