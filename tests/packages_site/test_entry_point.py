"""The command `taglock`: where its settings come from, and who may run it."""

import os
from pathlib import Path

import pytest

from packages_site.addresses import BadSettingError
from packages_site.entry_point import parse_settings, read_settings

PATH = Path("/etc/taglock/environment")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of settings whose data folder is there, and the caller's own."""
    file = tmp_path / "environment"
    file.write_text(f"DATA_DIR={tmp_path}\nREDIS_URL=redis://file.example.org/0\n")
    return file


def test_the_settings_are_those_that_systemd_reads() -> None:
    assert parse_settings(
        """# A comment.
PORT=8000
  SECRET_KEY=a#b=c$d
EMPTY=
EMAIL_FROM="Taglock <taglock@example.org>"
REGISTRY_PASSWORD_COMMAND='print "this one"'
PLAIN=two words\t
""",
        PATH,
    ) == {
        "PORT": "8000",
        "SECRET_KEY": "a#b=c$d",
        "EMPTY": "",
        "EMAIL_FROM": "Taglock <taglock@example.org>",
        "REGISTRY_PASSWORD_COMMAND": 'print "this one"',
        "PLAIN": "two words",
    }


@pytest.mark.parametrize(
    "line",
    [
        "SECRET_KEY=hunter2 # the same everywhere",
        "SECRET_KEY=hunter2\\",
        'SECRET_KEY="hunter2',
        'SECRET_KEY="hunter2" more',
        "SECRET_KEY=hunter'2",
        "SECRET_KEY = hunter2",
        "export SECRET_KEY=hunter2",
        "hunter2",
    ],
)
def test_a_line_that_could_be_read_in_two_ways_is_refused_without_its_value(line: str) -> None:
    with pytest.raises(BadSettingError) as caught:
        parse_settings(f"PORT=8000\n{line}\n", PATH)
    assert str(caught.value).startswith(f"{PATH}, line 2: write NAME=value")
    assert "hunter2" not in str(caught.value)


def test_what_is_set_outside_counts_more_than_the_file(file: Path, tmp_path: Path) -> None:
    found = read_settings({"TAGLOCK_ENV_FILE": str(file), "PORT": "1", "DATA_DIR": ""})
    assert found == {"DATA_DIR": str(tmp_path), "REDIS_URL": "redis://file.example.org/0"}
    outside = {"TAGLOCK_ENV_FILE": str(file), "REDIS_URL": "redis://outside.example.org/0"}
    assert "REDIS_URL" not in read_settings(outside)


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadSettingError, match="there is no such file"):
        read_settings({"TAGLOCK_ENV_FILE": str(tmp_path / "nothing")})


def test_without_a_file_there_is_only_what_is_set_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("packages_site.entry_point.DEFAULT_FILE", tmp_path / "nothing")
    assert read_settings({"DATA_DIR": "/"}) == {}


def test_a_file_that_may_not_be_read_says_whose_command_it_is(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    def refuse(*arguments: object, **options: object) -> str:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr("sys.argv", ["/opt/taglock/bin/taglock", "verify_lock_log", "acme"])
    with pytest.raises(BadSettingError, match="sudo -u taglock taglock verify_lock_log acme"):
        read_settings({"TAGLOCK_ENV_FILE": str(file)})


@pytest.mark.parametrize("user_id", [0, 65533])
def test_only_the_owner_of_the_data_runs_a_command(
    monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path, user_id: int
) -> None:
    """Root could read everything, and would make files that the processes can't read."""
    if tmp_path.stat().st_uid == user_id:
        os.chown(tmp_path, 65532, -1)
    monkeypatch.setattr("os.geteuid", lambda: user_id)
    with pytest.raises(BadSettingError, match=r"run this as that user: sudo -u \S+ "):
        read_settings({"TAGLOCK_ENV_FILE": str(file)})


def test_root_does_not_make_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path
) -> None:
    env = {"TAGLOCK_ENV_FILE": str(file), "DATA_DIR": str(tmp_path / "not yet")}
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(BadSettingError, match="install -d -o taglock -g taglock"):
        read_settings(env)
    monkeypatch.setattr("os.geteuid", lambda: 65533)
    assert "DATA_DIR" not in read_settings(env)
