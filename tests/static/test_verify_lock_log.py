"""The verifier that anyone can download: it needs no Taglock, and finds what was changed."""

import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from rest_framework.test import APIClient

from tests.static.exports import (
    SCRIPT,
    Export,
    chain_anew,
    run,
    run_as_downloaded,
    sign_anew,
)
from tests.workspaces.log.conftest import Write
from workspaces.access import Scope
from workspaces.log.canonical import (
    canonical_json,
)
from workspaces.log.checkpoints import make_checkpoint
from workspaces.log.keys import rotate_key, verifier_key
from workspaces.log.models import LockEvent
from workspaces.log.notes import make_signing_key
from workspaces.models import Workspace

FIELDS = sorted({field.name for field in LockEvent._meta.concrete_fields} - {"id"})


def test_it_works_as_a_process_of_its_own(export: Export) -> None:
    export.verify()
    for arguments, stdin in ((export.path, ""), ("-", Path(export.path).read_text())):
        result = run_as_downloaded(arguments, "--key", export.key, stdin=stdin)
        assert (result.status, result.findings) == (0, [])
        assert result.said == "0 findings; 5 events of acme."
    export.events[2]["tag"] = "v9"
    export.verify()
    result = run_as_downloaded(export.path, "--key", export.key)
    assert (result.status, "event 3" in result.findings[0]) == (1, True)
    assert run_as_downloaded("--nonsense").status == 2


def test_a_whole_export_has_no_findings(export: Export) -> None:
    result = export.verify()
    assert (result.status, result.findings) == (0, [])
    assert result.said == "0 findings; 5 events of acme."


def test_the_lines_may_be_written_canonically_or_not(export: Export) -> None:
    last = {"checkpoint": export.note, "verifier_key": export.key}
    text = "".join(f"{canonical_json(line)}\n" for line in [*export.events, last])
    assert export.verify_text(text).status == 0


def test_without_a_key_of_ones_own_it_says_what_that_means(export: Export) -> None:
    result = export.verify(is_pinned=False)
    assert result.status == 0
    assert "the key which the export itself names" in result.said
    assert export.key in result.said


def test_an_altered_field_is_found(export: Export) -> None:
    event = export.events[2]
    for name in FIELDS:
        export.events[2] = event | {name: _alter(name, event[name])}
        assert export.events[2] != event, name
        result = export.verify()
        assert result.status == 1, name
        assert any("event 3" in each for each in result.findings), (name, result)


def _alter(name: str, value: Any) -> object:
    """Return another value of a field, which could be one."""
    if name == "details":
        return {"number": 7}
    if name == "settings_version":
        return 9
    if name == "at":
        return str(value.replace("Z", "1Z").replace(".", ".0")[:26] + "Z")
    return "0" * len(value) if name in ("ref", "origin_hash") else f"{value}x"


def test_a_missing_line_is_found_wherever_it_was(export: Export) -> None:
    lines = list(export.events)
    for index, finding in ((0, "1 to 1: "), (2, "3 to 3: "), (4, "those behind event 4 are")):
        export.events = lines[:index] + lines[index + 1 :]
        result = export.verify()
        assert result.status == 1
        assert any(finding in each for each in result.findings)


def test_doubled_and_swapped_lines_are_found(export: Export) -> None:
    lines = list(export.events)
    export.events = [*lines[:3], lines[2], *lines[3:]]
    assert any("doubled, or out of order" in each for each in export.verify().findings)
    export.events = [lines[1], lines[0], *lines[2:]]
    assert export.verify().status == 1


def test_an_export_that_was_cut_off_is_found(export: Export) -> None:
    text = "".join(f"{json.dumps(line)}\n" for line in export.events)
    result = export.verify_text(text)
    assert (result.status, result.findings) == (
        1,
        ["the export was cut off: the last line is to be a checkpoint"],
    )
    assert export.verify_text("").status == 1
    half = export.verify_text(text[:-20])
    assert (half.status, half.findings[0].split(":")[0]) == (1, "line 5")


def test_something_behind_the_checkpoint_is_found(export: Export) -> None:
    last = {"checkpoint": export.note, "verifier_key": export.key}
    lines = [*export.events, last, export.events[0]]
    result = export.verify_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert any("something follows the checkpoint" in each for each in result.findings)


# Forged as a whole.


def test_a_forged_export_is_found_by_its_checkpoint(export: Export) -> None:
    export.events[1]["actor"] = "mallory"
    chain_anew(export)
    assert export.verify().findings == [
        "the checkpoint of the export signs another hash of event 5: it was rewritten"
    ]


