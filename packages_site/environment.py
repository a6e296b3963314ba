"""What an operator sets from outside: every environment variable, its type and its default.

docs/settings.md documents each one; a test holds the two against each other.
"""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from containers.registry.account import Accounts, RegistryLogin, Unassigned
from containers.registry.passwords import PasswordError, read_password_file
from packages_site.addresses import (
    BadSettingError,
    bracket,
    check_allowed_host,
    check_folder,
    parse_database_url,
    parse_redis_url,
    parse_registry_url,
    parse_site_url,
)
from packages_site.identity_provider import check_passwords, make_provider
from packages_site.key_files import MIN_SECRET_KEY_LENGTH, make_log_key, make_log_key_file
from packages_site.leaving import DEFAULT_STOP_DELAY_SECONDS
from packages_site.mail_server import check_mail
from packages_site.metrics_token import check_metrics_token
from packages_site.registry_login import check_registry_ca, check_registry_login, check_repositories
from workspaces.single_sign_on.settings import Provider

# Of each, the first is the default.
HSTS_CHOICES = ("host", "subdomains", "preload")
SWITCHES = {
    **dict.fromkeys(("true", "on", "yes", "t", "y", "1"), True),
    **dict.fromkeys(("false", "off", "no", "f", "n", "0"), False),
}
LOG_LEVELS = ("info", "debug", "warning", "error")
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True)
class Environment:
    """The settings from the environment, parsed; one field a variable, in lower case."""

    secret_key: str
    secret_key_file: Path | None
    debug: bool
    port: int
    public_url: str
    allowed_hosts: list[str]
    hsts: str
    data_dir: Path
    static_dir: Path
    database_url: str
    database_url_file: Path | None
    database_pool_size: int
    database_patience_seconds: int
    database_prepared_statements: bool
    redis_url: str
    redis_url_file: Path | None
    registry_url: str
    registry_accounts: str
    registry_ca_file: Path | None
    registry_username: str
    registry_password: str
    registry_password_file: Path | None
    registry_password_command: list[str]
    registry_workspace: str
    unassigned_repositories: str
    behind_edge: bool
    checks_per_minute: int
    tokens_per_minute: int
    email_url: str
    email_url_file: Path | None
    email_from: str
    local_passwords: bool
    oidc_issuer: str
    oidc_client_id: str
    oidc_client_secret: str
    oidc_client_secret_file: Path | None
    oidc_name: str
    oidc_scopes: str
    oidc_parameters: str
    oidc_username_claim: str
    oidc_groups_claim: str
    oidc_ca_file: Path | None
    log_key_file: Path
    checkpoint_dir: Path
    origin_retention_days: int
    push_retention_days: int
    log_level: str
    log_format: str
    metrics_token: str
    metrics_token_file: Path | None
    otel_exporter_otlp_endpoint: str
    stop_delay_seconds: int

    @property
    def provider(self) -> Provider | None:
        """The identity provider; None where there is no single sign-on."""
        return make_provider(
            self.oidc_issuer,
            self.oidc_client_id,
            self.oidc_client_secret,
            name=self.oidc_name,
            scopes=self.oidc_scopes,
            parameters=self.oidc_parameters,
            username_claim=self.oidc_username_claim,
            groups_claim=self.oidc_groups_claim,
            ca_file=self.oidc_ca_file,
        )

    @property
    def registry_login(self) -> RegistryLogin:
        """Taglock's own account at the registry; without a user name it has none."""
        return RegistryLogin(
            self.registry_username,
            self.registry_password,
            self.registry_password_file,
            tuple(self.registry_password_command),
        )


