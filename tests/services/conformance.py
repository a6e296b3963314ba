"""OCI's conformance suite for registries, run before a registry or an edge."""

import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.services.go_programs import build_with_go
from tests.services.registries import PASSWORD

_ROOT = "OCI Conformance Test/"
_PATIENCE_SECONDS = 240


def build_suite() -> Path:
    """Return the program, built where it is not there yet; skip, or fail in CI, without Go."""
    (program,) = build_with_go("conformance")
    return program


@dataclass(frozen=True)
class Report:
    """How often each test has passed: one that is done for each blob of an image has one name."""

    passed: Counter[str]

    def find_lost(self, other: "Report") -> set[str]:
        """Return the tests that have passed here more often than in the other report."""
        return set(self.passed - other.passed)


def run_suite(port: int, repositories: str, username: str, folder: Path) -> Report:
    """Run it on two repositories whose names begin so.

    It includes what is in the next version of the specification, without digests by SHA-512, which
    few registries get right. What it has sent and received is in `folder` then.
    """
    done = subprocess.run(
        [build_suite()],
        env={
            **os.environ,
            "OCI_VERSION": "dev",
            "OCI_REGISTRY": f"127.0.0.1:{port}",
            "OCI_TLS": "disabled",
            "OCI_REPO1": f"{repositories}-1",
            "OCI_REPO2": f"{repositories}-2",
            "OCI_USERNAME": username,
            "OCI_PASSWORD": PASSWORD,
            "OCI_DATA_SHA512": "false",
            "OCI_RESULTS_DIR": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
    )
    # It ends with 1 where any test fails.
    assert done.returncode in (0, 1), done.stderr
    report = ElementTree.parse(folder / "junit.xml")  # noqa: S314  (the suite's own)
    passed = [
        case.attrib["name"].removeprefix(_ROOT)
        for case in report.iter("testcase")
        if case.attrib["status"] == "passed"
    ]
    assert passed, done.stdout
    return Report(Counter(passed))
