import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import dj_database_url
import pytest

from packages_site.environment import (
    BadSettingError,
    Environment,
    MailServer,
    make_log_key_file,
    parse_email_url,
    read_environment,
    read_or_make_secret_key,
)
from workspaces.log.notes import parse_signing_key

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = "k" * 50

Set = Callable[..., None]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """Return a function that sets variables; all others of Taglock's are unset."""
    for each in fields(Environment):
        monkeypatch.delenv(each.name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)

    def set_variables(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_variables


def test_everything_has_a_default(variables: Set, tmp_path: Path) -> None:
    assert read_environment() == Environment(
        secret_key="",
        debug=False,
        port=8000,
        public_url="http://127.0.0.1:8000",
        allowed_hosts=["127.0.0.1", "localhost"],
        data_dir=tmp_path / "var",
        database_url=f"sqlite:///{tmp_path}/var/taglock.sqlite3",
        database_pool_size=16,
        database_patience_seconds=10,
        redis_url="",
        registry_url="",
        token_keys_dir=Path(Path.cwd() / "var/token-keys"),
        behind_edge=False,
        checks_per_minute=60_000,
        tokens_per_minute=1200,
        email_url="",
        email_from="",
        log_key_file=tmp_path / "var" / "lock-log-key",
        checkpoint_dir=tmp_path / "var" / "checkpoints",
        origin_retention_days=0,
        log_level="INFO",
    )


def test_everything_can_be_set(variables: Set, tmp_path: Path) -> None:
    variables(
        SECRET_KEY=KEY,
        DEBUG="true",
        PORT="9000",
        PUBLIC_URL="https://tags.example.org/",
        ALLOWED_HOSTS="tags.example.org,10.0.0.1",
        DATA_DIR=str(tmp_path / "data"),
        DATABASE_URL="postgresql://taglock:secret@db.example.org/taglock",
        DATABASE_POOL_SIZE="4",
        DATABASE_PATIENCE_SECONDS="30",
        REDIS_URL="rediss://redis.example.org/0",
        REGISTRY_URL="http://registry.example.org:5000/",
        TOKEN_KEYS_DIR="/etc/taglock/keys",
        BEHIND_EDGE="true",
        CHECKS_PER_MINUTE="120000",
        TOKENS_PER_MINUTE="1",
        EMAIL_URL="smtp://taglock:secret@mail.example.org",
        EMAIL_FROM="Taglock <taglock@example.org>",
        LOG_KEY_FILE=str(tmp_path / "keys" / "log"),
        CHECKPOINT_DIR="elsewhere",
        ORIGIN_RETENTION_DAYS="90",
        LOG_LEVEL="debug",
    )
    assert read_environment() == Environment(
        secret_key=KEY,
        debug=True,
        port=9000,
        public_url="https://tags.example.org",
        allowed_hosts=["tags.example.org", "10.0.0.1"],
        data_dir=tmp_path / "data",
        database_url="postgresql://taglock:secret@db.example.org/taglock",
        database_pool_size=4,
        database_patience_seconds=30,
        redis_url="rediss://redis.example.org/0",
        registry_url="http://registry.example.org:5000",
        token_keys_dir=Path("/etc/taglock/keys"),
        behind_edge=True,
        checks_per_minute=120_000,
        tokens_per_minute=1,
        email_url="smtp://taglock:secret@mail.example.org",
        email_from="Taglock <taglock@example.org>",
        log_key_file=tmp_path / "keys" / "log",
        checkpoint_dir=tmp_path / "elsewhere",
        origin_retention_days=90,
        log_level="DEBUG",
    )


def test_the_public_address_is_an_allowed_host(variables: Set) -> None:
    variables(PUBLIC_URL="https://tags.example.org")
    assert read_environment().allowed_hosts == ["127.0.0.1", "localhost", "tags.example.org"]


@pytest.mark.parametrize("name", [each.name.upper() for each in fields(Environment)])
def test_an_empty_variable_is_one_that_was_not_set_or_is_refused(variables: Set, name: str) -> None:
    expected = read_environment()
    variables(**{name: ""})
    refusal = ""
    try:
        found = read_environment()
    except BadSettingError as error:
        refusal = str(error)
    assert name in refusal or found == expected


BAD = [
    ("EMAIL_URL", "mail.example.org"),
    ("EMAIL_URL", "http://mail.example.org"),
    ("EMAIL_URL", "smtp://"),
    ("EMAIL_URL", "smtp://mail.example.org:port"),
    ("EMAIL_URL", "smtp://mail.example.org/folder"),
    ("EMAIL_URL", "smtp://mail.example.org?tls=no"),
    ("EMAIL_FROM", "Taglock"),
    ("EMAIL_FROM", "taglock@"),
    ("EMAIL_FROM", "a@example.org, b@example.org"),
    ("EMAIL_FROM", "a@example.org\nBcc: b@example.org"),
    ("ORIGIN_RETENTION_DAYS", "-1"),
    ("ORIGIN_RETENTION_DAYS", "36501"),
    ("ORIGIN_RETENTION_DAYS", "a month"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "-1"),
    ("PORT", "http"),
    ("PORT", "80.5"),
    ("DEBUG", "perhaps"),
    ("DEBUG", "2"),
    ("PUBLIC_URL", "tags.example.org"),
    ("PUBLIC_URL", "ftp://tags.example.org"),
    ("PUBLIC_URL", "https://"),
    ("PUBLIC_URL", "https://tags.example.org/taglock"),
    ("PUBLIC_URL", "https://tags.example.org?x=1"),
    ("PUBLIC_URL", "https://tags.example.org#top"),
    ("PUBLIC_URL", "https://user:password@tags.example.org"),
    ("PUBLIC_URL", "https://tags.example.org:99999"),
    ("PUBLIC_URL", "https://tags.example.org:http"),
    ("PUBLIC_URL", "https://[::1"),
    ("PUBLIC_URL", "https://tags example.org"),
    ("SECRET_KEY", "short"),
    ("SECRET_KEY", "k" * 49),
    ("LOG_LEVEL", "loud"),
    ("LOG_LEVEL", "5"),
    ("REDIS_URL", "redis.example.org"),
    ("REDIS_URL", "http://redis.example.org"),
    ("REDIS_URL", "redis://[::1"),
    ("REDIS_URL", "redis://redis.example.org:port"),
    ("REGISTRY_URL", "registry.example.org:5000"),
    ("REGISTRY_URL", "ftp://registry.example.org"),
    ("REGISTRY_URL", "http://"),
    ("REGISTRY_URL", "http://registry.example.org?x=1"),
    ("REGISTRY_URL", "http://registry.example.org:port"),
    ("REGISTRY_URL", "http://[::1"),
    ("BEHIND_EDGE", "perhaps"),
    ("CHECKS_PER_MINUTE", "0"),
    ("CHECKS_PER_MINUTE", "10000001"),
    ("CHECKS_PER_MINUTE", "unlimited"),
    ("TOKENS_PER_MINUTE", "0"),
    ("TOKENS_PER_MINUTE", "10000001"),
    ("DATABASE_POOL_SIZE", "0"),
    ("DATABASE_POOL_SIZE", "many"),
    ("DATABASE_PATIENCE_SECONDS", "61"),
    ("DATABASE_PATIENCE_SECONDS", "-1"),
    ("DATABASE_URL", "taglock.sqlite3"),
    ("DATABASE_URL", "mysql://db.example.org/taglock"),
    ("DATABASE_URL", "postgresql://db.example.org:port/taglock"),
    ("DATABASE_URL", "postgresql://[::1/taglock"),
    ("DATABASE_URL", "nonsense://"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_told_in_one_line_that_names_its_variable(
    variables: Set, name: str, value: str
) -> None:
    variables(**{name: value})
    with pytest.raises(BadSettingError) as caught:
        read_environment()
    line = str(caught.value)
    assert name in line
    assert "\n" not in line


@pytest.mark.parametrize("hosts", ["", "tags.example.org"])
def test_a_bad_address_is_told_whether_hosts_are_set_or_not(variables: Set, hosts: str) -> None:
    variables(PUBLIC_URL="https://[::1", ALLOWED_HOSTS=hosts)
    with pytest.raises(BadSettingError, match="PUBLIC_URL"):
        read_environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "hunter2"),
        ("DATABASE_URL", "mysql://taglock:hunter2@db.example.org/taglock"),
        ("DATABASE_URL", "postgresql://taglock:hunter2@db.example.org:port/taglock"),
        ("REDIS_URL", "http://:hunter2@redis.example.org"),
        ("EMAIL_URL", "http://taglock:hunter2@mail.example.org"),
        ("EMAIL_URL", "smtp://taglock:hunter2@mail.example.org/folder"),
    ],
)
def test_a_secret_is_not_told(variables: Set, name: str, value: str) -> None:
    variables(**{name: value})
    with pytest.raises(BadSettingError) as caught:
        read_environment()
    assert "hunter2" not in str(caught.value)