def read_environment() -> Environment:
    """Read and check every variable. Raises BadSettingError for the first bad one.

    A variable that is empty counts as not set.
    """
    env = os.environ
    port = _number(env, "PORT", 8000, 1, 65535)
    data_dir = _path(env, "DATA_DIR", Path("var"))
    public_url = parse_site_url(
        "PUBLIC_URL",
        _text(env, "PUBLIC_URL", f"http://127.0.0.1:{port}"),
        "https://tags.example.org",
        is_public=True,
    )
    environment = Environment(
        secret_key=_secret(env, "SECRET_KEY"),
        secret_key_file=_optional_path(env, "SECRET_KEY_FILE"),
        debug=_switch(env, "DEBUG"),
        port=port,
        public_url=public_url,
        allowed_hosts=_names(env, "ALLOWED_HOSTS") or _loopback_and(public_url),
        hsts=_choice(env, "HSTS", HSTS_CHOICES).lower(),
        data_dir=data_dir,
        static_dir=_path(env, "STATIC_DIR", data_dir / "static"),
        database_url=_secret(env, "DATABASE_URL") or _embedded_database(data_dir),
        database_url_file=_optional_path(env, "DATABASE_URL_FILE"),
        database_pool_size=_number(env, "DATABASE_POOL_SIZE", 16, 1, 1000),
        database_patience_seconds=_number(env, "DATABASE_PATIENCE_SECONDS", 10, 1, 60),
        database_prepared_statements=_switch(env, "DATABASE_PREPARED_STATEMENTS", default=True),
        redis_url=_redis_url(env),
        redis_url_file=_optional_path(env, "REDIS_URL_FILE"),
        registry_url=_registry_url(env),
        registry_accounts=_choice(env, "REGISTRY_ACCOUNTS", tuple(Accounts)).lower(),
        registry_ca_file=_optional_path(env, "REGISTRY_CA_FILE"),
        registry_username=_text(env, "REGISTRY_USERNAME"),
        registry_password=_text(env, "REGISTRY_PASSWORD"),
        registry_password_file=_optional_path(env, "REGISTRY_PASSWORD_FILE"),
        registry_password_command=_command(env, "REGISTRY_PASSWORD_COMMAND"),
        registry_workspace=_text(env, "REGISTRY_WORKSPACE"),
        unassigned_repositories=_choice(env, "UNASSIGNED_REPOSITORIES", tuple(Unassigned)).lower(),
        behind_edge=_switch(env, "BEHIND_EDGE"),
        checks_per_minute=_number(env, "CHECKS_PER_MINUTE", 60_000, 1, 10_000_000),
        tokens_per_minute=_number(env, "TOKENS_PER_MINUTE", 1200, 1, 10_000_000),
        email_url=_secret(env, "EMAIL_URL"),
        email_url_file=_optional_path(env, "EMAIL_URL_FILE"),
        email_from=_text(env, "EMAIL_FROM"),
        local_passwords=_switch(env, "LOCAL_PASSWORDS", default=True),
        oidc_issuer=_text(env, "OIDC_ISSUER"),
        oidc_client_id=_text(env, "OIDC_CLIENT_ID"),
        oidc_client_secret=_secret(env, "OIDC_CLIENT_SECRET"),
        oidc_client_secret_file=_optional_path(env, "OIDC_CLIENT_SECRET_FILE"),
        oidc_name=_text(env, "OIDC_NAME", "single sign-on"),
        oidc_scopes=_text(env, "OIDC_SCOPES"),
        oidc_parameters=_text(env, "OIDC_PARAMETERS"),
        oidc_username_claim=_text(env, "OIDC_USERNAME_CLAIM", "preferred_username"),
        oidc_groups_claim=_text(env, "OIDC_GROUPS_CLAIM", "groups"),
        oidc_ca_file=_optional_path(env, "OIDC_CA_FILE"),
        log_key_file=_path(env, "LOG_KEY_FILE", data_dir / "lock-log-key"),
        checkpoint_dir=_path(env, "CHECKPOINT_DIR", data_dir / "checkpoints"),
        origin_retention_days=_number(env, "ORIGIN_RETENTION_DAYS", 0, 0, 36_500),
        push_retention_days=_number(env, "PUSH_RETENTION_DAYS", 0, 0, 36_500),
        log_level=_choice(env, "LOG_LEVEL", LOG_LEVELS).upper(),
        log_format=_choice(env, "LOG_FORMAT", LOG_FORMATS).lower(),
        metrics_token=_secret(env, "METRICS_TOKEN"),
        metrics_token_file=_optional_path(env, "METRICS_TOKEN_FILE"),
        otel_exporter_otlp_endpoint=_traces_url(env),
        stop_delay_seconds=_number(env, "STOP_DELAY_SECONDS", DEFAULT_STOP_DELAY_SECONDS, 0, 300),
    )
    _check(environment)
    return environment


def _text(env: Mapping[str, str], name: str, default: str = "") -> str:
    return env.get(name, "") or default


def _secret(env: Mapping[str, str], name: str) -> str:
    """Return a variable, or the only line of the file that its sister `…_FILE` names."""
    text, path = _text(env, name), _optional_path(env, f"{name}_FILE")
    if path is None:
        return text
    if text:
        raise BadSettingError(f"{name}_FILE and {name} are both set: leave out one of them")
    try:
        return read_password_file(path)
    except PasswordError as error:
        raise BadSettingError(f"{name}_FILE: {path} cannot be read, or isn't one line") from error


