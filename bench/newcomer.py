"""The first hour at length: `python -m bench.newcomer --minutes 10`. See README.md."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

# Django reads its settings from the environment when it is imported: before anything of the tests.
_folder = tempfile.TemporaryDirectory(prefix="taglock-newcomer-")
os.environ |= {
    "DATA_DIR": f"{_folder.name}/tests",
    "DJANGO_SETTINGS_MODULE": "packages_site.settings",
}

import django  # noqa: E402

django.setup()

from tests.services.newcomer import (  # noqa: E402
    Load,
    follow_readme,
    kill,
    pushing,
    wait_until_sealed,
)
from tests.services.site import Site  # noqa: E402


def main() -> int:
    """Follow the README, then push while the worker is killed; return 0 where nothing failed."""
    options = _parse()
    folder = Path(_folder.name)
    site = Site(folder / "data folder")
    try:
        before = site.find_processes()
        follow_readme(site, folder)
        print("newcomer: the README works", flush=True)
        with pushing(site, options.clients) as load:
            kills = _kill_the_worker(site, load, options.minutes * 60, options.kill_every)
        after = site.find_processes()
        wait_until_sealed(site)
        site.manage("verify_lock_log", "acme")
    finally:
        site.stop()
        _folder.cleanup()
    gone = sorted(name for name in before if name != "worker" and before[name] != after.get(name))
    gone += ["worker"] * ("worker" not in after)
    for answer, count in sorted(load.pushes.items()):
        print(f"  {answer:32}{count:8}")
    print(f"newcomer: killed the worker {kills} times; {len(load.failures)} failed; gone: {gone}")
    for failure in load.failures[:20]:
        print(f"  {failure}")
    return 1 if load.failures or gone or not load.pushes else 0


def _kill_the_worker(site: Site, load: Load, seconds: float, kill_every: float) -> int:
    """Kill it again and again for so long; return how often."""
    ends_at, kills = time.monotonic() + seconds, 0
    while (left := ends_at - time.monotonic()) > 0:
        time.sleep(min(kill_every, left))
        kill(site, "worker")
        kills += 1
        done = sum(load.pushes.values())
        print(f"newcomer: {done} requests, {len(load.failures)} failed", flush=True)
    return kills


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.newcomer", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--kill-every", type=float, default=60.0, metavar="SECONDS")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
