"""Pushes under fire: `python -m bench.soak --minutes 20`. See README.md."""

import argparse
import importlib
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from tests.services.postgresql import find_bin, postgresql


def main() -> int:
    """Soak as the command line says; return 0 where nothing was found."""
    options = _parse()
    bin_dir = find_bin()
    if bin_dir is None:
        print("soak: MISSING: PostgreSQL's server (Debian: postgresql)", file=sys.stderr)
        return 3
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="taglock-soak-") as name, postgresql(bin_dir) as url:
        folder = Path(name)
        (folder / "static").mkdir()
        os.environ |= {"DATABASE_URL": url, "DATA_DIR": name, "LOG_LEVEL": "ERROR"}
        os.environ["SECRET_KEY"] = secrets.token_urlsafe(50)
        for other in ("REDIS_URL", "REGISTRY_URL", "PUBLIC_URL", "ALLOWED_HOSTS"):
            os.environ.pop(other, None)
        # Django reads its settings from the environment when it is imported: only now, then.
        times = importlib.import_module("bench.short_timeouts")
        chance = random.Random(f"{options.seed} wire")  # noqa: S311  (chance, no secret)
        environment = importlib.import_module("bench.environment").Environment(folder, url, chance)
        cycles = importlib.import_module("bench.cycles")
        soak = cycles.Soak(environment, options.seed, options.clients)
        print(
            f"seed {options.seed}; deadline {times.DEADLINE_SECONDS:.0f} s, "
            f"lease {times.LEASE_SECONDS:.0f} s, stray {times.STRAY_SECONDS:.0f} s",
            flush=True,
        )
        began = time.monotonic()
        try:
            environment.start()
            soak.run(options.minutes)
            soak.tell()
        except KeyboardInterrupt:
            soak.tally.failures.append("interrupted")
        finally:
            environment.stop()
        _summarize(soak.tally, options.seed, (time.monotonic() - began) / 60)
        return 0 if soak.tally.is_good else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(1_000_000),  # noqa: S311
        help="chooses what is pushed and what breaks; when it does is the machine's to say",
    )
    parser.add_argument("--clients", type=int, default=16)
    return parser.parse_args()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _summarize(tally: Any, seed: int, minutes: float) -> None:
    print(f"\n{minutes:.1f} minutes, seed {seed}, {tally.cycles} cycles")
    print(f"pushes: {_list(tally.pushes)}")
    print(f"others: {_list(tally.others)}")
    print(f"strikes: {_list(tally.strikes)}")
    print(f"checked: {tally.looks} looks at locks in force, {tally.locks} locks at rest")
    print(f"unreadable images that another push of the same one healed: {tally.healed}")
    print(f"violations: {len(tally.violations)}")
    print(f"burned names: {len(tally.burned)}")
    print(f"writes still open: {tally.open_writes}")
    print(f"pushes undecided for too long: {len(tally.undecided)} of {tally.afterwards}")
    print(f"longest: {tally.longest:.1f} s; where tags changed hands: {tally.changed_hands}")
    if tally.failures:
        print(f"failures: {len(tally.failures)}, {tally.failures[0].splitlines()[-1]}")


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())) or "none"


if __name__ == "__main__":
    sys.exit(main())
