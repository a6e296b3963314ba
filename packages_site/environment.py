"""What an operator sets from outside: every environment variable, its type and its default.

docs/settings.md documents each one; a test holds the two against each other.
"""

import secrets
from dataclasses import dataclass
from email.utils import getaddresses
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import dj_database_url
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from environs import Env, EnvError

from workspaces.log.files import write_once
from workspaces.log.notes import BadKeyError, SigningKey, make_signing_key


class BadSettingError(Exception):
    """A variable has a value that Taglock cannot run with. The message is one line."""


@dataclass(frozen=True)
class Environment:
    """The settings from the environment, parsed; one field a variable, in lower case."""

    secret_key: str
    debug: bool
    port: int
    public_url: str
    allowed_hosts: list[str]
    data_dir: Path
    database_url: str
    database_pool_size: int
    database_patience_seconds: int
    redis_url: str
    registry_url: str
    token_keys_dir: Path
    behind_edge: bool
    checks_per_minute: int
    tokens_per_minute: int
    email_url: str
    email_from: str
    log_key_file: Path
    checkpoint_dir: Path
    origin_retention_days: int
    log_level: str


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed in, and how: as Django's settings name it."""

    host: str
    port: int
    user: str
    password: str
    use_tls: bool
    use_ssl: bool


def read_environment() -> Environment:
    """Read and check every variable. Raises BadSettingError for the first bad one."""
    env = Env()
    try:
        port = env.int("PORT", 8000)
        if not 1 <= port <= 65535:
            raise BadSettingError(f"PORT is {port}: it must be from 1 to 65535")
        data_dir = Path(env.str("DATA_DIR", "") or "var").absolute()
        public_url = env.str("PUBLIC_URL", f"http://127.0.0.1:{port}").rstrip("/")
        _check_url("PUBLIC_URL", public_url, ("http", "https"), "https://tags.example.org")
        environment = Environment(
            secret_key=env.str("SECRET_KEY", ""),
            debug=env.bool("DEBUG", False),
            port=port,
            public_url=public_url,
            allowed_hosts=env.list("ALLOWED_HOSTS", []) or _loopback_and(public_url),
            data_dir=data_dir,
            database_url=env.str("DATABASE_URL", "") or _embedded_database(data_dir),
            database_pool_size=env.int("DATABASE_POOL_SIZE", 16),
            database_patience_seconds=env.int("DATABASE_PATIENCE_SECONDS", 10),
            redis_url=env.str("REDIS_URL", ""),
            registry_url=env.str("REGISTRY_URL", "").rstrip("/"),
            token_keys_dir=_path(env, "TOKEN_KEYS_DIR", data_dir / "token-keys"),
            behind_edge=env.bool("BEHIND_EDGE", False),
            checks_per_minute=env.int("CHECKS_PER_MINUTE", 60_000),
            tokens_per_minute=env.int("TOKENS_PER_MINUTE", 1200),
            email_url=env.str("EMAIL_URL", ""),
            email_from=env.str("EMAIL_FROM", ""),
            log_key_file=_path(env, "LOG_KEY_FILE", data_dir / "lock-log-key"),
            checkpoint_dir=_path(env, "CHECKPOINT_DIR", data_dir / "checkpoints"),
            origin_retention_days=env.int("ORIGIN_RETENTION_DAYS", 0),
            log_level=env.str("LOG_LEVEL", "INFO").upper(),
        )
    except EnvError as error:
        raise BadSettingError(" ".join(str(error).split())) from error
    _check(environment)
    return environment


def parse_email_url(value: str) -> MailServer:
    """Return the mail server of a good EMAIL_URL: `smtp://` or `smtps://`, perhaps with a user.

    A password never travels unencrypted: `smtp://` with a user name, or on the port for handing
    mail in (RFC 6409), asks for STARTTLS and goes no further without.
    """
    parts = urlsplit(value)
    is_smtps = parts.scheme == "smtps"
    port = parts.port or (465 if is_smtps else 587 if parts.username else 25)
    return MailServer(
        host=parts.hostname or "",
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        use_tls=not is_smtps and (bool(parts.username) or port == 587),
        use_ssl=is_smtps,
    )


def read_secret_key(data_dir: Path) -> str:
    """Return the key kept in the data folder; nothing where there is none."""
    path = data_dir / "secret-key"
    return path.read_text() if path.exists() else ""


def read_or_make_secret_key(data_dir: Path) -> str:
    """Return the key kept in the data folder, made on first use and readable by its owner alone."""
    path = data_dir / "secret-key"
    if not path.exists():
        write_once(path, secrets.token_urlsafe(50))
    return path.read_text()