def _switch(env: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    text = _text(env, name).lower()
    if text and text not in SWITCHES:
        raise BadSettingError(f"{name} must be true or false")
    return SWITCHES.get(text, default)


def _number(env: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = _text(env, name, str(default))
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise BadSettingError(
            f"{name} must be a whole number from {least} to {most}, such as {default}"
        )
    if not least <= int(text) <= most:
        raise BadSettingError(
            f"{name} is {text}: it must be from {least} to {most}, such as {default}"
        )
    return int(text)


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """Return one of `choices`, the first of them where none is set, in upper or lower case."""
    text = _text(env, name, choices[0])
    if text.lower() not in choices:
        raise BadSettingError(f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}")
    return text


def _names(env: Mapping[str, str], name: str) -> list[str]:
    text = _text(env, name)
    names = [each.strip().lower() for each in text.split(",")] if text else []
    for each in names:
        check_allowed_host(each)
    return names


def _redis_url(env: Mapping[str, str]) -> str:
    value = _secret(env, "REDIS_URL")
    return parse_redis_url(value) if value else ""


def _registry_url(env: Mapping[str, str]) -> str:
    value = _text(env, "REGISTRY_URL")
    return parse_registry_url(value) if value else ""


def _traces_url(env: Mapping[str, str]) -> str:
    value = _text(env, "OTEL_EXPORTER_OTLP_ENDPOINT")
    if value and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", value):
        raise BadSettingError(
            "OTEL_EXPORTER_OTLP_ENDPOINT must be an address, such as http://collector:4318"
        )
    return value


def _command(env: Mapping[str, str], name: str) -> list[str]:
    """Return the words of a command, as a shell would split them."""
    try:
        return shlex.split(_text(env, name))
    except ValueError as error:
        raise BadSettingError(f"{name} has a quotation that does not end") from error


def _optional_path(env: Mapping[str, str], name: str) -> Path | None:
    text = _text(env, name)
    return Path(text).absolute() if text else None


def _path(env: Mapping[str, str], name: str, default: Path) -> Path:
    return Path(_text(env, name) or default).absolute()


def _embedded_database(data_dir: Path) -> str:
    return f"sqlite:///{quote(str(data_dir / 'taglock.sqlite3'))}"


def _loopback_and(public_url: str) -> list[str]:
    host = bracket(urlsplit(public_url).hostname or "localhost")
    return sorted({"127.0.0.1", "localhost", host})


def _check(environment: Environment) -> None:
    if environment.secret_key and len(environment.secret_key) < MIN_SECRET_KEY_LENGTH:
        raise BadSettingError(
            f"SECRET_KEY must have at least {MIN_SECRET_KEY_LENGTH} characters, or be left out"
        )
    _check_folders(environment)
    _check_log_key(environment)
    _check_database(environment)
    check_mail(environment.email_url, environment.email_from)
    check_metrics_token(environment.metrics_token)
    check_passwords(environment.provider, has_passwords=environment.local_passwords)
    check_registry_ca(environment.registry_ca_file, environment.registry_url)
    check_registry_login(
        environment.registry_login, environment.registry_url, environment.registry_accounts
    )
    check_repositories(
        environment.registry_workspace,
        environment.unassigned_repositories,
        environment.registry_accounts,
    )


def _check_folders(environment: Environment) -> None:
    _check_writable("DATA_DIR", environment.data_dir)
    # Not whether it can be written to: it may be away for a while, and is tried again.
    check_folder("CHECKPOINT_DIR", environment.checkpoint_dir)
    check_folder("STATIC_DIR", environment.static_dir)


def _check_log_key(environment: Environment) -> None:
    """Check that the lock log's key is usable, or could be made."""
    path = environment.log_key_file
    check_folder("LOG_KEY_FILE", path.parent)
    if path.exists():
        make_log_key_file(path, environment.public_url)
    else:
        make_log_key(environment.public_url)


def _check_writable(name: str, folder: Path) -> None:
    """Check that a folder is written to, or could be made. Nothing is made here."""
    check_folder(name, folder)
    if not folder.exists():
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise BadSettingError(f"{name} cannot be used: {folder} may not be written to")


def _check_database(environment: Environment) -> None:
    database = parse_database_url(environment.database_url)
    if database["ENGINE"].endswith(".sqlite3"):
        # Beside the file, SQLite writes two more.
        _check_writable("DATABASE_URL", Path(database["NAME"]).absolute().parent)
