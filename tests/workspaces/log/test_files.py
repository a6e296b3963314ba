import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workspaces.log.files import replace_file, write_once


def test_a_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    assert write_once(path, "first\n")
    assert not write_once(path, "second\n")
    assert path.read_bytes() == b"first\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: write_once(path, str(number)), range(40)))
    assert sum(won) == 1
    assert path.read_text() == str(won.index(True))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, "first", mode=0o644)
    replace_file(path, "second")
    assert path.read_text() == "second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(OSError, match="file"):
        replace_file(path, "text")
    assert not write_once(path, "text")
    assert list(tmp_path.iterdir()) == [path]