def make_log_key_file(path: Path, public_url: str) -> None:
    """Make the key that signs checkpoints of the lock log, named after the site, where none is.

    Raises BadSettingError where it cannot be written.
    """
    try:
        if not path.exists():
            write_once(path, f"{_make_log_key(public_url).to_text()}\n")
    except OSError as error:
        raise BadSettingError(f"LOG_KEY_FILE cannot be made: {error}") from error


def _make_log_key(public_url: str) -> SigningKey:
    try:
        return make_signing_key(urlsplit(public_url).netloc)
    except BadKeyError as error:
        raise BadSettingError(f"PUBLIC_URL cannot name the lock log's key: {error}") from error


def _embedded_database(data_dir: Path) -> str:
    return f"sqlite:///{quote(str(data_dir / 'taglock.sqlite3'))}"


def _path(env: Env, name: str, default: Path) -> Path:
    return Path(env.str(name, "") or default).absolute()


def _loopback_and(public_url: str) -> list[str]:
    return sorted({"127.0.0.1", "localhost", urlsplit(public_url).hostname or "localhost"})


def _check(environment: Environment) -> None:
    _check_folder("DATA_DIR", environment.data_dir)
    _check_log_key(environment)
    if environment.redis_url:
        example = "redis://127.0.0.1:6379/0"
        _check_url("REDIS_URL", environment.redis_url, ("redis", "rediss"), example, is_bare=False)
    if environment.registry_url:
        _check_url(
            "REGISTRY_URL", environment.registry_url, ("http", "https"), "http://127.0.0.1:5000"
        )
    _check_mail(environment)
    if environment.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise BadSettingError("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR")
    if environment.secret_key and len(environment.secret_key) < 50:
        raise BadSettingError("SECRET_KEY must have at least 50 characters, or be left out")
    _check_database_url(environment.database_url)
    for name, value, least, most in (
        ("DATABASE_POOL_SIZE", environment.database_pool_size, 1, 1000),
        ("DATABASE_PATIENCE_SECONDS", environment.database_patience_seconds, 1, 60),
        ("CHECKS_PER_MINUTE", environment.checks_per_minute, 1, 10_000_000),
        ("TOKENS_PER_MINUTE", environment.tokens_per_minute, 1, 10_000_000),
        ("ORIGIN_RETENTION_DAYS", environment.origin_retention_days, 0, 36_500),
    ):
        if not least <= value <= most:
            raise BadSettingError(f"{name} is {value}: it must be from {least} to {most}")


def _check_folder(name: str, path: Path) -> None:
    """Check that `path` is a folder, or could become one. Nothing is made here."""
    try:
        nearest = next(each for each in (path, *path.parents) if each.exists())
        is_folder = nearest.is_dir()
    except OSError as error:
        raise BadSettingError(f"{name} cannot be used: {error}") from error
    if not is_folder:
        raise BadSettingError(f"{name} cannot be used: {nearest} is not a folder")


def _check_log_key(environment: Environment) -> None:
    """Check that the lock log's key is there, or could be made."""
    path = environment.log_key_file
    _check_folder("LOG_KEY_FILE", path.parent)
    if not path.exists():
        _make_log_key(environment.public_url)


def _check_url(
    name: str, value: str, schemes: tuple[str, ...], example: str, *, is_bare: bool = True
) -> None:
    """Check an address; a bare one names scheme, host and port, and nothing else."""
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    else:
        extras = (parts.path, parts.query, parts.fragment, parts.username)
        is_good = is_good and not (is_bare and any(extras))
    if not is_good or any(character.isspace() for character in value):
        # Not the value itself: it may hold a password.
        raise BadSettingError(f"{name} is no address as it should be: write one like {example}")


def _check_mail(environment: Environment) -> None:
    if environment.email_url:
        example = "smtp://user:password@mail.example.org:587"
        _check_url("EMAIL_URL", environment.email_url, ("smtp", "smtps"), example, is_bare=False)
        parts = urlsplit(environment.email_url)
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise BadSettingError(f"EMAIL_URL has something after the port: write {example}")
        if not environment.email_from:
            raise BadSettingError("EMAIL_FROM is missing: EMAIL_URL needs an address to send from")
    if environment.email_from and not _is_one_mail_address(environment.email_from):
        raise BadSettingError(
            "EMAIL_FROM is no address: write one like Taglock <taglock@example.org>"
        )


def _is_one_mail_address(text: str) -> bool:
    found = getaddresses([text])
    try:
        validate_email(found[0][1])
    except ValidationError:
        return False
    return len(found) == 1 and text.isprintable()


def _check_database_url(value: str) -> None:
    try:
        engine = dj_database_url.parse(value).get("ENGINE", "")
    except ValueError:
        engine = ""
    if engine.rsplit(".", 1)[-1] not in ("sqlite3", "postgresql"):
        raise BadSettingError("DATABASE_URL must begin with postgresql:// or sqlite:///")