def test_a_forged_export_with_a_key_of_its_own_is_found_by_who_pins_the_key(
    export: Export,
) -> None:
    forged = make_signing_key("tags.example.org")
    export.events[1]["actor"] = "mallory"
    chain_anew(export)
    sign_anew(export, forged)
    export.key = str(forged.verifier)
    assert export.verify(is_pinned=False).status == 0
    (finding,) = export.verify().findings
    assert finding.endswith("is not signed by the key that is to be believed")


def test_a_forged_export_of_who_has_the_key_is_found_by_an_older_checkpoint(
    export: Export,
) -> None:
    kept = export.keep(export.note)
    export.events[1]["actor"] = "mallory"
    chain_anew(export)
    sign_anew(export)
    assert export.verify().status == 0
    assert export.verify("--checkpoint", kept).findings == [
        f"the log was rewritten: checkpoint {kept} signs another hash of 5"
    ]


def test_an_older_checkpoint_is_a_beginning_of_todays_log(
    export: Export, write: Write, make_export: Callable[[], Export]
) -> None:
    kept = export.keep(export.note)
    write(3)
    later = make_export()
    assert later.verify("--checkpoint", kept, "--checkpoint", kept).status == 0
    # And today's is none of the older log, which was cut off.
    newer = export.keep(later.note)
    (finding,) = export.verify("--checkpoint", newer).findings
    assert finding == f"checkpoint {newer} is of event 8, which this export does not show"


def test_a_checkpoint_of_a_former_key_can_be_believed_too(
    export: Export, make_export: Callable[[], Export]
) -> None:
    kept, former = export.keep(export.note), export.key
    rotate_key()
    later = make_export()
    assert later.verify("--checkpoint", kept, "--key", former).status == 0
    result = later.verify("--checkpoint", kept)
    assert result.status == 2
    assert "is not signed by the key that is to be believed" in result.said


# Parts of the log.


def test_an_export_may_begin_behind_a_checkpoint(
    export: Export, write: Write, make_export: Callable[[], Export]
) -> None:
    kept = export.keep(export.note)
    write(3)
    later = make_export()
    later.events = later.events[5:]
    assert later.verify("--after", kept, "--checkpoint", kept).status == 0
    assert later.verify().findings[0].startswith("1 to 5: these events are missing before event 6")
    later.events[0]["previous_hash"] = "0" * 64
    assert any("does not follow" in each for each in later.verify("--after", kept).findings)
    later.events = later.events[1:]
    assert any("6 to 6: " in each for each in later.verify("--after", kept).findings)


def test_a_filtered_export_is_verified_event_by_event(export: Export) -> None:
    export.events = [export.events[1], export.events[4]]
    result = export.verify("--filtered")
    assert result.status == 0
    assert "only a whole export shows" in result.said
    assert "A filtered export is verified with --filtered" in export.verify().findings[0]
    export.events[0]["tag"] = "v9"
    (finding,) = export.verify("--filtered").findings
    assert finding.endswith("was changed: its hash is another")


def test_a_filtered_export_without_events_is_none_of_nobody(export: Export) -> None:
    export.events = []
    result = export.verify("--filtered")
    assert (result.status, result.said.split("\n")[0]) == (0, "0 findings; 0 events.")
    assert export.verify().status == 1


# What it is not to be fooled, stopped or spoilt by.


MADE_TO_FOOL = [
    ('"settings_version": 3', '"settings_version": 3.0'),
    ('"settings_version": 3', '"settings_version": NaN'),
    ('"settings_version": 3', f'"settings_version": {2**53}'),
    ('"settings_version": 3', '"settings_version": 4, "settings_version": 3'),
    ('"settings_version": 3', '"settings_version": 3, "more": 1'),
    ('"settings_version": 3', f'"settings_version": {"9" * 5000}'),
    ('"settings_version": 3', f'"settings_version": {"[" * 100_000}'),
    ('"sequence": 3', '"sequence": "3"'),
    ('"sequence": 3', '"sequence": true'),
    ('"sequence": 3', '"sequence": 0'),
    ('"tag": "v2"', '"tag": "\\ud800"'),
    ('"tag": "v2"', '"t\\u001b[31m": "v2"'),
    ('"workspace": "acme"', '"workspace": "\\u001b[31m"'),
    ('"workspace": "acme"', '"workspace": "globex"'),
    ('"at": "20', '"at": "99'),
    ("-", "-9"),
]


