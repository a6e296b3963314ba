"""A policy as an event keeps it, and back: what was covered when follows from these events."""

from dataclasses import asdict, fields
from typing import Any

from immutability.policy.protection import Policy, PolicyRule, Protection

_FIELDS = frozenset(field.name for field in fields(Policy))


def to_details(policy: Policy) -> dict[str, Any]:
    """Return a policy as JSON has it, whose lists are lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(policy).items()
    }


def from_details(details: dict[str, Any]) -> Policy:
    """Return the policy that an event keeps. What an older event does not have is the default."""
    kept: dict[str, Any] = {
        name: tuple(PolicyRule(**rule) for rule in value) if isinstance(value, list) else value
        for name, value in details.items()
        if name in _FIELDS
    }
    return Policy(**{**kept, "protection": Protection(kept["protection"])})
