"""What variables mean, and what counts where they are not set."""

from dataclasses import fields
from pathlib import Path

import pytest

from packages_site.addresses import BadSettingError, parse_database_url
from packages_site.environment import Environment, read_environment
from packages_site.mail_server import MailServer, parse_email_url
from tests.packages_site.conftest import Set
from tests.services.certificates import make_certificate

KEY = "k" * 50


def test_everything_has_a_default(variables: Set, tmp_path: Path) -> None:
    assert read_environment() == Environment(
        secret_key="",
        secret_key_file=None,
        debug=False,
        port=8000,
        public_url="http://127.0.0.1:8000",
        allowed_hosts=["127.0.0.1", "localhost"],
        hsts="host",
        data_dir=tmp_path / "var",
        static_dir=tmp_path / "var" / "static",
        database_url=f"sqlite:///{tmp_path}/var/taglock.sqlite3",
        database_url_file=None,
        database_pool_size=16,
        database_patience_seconds=10,
        database_prepared_statements=True,
        redis_url="",
        redis_url_file=None,
        registry_url="",
        registry_accounts="tokens",
        registry_ca_file=None,
        registry_username="",
        registry_password="",
        registry_password_file=None,
        registry_password_command=[],
        registry_workspace="",
        unassigned_repositories="refuse",
        behind_edge=False,
        checks_per_minute=60_000,
        tokens_per_minute=1200,
        email_url="",
        email_url_file=None,
        email_from="",
        local_passwords=True,
        oidc_issuer="",
        oidc_client_id="",
        oidc_client_secret="",
        oidc_client_secret_file=None,
        oidc_name="single sign-on",
        oidc_scopes="",
        oidc_parameters="",
        oidc_username_claim="preferred_username",
        oidc_groups_claim="groups",
        oidc_ca_file=None,
        log_key_file=tmp_path / "var" / "lock-log-key",
        checkpoint_dir=tmp_path / "var" / "checkpoints",
        origin_retention_days=0,
        push_retention_days=0,
        log_level="INFO",
        log_format="text",
        metrics_token="",
        metrics_token_file=None,
        otel_exporter_otlp_endpoint="",
        stop_delay_seconds=5,
    )


