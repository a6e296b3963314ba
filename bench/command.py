"""What the benchmarks have in common: their options, their database, and how they end."""

import argparse
import importlib
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import statements
from bench.requests import MAX_CLIENTS
from tests.services.postgresql import find_bin, postgresql

CLIENTS = 4
_MAX_ERROR_LENGTH = 2000
_NOT_OURS = ("REDIS_URL", "REGISTRY_URL", "PUBLIC_URL", "ALLOWED_HOSTS", "DATABASE_POOL_SIZE")


@dataclass(frozen=True)
class Place:
    """Where a benchmark runs: a folder of its own, and an empty database."""

    folder: Path
    database_url: str


def make_parser(name: str, description: str | None, locks: int = 0) -> argparse.ArgumentParser:
    """Return a parser of the options that every benchmark has, with its default of locks."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    parser.add_argument(
        "--locks", type=int, default=locks, help=f"how many locks there are before ({locks:,})"
    )
    parser.add_argument("--fsync", action="store_true", help="let PostgreSQL wait for the disk")
    return parser


def add_row_options(
    parser: argparse.ArgumentParser, *, seconds: float = 20.0, clients: int = CLIENTS
) -> None:
    """Add the options of a benchmark that measures in rows."""
    parser.add_argument(
        "--seconds", type=float, default=seconds, help=f"for each row ({seconds:.0f})"
    )
    parser.add_argument(
        "--clients",
        type=int,
        default=clients,
        choices=range(1, MAX_CLIENTS + 1),
        metavar="N",
        help=f"how many at once, {MAX_CLIENTS} at most ({clients})",
    )
    parser.add_argument("--row", action="append", default=[], help="only rows with this text")


def run(options: argparse.Namespace, measure: Callable[[Place], None]) -> int:
    """Measure on a PostgreSQL of its own; return the exit status.

    Django's settings name that PostgreSQL. So what needs them is imported by `measure`, not before.
    """
    bin_dir = find_bin()
    if bin_dir is None:
        print("bench: MISSING: PostgreSQL's server (Debian: postgresql)", file=sys.stderr)
        return 3
    # All that was started is stopped, however it ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lines = statements.OPTIONS + ("fsync = on\n" if options.fsync else "")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="taglock-bench-") as name,
            postgresql(bin_dir, lines) as url,
        ):
            _set_environment(name, url)
            (Path(name) / "static").mkdir()
            importlib.import_module("django").setup()
            measure(Place(Path(name), url))
    except RuntimeError as error:
        print(f"bench: {str(error)[:_MAX_ERROR_LENGTH]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 1
    return 0


def choose(names: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return the names that have one of these texts; all of them where there are no texts."""
    return [name for name in names if not texts or any(text in name for text in texts)]


def _set_environment(folder: str, database_url: str) -> None:
    os.environ |= {
        "DATABASE_URL": database_url,
        "DATA_DIR": folder,
        "LOG_LEVEL": "ERROR",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "DJANGO_SETTINGS_MODULE": "packages_site.settings",
        # The limits are counted, as they are in production, and not reached.
        "CHECKS_PER_MINUTE": "10000000",
        "TOKENS_PER_MINUTE": "10000000",
    }
    for other in _NOT_OURS:
        os.environ.pop(other, None)
