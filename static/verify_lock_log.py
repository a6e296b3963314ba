#!/usr/bin/env python3
"""Verify an export of a Taglock lock log, away from the site that made it.

    python3 verify_lock_log.py acme-lock-log.jsonl --key VERIFIER_KEY --checkpoint OLDER.note

Needs Python 3.11 or newer and the package "cryptography", and nothing of Taglock. It reads the
export line by line, prints a line for every finding, and ends with status 0 where there is none,
1 where there is any, and 2 where it could not be used as it was called.

An export in JSON lines has a line for each event: the event's fields, its place ("sequence"), the
hash of its seal ("hash") and that of the one before ("previous_hash"). The last line is
{"checkpoint": "...", "verifier_key": "..."}. docs/lock-log.md of Taglock describes all of it.
"""

import argparse
import base64
import binascii
import hashlib
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit('This needs the package "cryptography": python3 -m pip install cryptography')

SEAL_DOMAIN = "taglock-seal-v1"
FIRST_PREVIOUS_HASH = "0" * 64
MAX_INTEGER = 2**53 - 1
MAX_LINE_BYTES = 1_000_000
# As long as a transaction may take that writes an event.
LATE_AFTER = timedelta(hours=1)

_FIELDS = """workspace sequence ref at kind repository tag digest other_digest actor actor_kind
rule_name rule_pattern settings_version reason details origin_hash hash previous_hash"""
FIELDS = frozenset(_FIELDS.split())
# What is printed of an export is checked to be plain: it may have been made to fool a terminal.
_REF = re.compile(r"[0-9A-Z]{1,12}")
_WORKSPACE = re.compile(r"[a-z0-9._-]{1,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class BadInputError(Exception):
    """Something is not what it has to be. One line says what."""


@dataclass(frozen=True)
class Checkpoint:
    """What a signed checkpoint says."""

    name: str
    workspace: str
    sequence: int
    hash: str
    time: datetime


@dataclass
class Progress:
    """How far the reading of an export is: the place and the hash that the next line follows."""

    sequence: int
    hash: str
    events: int = 0
    workspace: str = ""
    latest_at: datetime | None = None
    # Of events in a row that are long before that: the first one, its finding, the latest time.
    early_first: int = 0
    early_text: str = ""
    early_at: datetime | None = None
    is_ended: bool = False


# Signed notes: https://c2sp.org/signed-note


def read_key(text: str) -> tuple[str, bytes, bytes]:
    """Return name, ID and public key of a verifier key. Raises BadInputError."""
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    key = _decode(encoded)
    if not name.isprintable() or " " in name or not name or len(key) != 33 or key[0] != 1:
        raise BadInputError(f"{text[:80]!r} is not an Ed25519 verifier key: name+ID+key")
    if hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] != key_id:
        raise BadInputError(f"{text[:80]!r} is not a verifier key: its ID is not that of the key")
    return name, bytes.fromhex(key_id), key[1:]


def open_note(note: str, keys: list[tuple[str, bytes, bytes]], name: str) -> Checkpoint:
    """Return what a checkpoint says that one of `keys` has signed. Raises BadInputError."""
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise BadInputError(f"{name} is not a signed note")
    text += "\n"
    known = {(key_name, key_id): public for key_name, key_id, public in keys}
    is_signed = False
    for line in signatures.removesuffix("\n").split("\n"):
        dash, _, rest = line.partition(" ")
        key_name, _, encoded = rest.partition(" ")
        signed = _decode(encoded)
        if dash != "—" or len(signed) <= 4:
            raise BadInputError(f"{name} is not a signed note: a signature has another form")
        public = known.get((key_name, signed[:4]))
        if public is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signed[4:], text.encode())
        except InvalidSignature as error:
            raise BadInputError(f"{name}: the signature of {key_name} is false") from error
        is_signed = True
    if not is_signed:
        raise BadInputError(f"{name} is not signed by the key that is to be believed")
    return _read_statement(text, name)


def _read_statement(text: str, name: str) -> Checkpoint:
    match = re.fullmatch(
        r"([^\n]+)/([a-z0-9._-]+)/lock-log\n([1-9][0-9]{0,17})\n([A-Za-z0-9+/]{43}=)\ntime (.+)\n",
        text,
    )
    if match is None:
        raise BadInputError(f"{name} is signed, but it is not a checkpoint of a lock log")
    return Checkpoint(name, match[2], int(match[3]), _decode(match[4]).hex(), _read_time(match[5]))


def _read_time(text: str) -> datetime:
    try:
        if _AT.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass  # It has the form, and no such day exists.
    raise BadInputError("a time is not written as it has to be")