def test_everything_can_be_set(variables: Set, tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    variables(
        SECRET_KEY=KEY,
        DEBUG="true",
        PORT="9000",
        PUBLIC_URL="https://tags.example.org/",
        ALLOWED_HOSTS="tags.example.org, 10.0.0.1,.example.net,[::1]",
        HSTS="Preload",
        DATA_DIR=str(tmp_path / "data"),
        STATIC_DIR="/usr/share/taglock/static",
        DATABASE_URL="postgresql://taglock:secret@db.example.org/taglock",
        DATABASE_POOL_SIZE="4",
        DATABASE_PATIENCE_SECONDS="30",
        DATABASE_PREPARED_STATEMENTS="false",
        REDIS_URL="rediss://redis.example.org/0",
        REGISTRY_URL="https://Registry.example.org:443/artifactory/",
        REGISTRY_ACCOUNTS="Registry",
        REGISTRY_CA_FILE=str(certificate),
        REGISTRY_USERNAME="robot$taglock",
        REGISTRY_PASSWORD_COMMAND="sh -c 'echo secret'",
        REGISTRY_WORKSPACE="acme",
        UNASSIGNED_REPOSITORIES="Allow",
        BEHIND_EDGE="true",
        CHECKS_PER_MINUTE="120000",
        TOKENS_PER_MINUTE="1",
        EMAIL_URL="smtp://taglock:secret@mail.example.org",
        EMAIL_FROM="Taglock <taglock@example.org>",
        LOCAL_PASSWORDS="off",
        OIDC_ISSUER="https://login.example.org/main/",
        OIDC_CLIENT_ID="taglock",
        OIDC_CLIENT_SECRET="hunter2",
        OIDC_NAME="Example ID",
        OIDC_SCOPES="openid groups",
        OIDC_PARAMETERS="access_type=offline&prompt=consent",
        OIDC_USERNAME_CLAIM="upn",
        OIDC_GROUPS_CLAIM="realm_access.roles",
        OIDC_CA_FILE=str(certificate),
        LOG_KEY_FILE=str(tmp_path / "keys" / "log"),
        CHECKPOINT_DIR="elsewhere",
        ORIGIN_RETENTION_DAYS="90",
        PUSH_RETENTION_DAYS="400",
        LOG_LEVEL="debug",
        LOG_FORMAT="JSON",
        METRICS_TOKEN="m" * 32,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318",
        STOP_DELAY_SECONDS="20",
    )
    assert read_environment() == Environment(
        secret_key=KEY,
        secret_key_file=None,
        debug=True,
        port=9000,
        public_url="https://tags.example.org",
        allowed_hosts=["tags.example.org", "10.0.0.1", ".example.net", "[::1]"],
        hsts="preload",
        data_dir=tmp_path / "data",
        static_dir=Path("/usr/share/taglock/static"),
        database_url="postgresql://taglock:secret@db.example.org/taglock",
        database_url_file=None,
        database_pool_size=4,
        database_patience_seconds=30,
        database_prepared_statements=False,
        redis_url="rediss://redis.example.org/0?ssl_cert_reqs=required",
        redis_url_file=None,
        registry_url="https://registry.example.org/artifactory",
        registry_accounts="registry",
        registry_ca_file=certificate,
        registry_username="robot$taglock",
        registry_password="",
        registry_password_file=None,
        registry_password_command=["sh", "-c", "echo secret"],
        registry_workspace="acme",
        unassigned_repositories="allow",
        behind_edge=True,
        checks_per_minute=120_000,
        tokens_per_minute=1,
        email_url="smtp://taglock:secret@mail.example.org",
        email_url_file=None,
        email_from="Taglock <taglock@example.org>",
        local_passwords=False,
        oidc_issuer="https://login.example.org/main/",
        oidc_client_id="taglock",
        oidc_client_secret="hunter2",
        oidc_client_secret_file=None,
        oidc_name="Example ID",
        oidc_scopes="openid groups",
        oidc_parameters="access_type=offline&prompt=consent",
        oidc_username_claim="upn",
        oidc_groups_claim="realm_access.roles",
        oidc_ca_file=certificate,
        log_key_file=tmp_path / "keys" / "log",
        checkpoint_dir=tmp_path / "elsewhere",
        origin_retention_days=90,
        push_retention_days=400,
        log_level="DEBUG",
        log_format="json",
        metrics_token="m" * 32,
        metrics_token_file=None,
        otel_exporter_otlp_endpoint="http://collector:4318",
        stop_delay_seconds=20,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", KEY),
        ("DATABASE_URL", "postgresql://taglock:secret@db.example.org/taglock"),
        ("REDIS_URL", "redis://:secret@redis.example.org/0"),
        ("EMAIL_URL", "smtp://taglock:secret@mail.example.org"),
    ],
)
def test_a_secret_can_be_in_a_file(variables: Set, tmp_path: Path, name: str, value: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{value}\n")
    variables(**{f"{name}_FILE": str(file), "EMAIL_FROM": "taglock@example.org"})
    assert getattr(read_environment(), name.lower()) == value
    variables(**{name: value})
    with pytest.raises(BadSettingError, match=f"{name}_FILE and {name} are both set"):
        read_environment()


def test_the_public_address_is_an_allowed_host(variables: Set) -> None:
    variables(PUBLIC_URL="https://tags.example.org")
    assert read_environment().allowed_hosts == ["127.0.0.1", "localhost", "tags.example.org"]


@pytest.mark.parametrize("name", [each.name.upper() for each in fields(Environment)])
def test_an_empty_variable_counts_as_not_set(variables: Set, name: str) -> None:
    expected = read_environment()
    variables(**{name: ""})
    assert read_environment() == expected


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("HTTPS://Tags.Example.org/", "https://tags.example.org"),
        ("https://tags.example.org:443", "https://tags.example.org"),
        ("https://tags.example.org:8443/", "https://tags.example.org:8443"),
        ("http://tags.example.org:443", "http://tags.example.org:443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_public_address_is_written_as_browsers_send_it(
    variables: Set, value: str, meant: str
) -> None:
    variables(PUBLIC_URL=value)
    assert read_environment().public_url == meant


def test_the_host_of_a_public_address_of_ipv6_is_allowed(variables: Set) -> None:
    variables(PUBLIC_URL="http://[::1]:8000")
    assert read_environment().allowed_hosts == ["127.0.0.1", "[::1]", "localhost"]


@pytest.mark.parametrize(
    "value",
    [
        "redis://redis.example.org",
        "redis://:p%2F@redis.example.org:6379/15",
        "redis://my_redis/0",
        "rediss://redis.example.org/0?ssl_cert_reqs=none&ssl_check_hostname=false",
    ],
)
def test_a_good_redis_address_is_left_as_it_is(variables: Set, value: str) -> None:
    variables(REDIS_URL=value)
    assert read_environment().redis_url == value


def test_redis_over_tls_asks_for_a_valid_certificate(variables: Set, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    variables(REDIS_URL=f"rediss://redis.example.org/0?ssl_ca_certs={file}")
    assert read_environment().redis_url.endswith("&ssl_cert_reqs=required")


def test_a_registry_that_lets_everyone_in_needs_no_account(variables: Set) -> None:
    variables(REGISTRY_URL="https://registry.example.org", REGISTRY_ACCOUNTS="taglock")
    assert read_environment().registry_login.username == ""


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
    database = parse_database_url(read_environment().database_url)
    assert database["NAME"] == str(tmp_path / folder / "taglock.sqlite3")
