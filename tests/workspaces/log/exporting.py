"""Short ways to ask for an export, and to read it."""

import json
from typing import Any

from workspaces.access import ROLE_PERMISSIONS, Actor, ActorKind, Role
from workspaces.caller_access import Access
from workspaces.log.export import ExportForm, ExportStream, begin_export
from workspaces.models import Workspace


def access_of(workspace: Workspace, role: Role) -> Access:
    return Access(workspace, Actor("olga", ActorKind.PERSON), ROLE_PERMISSIONS[role], role)


def ask(file_format: str = "jsonl", **wanted: str) -> ExportForm:
    form = ExportForm({"format": file_format, **wanted})
    assert form.is_valid(), form.errors
    return form


def read(stream: ExportStream) -> str:
    try:
        return b"".join(stream).decode()
    finally:
        stream.close()


def read_lines(access: Access, **wanted: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the exported events, and the last line."""
    lines = [json.loads(line) for line in read(begin_export(access, ask(**wanted))).splitlines()]
    return lines[:-1], lines[-1]


def take(response: Any) -> bytes:
    """Read an answer to its end and close what it reads from, as a server does."""
    try:
        return b"".join(response)
    finally:
        for close in response._resource_closers:
            close()
