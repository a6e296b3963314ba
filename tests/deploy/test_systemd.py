"""deploy/systemd: units that systemd takes, locks down, and that start what they say."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from immutability.gate import GATE_THREADS
from packages_site.local import ROOT
from packages_site.run import SITE_THREADS
from tests.conftest import skip_or_fail
from tests.services.parts import is_answering, wait_until
from tests.services.postgresql import find_free_port

FOLDER = ROOT / "deploy/systemd"
BIN = Path(sys.executable).parent
SERVICES = sorted(FOLDER.glob("*.service"))
# Of 10, which systemd gives to a service that is not locked down at all.
MAX_EXPOSURE = 1.5


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the units as they would be on a machine where /opt/taglock is the tests' own."""
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("systemd-analyze (Debian's systemd)")
    folder = tmp_path_factory.mktemp("root") / "systemd"
    shutil.copytree(FOLDER, folder)
    for unit in folder.glob("*.service"):
        text = unit.read_text()
        text = text.replace(
            "/opt/taglock/bin/taglock-serve", f"{BIN}/python -m packages_site.serve"
        )
        text = text.replace("/opt/taglock/bin/taglock ", f"{ROOT}/manage.py ")
        unit.write_text(text.replace("/opt/taglock/bin", str(BIN)))
    return folder


def read_options(unit: Path, name: str) -> list[str]:
    """Return every value of an option, as it is written."""
    text = unit.read_text().replace("\\\n", " ")
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def read_environment(unit: Path) -> dict[str, str]:
    pairs = (pair for line in read_options(unit, "Environment") for pair in shlex.split(line))
    return dict(pair.split("=", 1) for pair in pairs)


def analyze(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30
    )
    return f"{done.stdout}{done.stderr}".strip()


def test_systemd_finds_nothing_wrong(units: Path) -> None:
    assert analyze("verify", "--man=no", *units.glob("*.service"), *units.glob("*.target")) == ""


def test_every_service_is_locked_down(units: Path) -> None:
    for unit in SERVICES:
        said = analyze("security", "--offline=true", "--no-pager", units / unit.name)
        exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
        assert exposure is not None, said
        assert float(exposure[1]) <= MAX_EXPOSURE, said


def test_every_service_but_migrate_is_a_part_of_the_target() -> None:
    names = {unit.stem for unit in SERVICES}
    parts = ("gate", "migrate", "scheduler", "site", "worker")
    assert names == {f"taglock-{part}" for part in parts}
    for unit in SERVICES:
        wanted = [] if unit.stem == "taglock-migrate" else ["taglock.target"]
        assert read_options(unit, "WantedBy") == wanted
        assert read_options(unit, "Restart") == ["always"] * len(wanted)


@pytest.mark.process
def test_site_and_gate_start_as_their_units_say(units: Path, tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "SECRET_KEY": "k" * 50,
        "STOP_DELAY_SECONDS": "0",
    }
    processes, probes = [], []
    try:
        for name, threads in (("site", SITE_THREADS), ("gate", GATE_THREADS)):
            unit = units / f"taglock-{name}.service"
            own = read_environment(unit)
            assert own["GRANIAN_BLOCKING_THREADS"] == str(threads)
            own["GRANIAN_PORT"] = str(find_free_port())
            command = shlex.split(read_options(unit, "ExecStart")[0])
            processes.append(subprocess.Popen(command, cwd=tmp_path, env={**env, **own}))
            probes.append(f"http://127.0.0.1:{own['GRANIAN_PORT']}/healthz")
        for probe in probes:
            wait_until(partial(is_answering, probe), seconds=30)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            assert process.wait(timeout=20) == 0