def _decode(text: str) -> bytes:
    """Return what base64 text encodes; nothing if it is not written as it should be."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if base64.b64encode(data).decode() == text else b""


# Canonical JSON: RFC 8785, of text, integers, booleans, null, lists and objects


def read_line(line: bytes) -> dict[str, Any]:
    """Return the object that a line is. Raises BadInputError."""
    if len(line) > MAX_LINE_BYTES:
        raise BadInputError(f"it is longer than {MAX_LINE_BYTES} bytes: what follows was not read")
    try:
        value = json.loads(
            line, object_pairs_hook=_without_doubles, parse_float=_refuse, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"it is not JSON that can be verified: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise BadInputError("it is not a JSON object")
    return value


def hash_event(event: dict[str, Any]) -> str:
    """Return the hash that the seal of an event has to have. Raises BadInputError."""
    document = {
        name: value for name, value in event.items() if name not in ("hash", "previous_hash")
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        data = f"{SEAL_DOMAIN}\n{event['previous_hash']}\n{text}".encode()
    except UnicodeEncodeError as error:
        raise BadInputError("it has half of a surrogate pair") from error
    return hashlib.sha256(data).hexdigest()


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    for key, value in pairs:
        if not key.isascii():
            raise ValueError("a key is not ASCII")
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise ValueError("a number is too large")
    return found


def _refuse(text: str) -> Any:
    raise ValueError(f"{text[:20]} is not an integer")


# The walk along the chain


def verify_export(
    lines: Iterator[bytes],
    progress: Progress,
    keys: list[tuple[str, bytes, bytes]],
    older: list[Checkpoint],
    *,
    is_filtered: bool,
) -> Iterator[str]:
    """Yield a line for every finding. `progress` says afterwards what was read.

    Without `keys`, the key that the export names is believed; it is added to them.
    """
    left = sorted(older, key=lambda each: (each.sequence, each.time))
    while left and left[0].sequence <= progress.sequence:
        each = left.pop(0)
        if (each.sequence, each.hash) != (progress.sequence, progress.hash):
            yield f"{each.name} is of event {each.sequence}, which this export does not show"
    for number, line in enumerate(lines, start=1):
        if progress.is_ended:
            yield f"line {number}: something follows the checkpoint, which is to be the last line"
            break
        try:
            value = read_line(line)
            if "checkpoint" in value:
                progress.is_ended = True
                last = _read_last_line(value, keys)
                yield from _check_end(last, progress, is_filtered=is_filtered)
            else:
                _check_form(value)
                yield from _follow(value, progress, is_filtered=is_filtered)
                yield from _check_checkpoints(value, progress, left, is_filtered=is_filtered)
        except BadInputError as error:
            yield f"line {number}: {error}"
    yield from _end_run(progress)
    if not progress.is_ended:
        yield "the export was cut off: the last line is to be a checkpoint"
    for each in left:
        yield f"{each.name} is of event {each.sequence}, which this export does not show"


def _check_form(event: dict[str, Any]) -> None:
    if event.keys() != FIELDS:
        odd = ", ".join(ascii(name) for name in sorted(event.keys() ^ FIELDS))[:200]
        raise BadInputError(f"it is not an event: these fields are missing, or are too many: {odd}")
    for name, form in (("workspace", _WORKSPACE), ("ref", _REF)):
        if not form.fullmatch(str(event[name])):
            raise BadInputError(f"it is no event: its {name} is not written as it has to be")
    if not all(_HASH.fullmatch(str(event[name])) for name in ("hash", "previous_hash")):
        raise BadInputError("it is no event: a hash is to be 64 hexadecimal digits")
    if type(event["sequence"]) is not int or event["sequence"] < 1:
        raise BadInputError("it is not an event: its sequence is not a positive number")
    _read_time(str(event["at"]))


def _follow(event: dict[str, Any], progress: Progress, *, is_filtered: bool) -> Iterator[str]:
    sequence, place = event["sequence"], f"event {event['sequence']} ({event['ref']})"
    if progress.workspace and event["workspace"] != progress.workspace:
        yield f"{place} is of another workspace: {event['workspace']}"
    progress.workspace = progress.workspace or event["workspace"]
    if sequence <= progress.sequence:
        yield f"{place} comes after event {progress.sequence}: doubled, or out of order"
    elif sequence == progress.sequence + 1:
        if event["previous_hash"] != progress.hash:
            yield f"{place} does not follow the event before it: its previous_hash is another"
    elif not is_filtered:
        yield (
            f"{progress.sequence + 1} to {sequence - 1}: these events are missing before {place}. "
            "A filtered export is verified with --filtered, and says nothing of what it leaves out"
        )
    if hash_event(event) != event["hash"]:
        yield f"{place} was changed: its hash is another"
    yield from _check_time(event, progress, f"{place} was inserted in the past: it says ")
    progress.sequence, progress.hash = sequence, event["hash"]
    progress.events += 1


def _check_time(event: dict[str, Any], progress: Progress, text: str) -> Iterator[str]:
    """Hold a time against those before. A clock that once was ahead makes a run, said once."""
    at = _read_time(event["at"])
    if progress.latest_at is None or at >= progress.latest_at - LATE_AFTER:
        yield from _end_run(progress)
        progress.latest_at = max(at, progress.latest_at or at)
        return
    if progress.early_at is None:
        progress.early_first, progress.early_text = event["sequence"], f"{text}{event['at']}"
    elif at < progress.early_at - LATE_AFTER:
        yield f"{text}{event['at']}"
    progress.early_at = max(at, progress.early_at or at)


def _end_run(progress: Progress) -> Iterator[str]:
    first, last = progress.early_first, progress.sequence
    if progress.early_at is not None:
        yield (
            progress.early_text
            if first == last
            else (
                f"events {first} to {last} have times more than an hour before what stands before "
                "them: the clock had been ahead and stepped back, or they were inserted in the past"
            )
        )
    progress.early_at = None


def _check_checkpoints(
    event: dict[str, Any], progress: Progress, left: list[Checkpoint], *, is_filtered: bool
) -> Iterator[str]:
    while left and left[0].sequence <= event["sequence"]:
        older = left.pop(0)
        if older.sequence < event["sequence"]:
            yield f"{older.name} is of event {older.sequence}, which this export does not show"
        elif older.workspace != event["workspace"]:
            yield f"{older.name} is of another workspace: {older.workspace}"
        elif older.hash != event["hash"]:
            yield f"the log was rewritten: {older.name} signs another hash of {older.sequence}"
        elif not is_filtered:
            progress.latest_at = max(older.time, progress.latest_at or older.time)


def _read_last_line(value: dict[str, Any], keys: list[tuple[str, bytes, bytes]]) -> Checkpoint:
    if not all(isinstance(value.get(name), str) for name in ("checkpoint", "verifier_key")):
        raise BadInputError("it is no last line: checkpoint and verifier_key are to be text")
    if not keys:
        keys.append(read_key(value["verifier_key"]))
    return open_note(value["checkpoint"], keys, "the checkpoint of the export")


def _check_end(last: Checkpoint, progress: Progress, *, is_filtered: bool) -> Iterator[str]:
    if progress.workspace and last.workspace != progress.workspace:
        yield f"{last.name} is of another workspace: {last.workspace}"
    if last.sequence < progress.sequence:
        yield f"{last.name} is of event {last.sequence}: those after it are signed by nobody"
    elif last.sequence == progress.sequence:
        if last.hash != progress.hash:
            yield f"{last.name} signs another hash of event {last.sequence}: it was rewritten"
    elif not is_filtered:
        missing = f"those behind event {progress.sequence} are missing"
        yield f"{last.name} is of event {last.sequence}: {missing}"


# The command line


def iterate_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of an export. Ends with a part of one that is longer than it may be."""
    line = b""
    while len(line) <= MAX_LINE_BYTES and (line := file.readline(MAX_LINE_BYTES + 1)):
        yield line


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Verify an export of a Taglock lock log.")
    parser.add_argument("export", help='the export in JSON lines; "-" for standard input')
    for name, metavar, text in (
        ("--key", "VERIFIER_KEY", "the verifier key that you were given, and not by this export"),
        ("--checkpoint", "FILE", "an older checkpoint that you kept, which the log continues"),
    ):
        more = f"{text}; several times too"
        parser.add_argument(name, action="append", default=[], metavar=metavar, help=more)
    parser.add_argument("--after", metavar="FILE", help="the export begins behind this checkpoint")
    parser.add_argument("--filtered", action="store_true", help="the export leaves events out")
    return parser.parse_args(arguments)