def test_mail_needs_somebody_whom_it_is_from(variables: Set) -> None:
    variables(EMAIL_URL="smtp://mail.example.org")
    with pytest.raises(BadSettingError, match="EMAIL_FROM is missing"):
        read_environment()


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://localhost", MailServer("localhost", 25, "", "", use_tls=False, use_ssl=False)),
        ("smtp://a:b@mail.org", MailServer("mail.org", 587, "a", "b", use_tls=True, use_ssl=False)),
        (
            "smtp://a:b@mail.org:25",
            MailServer("mail.org", 25, "a", "b", use_tls=True, use_ssl=False),
        ),
        ("smtp://mail.org:587", MailServer("mail.org", 587, "", "", use_tls=True, use_ssl=False)),
        ("smtps://mail.org", MailServer("mail.org", 465, "", "", use_tls=False, use_ssl=True)),
        (
            "smtps://a%40b.org:p%2Fq%3A@mail.org:4650",
            MailServer("mail.org", 4650, "a@b.org", "p/q:", use_tls=False, use_ssl=True),
        ),
    ],
)
def test_a_password_for_the_mail_server_never_travels_unencrypted(
    url: str, server: MailServer
) -> None:
    assert parse_email_url(url) == server


@pytest.mark.parametrize(
    "folder", ["plain", "with space", "50%", "a%20b", "a#b", "a?b", "é", "a&b=c"]
)
def test_the_database_is_in_the_data_folder_whatever_its_name(
    variables: Set, tmp_path: Path, folder: str
) -> None:
    variables(DATA_DIR=str(tmp_path / folder))
    database = dj_database_url.parse(read_environment().database_url)
    assert database["NAME"] == str(tmp_path / folder / "taglock.sqlite3")


# The whole way, as an operator meets it.


def run_check(tmp_path: Path, **values: str) -> subprocess.CompletedProcess[str]:
    ours = {each.name.upper() for each in fields(Environment)}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**inherited, "DATA_DIR": str(tmp_path / "data"), **values},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.process
def test_a_good_environment_starts(tmp_path: Path) -> None:
    done = run_check(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PUBLIC_URL", "https://[::1"),
        ("DATABASE_URL", "mysql://taglock:hunter2@db.example.org/taglock"),
        ("DATA_DIR", "/dev/null"),
        ("DATA_DIR", "/dev/null/data"),
        ("LOG_KEY_FILE", "/dev/null/key"),
        ("PUBLIC_URL", "https://a+b.example.org"),
    ],
)
def test_a_bad_environment_stops_the_start_with_one_line(
    tmp_path: Path, name: str, value: str
) -> None:
    done = run_check(tmp_path, **{name: value})
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("taglock: bad setting: ")
    assert done.stderr.count("\n") == 1
    assert name in done.stderr
    assert "hunter2" not in done.stderr


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
        "from packages_site.environment import read_or_make_secret_key; "
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


# The key of the lock log.


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