def test_a_line_that_was_made_to_fool_is_a_finding(export: Export) -> None:
    lines = [json.dumps(line) for line in export.events]
    lines.append(json.dumps({"checkpoint": export.note, "verifier_key": export.key}))
    for old, new in MADE_TO_FOOL:
        assert old in lines[2], old
        fooling = [*lines[:2], lines[2].replace(old, new, 1), *lines[3:]]
        result = export.verify_text("\n".join(fooling) + "\n")
        assert result.status == 1, new[:99]
        assert result.findings, new[:99]
        assert all(line.isprintable() for line in result.findings), new[:99]


NO_CHECKPOINTS = [
    "{}",
    "[]",
    "no json",
    '{"checkpoint": 1, "verifier_key": ""}',
    '{"checkpoint": "", "verifier_key": ""}',
    '{"checkpoint": "x\\n\\n\\u2014 a b\\n", "verifier_key": "a+b+c"}',
    '{"checkpoint": "x", "verifier_key": "\\u001b[31m+00000000+AA=="}',
]


def test_a_last_line_that_is_no_checkpoint_is_a_finding(export: Export) -> None:
    text = "".join(f"{json.dumps(line)}\n" for line in export.events)
    for last, is_pinned in product(NO_CHECKPOINTS, (True, False)):
        result = export.verify_text(f"{text}{last}\n", is_pinned=is_pinned)
        assert result.status == 1, (last, is_pinned)
        assert all(line.isprintable() for line in result.findings), (last, is_pinned)


def alter(note: str, old: str, new: str) -> str:
    assert old in note
    return note.replace(old, new, 1)


def test_an_altered_checkpoint_is_found(export: Export) -> None:
    note = export.note
    for old, new in (
        ("\n5\n", "\n4\n"),
        ("acme", "globex"),
        ("time 20", "time 21"),
        ("\n\n", "\n"),
        ("— ", "-- "),
        ("\n5\n", "\n5\n\n"),
    ):
        export.note = alter(note, old, new)
        assert export.verify().status == 1, (old, new)


def test_a_checkpoint_without_its_last_newline_is_found(export: Export) -> None:
    export.note = export.note.removesuffix("\n")
    assert export.verify().status == 1


def test_a_checkpoint_of_another_workspace_is_found(export: Export, write: Write) -> None:
    write(5, "globex")
    other = make_checkpoint("globex")
    assert other is not None
    kept = export.keep(other.note)
    (finding,) = export.verify("--checkpoint", kept).findings
    assert finding == f"checkpoint {kept} is of another workspace: globex"
    export.note = other.note
    assert any("is of another workspace" in each for each in export.verify().findings)


def test_a_line_without_an_end_is_given_up(export: Export) -> None:
    result = export.verify_text("[" * 2_000_000)
    assert result.status == 1
    assert result.findings[0].startswith("line 1: it is longer than 1000000 bytes")
    last = {"checkpoint": export.note, "verifier_key": export.key}
    lines = [*export.events[:2], {"x": "y" * 1_000_000}, *export.events[2:], last]
    result = export.verify_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert result.status == 1
    assert result.findings[0].startswith("line 3: it is longer than 1000000 bytes")


WRONG_CALLS = [
    (["--key", "nonsense"], "not an Ed25519 verifier key"),
    (["--checkpoint", "/dev/null"], "need --key"),
    (["--key", "{key}", "--checkpoint", "/dev/null"], "not a signed note"),
    (["--key", "{key}", "--after", "/does/not/exist"], "No such file"),
    (["--nonsense"], "unrecognized arguments"),
]


def test_a_wrong_call_ends_with_status_2(export: Export) -> None:
    for options, word in WRONG_CALLS:
        result = export.verify(*(each.format(key=export.key) for each in options), is_pinned=False)
        assert result.status == 2, options
        assert word in result.said, options


def test_a_missing_export_is_named() -> None:
    result = run("/does/not/exist.jsonl")
    assert (result.status, "No such file" in result.said) == (2, True)


def test_it_imports_nothing_of_taglock() -> None:
    names = {
        line.split()[1].split(".")[0]
        for line in SCRIPT.read_text().splitlines()
        if line.strip().startswith(("import ", "from "))
    }
    assert names <= {*sys.stdlib_module_names, "cryptography"}


def test_what_the_site_exports_is_verified(
    acme: Workspace, write: Write, api_as: Callable[..., APIClient], tmp_path: Path
) -> None:
    write(3)
    auditor = api_as(acme, Scope.AUDIT)
    address = "/api/v1/workspaces/acme/lock-log/export?format=jsonl"
    path = tmp_path / "export.jsonl"
    for query, options in (("", []), ("&kind=push.refused", ["--filtered"])):
        path.write_bytes(auditor.get(address + query).getvalue())
        result = run(str(path), "--key", verifier_key(), *options)
        assert (result.status, result.findings) == (0, [])
    assert "0 findings; 3 events of acme." in result.said
