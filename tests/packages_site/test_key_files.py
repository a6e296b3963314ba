"""The secret key and the key of the lock log, each in a file that is made once."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from packages_site.addresses import BadSettingError
from packages_site.key_files import make_log_key_file, read_or_make_secret_key
from workspaces.log.notes import parse_signing_key

ROOT = Path(__file__).resolve().parent.parent.parent


# The secret key.


def test_the_secret_key_is_made_once_and_kept(tmp_path: Path) -> None:
    data_dir = tmp_path / "not" / "there" / "yet"
    key = read_or_make_secret_key(data_dir)
    assert len(key) >= 50
    assert read_or_make_secret_key(data_dir) == key
    assert [path.name for path in data_dir.iterdir()] == ["secret-key"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_secret_key_is_readable_by_its_owner_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        read_or_make_secret_key(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secret-key").stat().st_mode) == 0o600


def test_each_data_folder_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = {read_or_make_secret_key(tmp_path / str(number)) for number in range(5)}
    assert len(keys) == 5


def test_those_who_start_together_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: read_or_make_secret_key(tmp_path), range(64)))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret-key"]


@pytest.mark.process
def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from packages_site.key_files import read_or_make_secret_key; "
        "print(read_or_make_secret_key(Path(sys.argv[1])))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    keys = {process.communicate(timeout=60)[0] for process in started}
    assert all(process.returncode == 0 for process in started)
    assert len(keys) == 1
    assert "" not in keys


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 60])
def test_a_secret_key_that_cannot_be_used_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret-key").write_bytes(content)
    with pytest.raises(BadSettingError, match="SECRET_KEY is not set, and"):
        read_or_make_secret_key(tmp_path)
    assert (tmp_path / "secret-key").read_bytes() == content


def test_a_secret_key_that_is_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret-key").mkdir()
    with pytest.raises(BadSettingError, match="SECRET_KEY is not set, and"):
        read_or_make_secret_key(tmp_path)


# The key of the lock log.


@pytest.mark.parametrize("content", ["", "secret", "PRIVATE+KEY+a+b+c"])
def test_a_file_that_is_no_key_of_the_log_is_told_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "log"
    path.write_text(content)
    with pytest.raises(BadSettingError, match="LOG_KEY_FILE") as caught:
        make_log_key_file(path, "https://tags.example.org")
    assert not content or content not in str(caught.value)
    assert path.read_text() == content


def test_the_key_of_the_log_is_made_once_and_named_after_the_site(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "log"
    make_log_key_file(path, "https://tags.example.org:8443")
    text = path.read_text()
    assert parse_signing_key(text.strip()).name == "tags.example.org:8443"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    make_log_key_file(path, "https://other.example.org")
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_those_who_start_together_agree_on_one_key_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def make_and_read(_: int) -> str:
        make_log_key_file(path, "http://127.0.0.1:8000")
        return path.read_text()

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(make_and_read, range(64)))) == 1
