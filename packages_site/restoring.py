"""Whether a database was restored, and may be used already."""

import shlex

from packages_site.data_dir import ask_apart, make_command_line
from workspaces.restore_note import READ_NOTE


def describe_cut_off_restore() -> str:
    """Return one line where a restore into this database was cut off; else nothing."""
    row = ask_apart(READ_NOTE)
    if row is None or row[1]:
        return ""
    return (
        f"a restore of {row[0]} into this database was cut off: run it again: "
        f"{make_command_line('restore')} {shlex.quote(row[0])}"
    )


def find_cut_off_bundle() -> str:
    """Return the backup whose restore into this database was cut off; nothing where none was."""
    row = ask_apart(READ_NOTE)
    return "" if row is None or row[1] else str(row[0])


def require_usable_database() -> None:
    """End the process, with one line, where the database was restored and not brought up to now."""
    row = ask_apart(READ_NOTE)
    if row is None:
        return
    problem = describe_cut_off_restore() or (
        f"this database was restored from {row[0]}, and the registry is newer: run "
        f"{make_command_line('reconcile --after-restore')} first"
    )
    raise SystemExit(f"taglock: {problem}")
