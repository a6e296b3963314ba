"""Exports to be tampered with, and the verifier, run as a process."""

import base64
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workspaces.log.canonical import (
    FIRST_PREVIOUS_HASH,
    hash_document,
    to_document,
)
from workspaces.log.keys import read_signing_key, verifier_key
from workspaces.log.models import EventSeal

SCRIPT = Path(__file__).resolve().parent.parent.parent / "static" / "verify_lock_log.py"


@dataclass
class Result:
    """How the verifier ended: its status, the lines of its findings, and what else it said."""

    status: int
    findings: list[str]
    said: str


@dataclass
class Export:
    """An export, to be tampered with: its lines, and the checkpoint that ends it."""

    folder: Path
    events: list[dict[str, Any]]
    note: str
    key: str
    files: int = field(default=0)

    def keep(self, note: str) -> str:
        """Keep a checkpoint in a file; return its path."""
        self.files += 1
        path = self.folder / f"kept-{self.files}.note"
        path.write_text(note)
        return str(path)

    def verify(self, *options: str, is_pinned: bool = True) -> Result:
        """Write the export as it is now, and verify it."""
        lines = [*self.events, {"checkpoint": self.note, "verifier_key": self.key}]
        return self.verify_text(
            "".join(f"{json.dumps(line)}\n" for line in lines), *options, is_pinned=is_pinned
        )

    def verify_text(self, text: str, *options: str, is_pinned: bool = True) -> Result:
        path = self.folder / "export.jsonl"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        key = ["--key", verifier_key()] if is_pinned else []
        return run(str(path), *key, *options)


def run(*arguments: str) -> Result:
    done = subprocess.run(
        # Isolated: neither the current folder nor the environment lends it a module.
        [sys.executable, "-I", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    summary = next((n for n, line in enumerate(lines) if " findings; " in line), len(lines))
    return Result(done.returncode, lines[:summary], "\n".join(lines[summary:]) + done.stderr)


def read_lines(slug: str = "acme") -> list[dict[str, Any]]:
    """Return the lines of the whole log, as an export has them."""
    lines = []
    previous = FIRST_PREVIOUS_HASH
    seals = EventSeal.objects.filter(workspace=slug).order_by("sequence").select_related("event")
    for seal in seals:
        document = to_document(seal.event, seal.sequence)
        lines.append({**document, "hash": seal.hash, "previous_hash": previous})
        previous = seal.hash
    return lines


def chain_anew(export: Export) -> None:
    """Compute every hash of an export anew, as who forges one does."""
    previous = FIRST_PREVIOUS_HASH
    for event in export.events:
        document = {name: event[name] for name in event if name not in ("hash", "previous_hash")}
        event["previous_hash"] = previous
        event["hash"] = previous = hash_document(previous, document)


def sign_anew(export: Export, signer: Any = None) -> None:
    """Sign a checkpoint of the export as it is now."""
    lines = export.note.split("\n")
    head = bytes.fromhex(export.events[-1]["hash"])
    encoded = base64.b64encode(head).decode()
    text = f"{lines[0]}\n{len(export.events)}\n{encoded}\n{lines[3]}\n"
    export.note = (signer or read_signing_key()).sign(text)
