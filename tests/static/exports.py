"""Exports to be tampered with, and the verifier: as a process of its own, or within this one."""

import base64
import io
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
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

    @property
    def path(self) -> str:
        """The file that it was last written to."""
        return str(self.folder / "export.jsonl")

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
        Path(self.path).write_bytes(text.encode("utf-8", "surrogatepass"))
        key = ["--key", verifier_key()] if is_pinned else []
        return run(self.path, *key, *options)


def run(*arguments: str) -> Result:
    """Call the verifier within this process, which takes a twentieth of the time."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        try:
            status = _read_main()(list(arguments))
        except SystemExit as end:
            status = int(end.code or 0)
    return _read_result(status, out.getvalue(), error.getvalue())


def run_as_downloaded(*arguments: str, stdin: str = "") -> Result:
    """Run the verifier as a process: neither folder nor environment lends it a module."""
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return _read_result(done.returncode, done.stdout, done.stderr)


@cache
def _read_main() -> Callable[[list[str]], int]:
    main: Callable[[list[str]], int] = runpy.run_path(str(SCRIPT))["main"]
    return main


def _read_result(status: int, out: str, error: str) -> Result:
    lines = out.splitlines()
    summary = next((n for n, line in enumerate(lines) if " findings; " in line), len(lines))
    return Result(status, lines[:summary], "\n".join(lines[summary:]) + error)


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
    """Compute every hash of an export again, as a forger does."""
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
