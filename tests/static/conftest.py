"""An export of a short log of acme."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.static.exports import Export, read_lines
from tests.workspaces.log.conftest import Write
from tests.workspaces.log.conftest import log_files as log_files
from tests.workspaces.log.conftest import undone as undone
from tests.workspaces.log.conftest import write as write
from workspaces.log.checkpoints import make_checkpoint
from workspaces.log.keys import verifier_key


@pytest.fixture
def make_export(write: Write, tmp_path: Path) -> Callable[[], Export]:
    """Return a function that exports acme as it is now."""

    def make_export() -> Export:
        checkpoint = make_checkpoint("acme")
        assert checkpoint is not None
        return Export(tmp_path, read_lines(), checkpoint.note, verifier_key())

    return make_export


@pytest.fixture
def export(write: Write, make_export: Callable[[], Export]) -> Export:
    """An export of five events."""
    write(5)
    return make_export()
