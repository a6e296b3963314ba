"""The wheel: everything is in it, and `taglock` works from any folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from packages_site.local import ROOT

pytestmark = pytest.mark.process

Done = subprocess.CompletedProcess[str]
OPEN_PAGES = """
import django
django.setup()
from django.core.management import call_command
from django.test import Client

call_command("collectstatic", "--noinput", verbosity=0)
client = Client(SERVER_NAME="localhost")
login, guide = client.get("/accounts/login/"), client.get("/docs/rules/")
style = login.content.decode().partition('rel="stylesheet" href="')[2].partition('"')[0]
print(login.status_code, guide.status_code, client.get(style).status_code)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel alone: what it needs comes from the tests' own packages."""
    folder = tmp_path_factory.mktemp("wheel")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build: list[str | Path] = [
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--wheel-dir",
        folder,
        ROOT,
    ]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    return target


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Callable[..., Done]:
    """Return a function that runs a command in an empty folder, with a file of settings."""
    empty, data_dir, file = tmp_path / "empty", tmp_path / "data", tmp_path / "environment"
    empty.mkdir()
    data_dir.mkdir()
    file.write_text(f"DATA_DIR={data_dir}\n")
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(installed),
        "PYTHONWARNINGS": "ignore",
        "TAGLOCK_ENV_FILE": str(file),
    }

    def run(*command: str | Path, **more: str) -> Done:
        return subprocess.run(
            command, cwd=empty, env={**env, **more}, capture_output=True, text=True
        )

    return run


def test_an_installed_taglock_works_from_an_empty_folder(
    run: Callable[..., Done], installed: Path, tmp_path: Path
) -> None:
    """And runs nothing that someone has put there."""
    someones = tmp_path / "empty" / "immutability.py"
    someones.write_text("raise SystemExit('not this one')")
    taglock = installed / "bin" / "taglock"
    missing = run(taglock, "verify_lock_log", "acme")
    assert missing.stderr.endswith("or make a new database: taglock migrate\n")
    # It checks the application first.
    done = run(taglock, "migrate", "--verbosity", "0")
    assert done.returncode == 0, done
    assert {"secret-key", "taglock.sqlite3"} <= set(os.listdir(tmp_path / "data"))
    someones.unlink()
    data_dir, settings = str(tmp_path / "data"), "packages_site.settings"
    pages = run(
        sys.executable, "-c", OPEN_PAGES, DATA_DIR=data_dir, DJANGO_SETTINGS_MODULE=settings
    )
    assert pages.stdout == "200 200 200\n", pages
    assert os.listdir(tmp_path / "empty") == []


def test_the_wheel_has_every_file_that_a_checkout_has(installed: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    assert tracked.returncode == 0
    for name in tracked.stdout.splitlines():
        first, _, rest = name.partition("/")
        if first in ("containers", "immutability", "packages_site", "workspaces"):
            assert (installed / name).exists(), name
        elif first in ("static", "templates") or (first == "docs" and rest.endswith(".md")):
            assert (installed / "packages_site/files" / name).exists(), name