def _read_checkpoint(path: str, keys: list[tuple[str, bytes, bytes]]) -> Checkpoint:
    note = Path(path).read_bytes().decode()
    return open_note(note, keys, f"checkpoint {path}")


def main(arguments: list[str] | None = None) -> int:
    """Verify what the command line names; return the exit status."""
    options = _parse(arguments)
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")
    try:
        keys = [read_key(text) for text in options.key]
        if not keys and (options.checkpoint or options.after):
            raise BadInputError("--checkpoint and --after need --key: whose checkpoints are they?")
        older = [_read_checkpoint(path, keys) for path in options.checkpoint]
        progress = Progress(0, FIRST_PREVIOUS_HASH)
        if options.after:
            after = _read_checkpoint(options.after, keys)
            progress = Progress(
                after.sequence, after.hash, workspace=after.workspace, latest_at=after.time
            )
        findings = 0
        with sys.stdin.buffer if options.export == "-" else Path(options.export).open("rb") as file:
            lines = iterate_lines(file)
            for finding in verify_export(
                lines, progress, keys, older, is_filtered=options.filtered
            ):
                findings += 1
                out.write(f"{finding}\n")
    except (BadInputError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"verify_lock_log: {error}\n")
        return 2
    of = f" of {progress.workspace}" if progress.workspace else ""
    out.write(f"{findings} findings; {progress.events} events{of}.\n")
    if not options.key and keys:
        name, key_id, public = keys[0]
        shown = f"{name}+{key_id.hex()}+{base64.b64encode(bytes([1]) + public).decode()}"
        out.write(
            "The signature is that of the key which the export itself names. Anyone who could "
            f"forge the one could name the other: compare it, and give it with --key:\n{shown}\n"
        )
    if options.filtered:
        out.write(
            "Each of these events is as it was sealed if its hash is in the whole log. That none "
            "is missing, and that the hashes are in the log, only a whole export shows.\n"
        )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
