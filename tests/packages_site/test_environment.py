import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest

from packages_site.addresses import BadSettingError, parse_database_url
from packages_site.environment import Environment, read_environment
from packages_site.key_files import make_log_key_file, read_or_make_secret_key
from packages_site.mail_server import MailServer, parse_email_url
from tests.services.certificates import make_certificate
from tests.services.console import Console
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


# Every value that Taglock cannot run with, and a piece of the line that says so.
BAD = {
    "SECRET_KEY": {
        "short": "at least 50 characters",
        "k" * 49: "at least 50 characters",
    },
    **{
        f"{name}_FILE": {"/nowhere": "cannot be read", "/dev/null": "isn't one line"}
        for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "EMAIL_URL")
    },
    "DEBUG": {"perhaps": "true or false", "2": "true or false"},
    "BEHIND_EDGE": {"perhaps": "true or false"},
    "PORT": {
        "0": "from 1 to 65535",
        "65536": "from 1 to 65535",
        "-1": "from 1 to 65535",
        "http": "whole number",
        "80.5": "whole number",
        "9" * 30: "whole number",
    },
    "PUBLIC_URL": {
        "tags.example.org": "must begin with http:// or https://",
        "tags.example.org:8000": "must begin with http:// or https://",
        "ftp://tags.example.org": "must begin with http:// or https://",
        "https:/tags.example.org": "must begin with http:// or https://",
        "https://": "an invalid host",
        "https://tags.example.org/taglock": "scheme, host and port alone",
        "https://tags.example.org?x=1": "scheme, host and port alone",
        "https://tags.example.org?": "scheme, host and port alone",
        "https://tags.example.org#top": "scheme, host and port alone",
        "https://user:password@tags.example.org": "scheme, host and port alone",
        "https://@tags.example.org": "scheme, host and port alone",
        "https://tags.example.org:": "port must be from 1 to 65535",
        "https://tags.example.org:0": "port must be from 1 to 65535",
        "https://tags.example.org:99999": "bad host or port",
        "https://tags.example.org:http": "bad host or port",
        "https://[::1": "bad host or port",
        "https://tags example.org": "a blank",
        "https://tags.example.org ": "a blank",
        "https://tags_1.example.org": "an underscore",
        "https://täg.example.org": "an invalid host",
        "https://a+b.example.org": "an invalid host",
        "https://tags..example.org": "an invalid host",
    },
    "ALLOWED_HOSTS": {
        "https://tags.example.org": "host names alone",
        "tags.example.org:8000": "host names alone",
        "tags.example.org/": "host names alone",
        "tags.example.org b.example.org": "host names alone",
        "tags.example.org,,b.example.org": "host names alone",
        "tags.example.org,": "host names alone",
        "*.example.org": "host names alone",
        "::1": "host names alone",
        "[::1]:8000": "host names alone",
        "tags_1.example.org": "host names alone",
    },
    "HSTS": {"yes": "host, subdomains or preload", "subdomains,preload": "host, subdomains"},
    "DATA_DIR": {"/dev/null": "must be a folder", "/dev/null/data": "must be a folder"},
    "STATIC_DIR": {"/dev/null": "must be a folder", "/dev/null/static": "must be a folder"},
    "CHECKPOINT_DIR": {"/dev/null": "must be a folder", "/dev/null/a/b": "must be a folder"},
    "DATABASE_URL": {
        "taglock.sqlite3": "must begin with",
        "mysql://db.example.org/taglock": "must begin with",
        "nonsense://": "must begin with",
        "POSTGRESQL://db.example.org/taglock": "must begin with",
        "sqlite://": "must name a file",
        "sqlite://taglock.sqlite3": "must name a file",
        "sqlite:///": "must name a file",
        "sqlite:////": "must name a file",
        "sqlite:///:memory:": "must name a file",
        "sqlite://:memory:": "must name a file",
        "sqlite:///a%00b": "must name a file",
        "sqlite:////dev": "/dev is a folder",
        "sqlite:////dev/null/taglock.sqlite3": "must be a folder",
        "sqlite:///taglock.sqlite3?timeout=5": "SQLite takes none",
        "sqlite:///taglock.sqlite3#a": "SQLite takes none",
        "postgresql://db.example.org": "names no database",
        "postgresql://db.example.org/": "names no database",
        "postgresql://db.example.org:port/taglock": "the port must be",
        "postgresql://db.example.org:65536/taglock": "the port must be",
        "postgresql://db.example.org:0/taglock": "the port must be",
        "postgresql://[::1/taglock": "cannot be read",
        "postgresql://a,b:1,c/taglock?port=1,2": "could not match 2 port numbers to 3 hosts",
        "postgresql://db.example.org/tag lock": "a blank",
        "postgresql://u:p%zz@db.example.org/taglock": "cannot be read",
        "postgresql://db.example.org/taglock?sslmod=require": "unknown option 'sslmod'",
        "postgresql://db.example.org/taglock?sslmode": "?name=value",
        "postgresql://db.example.org/taglock?sslmode=": "is empty",
        "postgresql://db.example.org/taglock?sslmode=on": 'invalid sslmode value: "on"',
        "postgresql://db.example.org/taglock?sslmode=require&sslmode=disable": "more than once",
        "postgresql://db.example.org/taglock?sslrootcert=/nowhere": "cannot be read",
        "postgresql://db.example.org/taglock?passfile=/nowhere": "cannot be read",
        "postgresql://db.example.org/taglock?sslkey=/dev": "cannot be read",
        "postgresql://db.example.org/taglock?sslrootcert=system&sslmode=require": "weak sslmode",
        "postgresql://db.example.org/taglock?target_session_attrs=read-only": "Taglock writes",
        "postgresql://db.example.org/taglock?target_session_attrs=standby": "Taglock writes",
        "postgresql://db.example.org/taglock?connect_timeout=0": "from 1 to 60",
        "postgresql://db.example.org/taglock?connect_timeout=soon": "from 1 to 60",
        "postgresql://db.example.org/taglock?keepalives=yes": "from 0 to 1",
        "postgresql://db.example.org/taglock?options=-cfsync=off": "ALTER ROLE",
        "postgresql://db.example.org/taglock?client_encoding=latin1": "UTF8",
        "postgresql://db.example.org/taglock?replication=true": "ordinary connection",
        "postgresql://db.example.org/taglock?service=main": "the server's address",
    },
    "DATABASE_POOL_SIZE": {"0": "from 1 to 1000", "many": "whole number"},
    "DATABASE_PREPARED_STATEMENTS": {"sometimes": "true or false"},
    "DATABASE_PATIENCE_SECONDS": {"61": "from 1 to 60", "-1": "from 1 to 60"},
    "REDIS_URL": {
        "redis.example.org": "must begin with redis:// or rediss://",
        "http://redis.example.org": "must begin with redis:// or rediss://",
        "redis://": "an invalid host",
        "redis://[::1": "bad host or port",
        "redis://redis.example.org:port": "bad host or port",
        "redis://redis.example.org:70000": "bad host or port",
        "redis://redis.example.org/notadb": "the number of a database",
        "redis://redis.example.org/-1": "the number of a database",
        "redis://redis.example.org/0/1": "the number of a database",
        "redis://redis.example.org/0#1": "the number of a database",
        "redis://a.example.org/0;redis://b.example.org/0": "the number of a database",
        "redis://redis.example.org/0?db=1": "unknown option 'db'",
        "redis://redis.example.org/0?ssl_cert_reqs=none": "unknown option 'ssl_cert_reqs'",
        "rediss://redis.example.org/0?ssl_cert_reqs=maybe": "required or none",
        "rediss://redis.example.org/0?ssl_ca_certs=/nowhere": "cannot be read",
    },
    "REGISTRY_URL": {
        "registry.example.org:5000": "must begin with http:// or https://",
        "ftp://registry.example.org": "must begin with http:// or https://",
        "http://": "an invalid host",
        "http://registry.example.org/v2/": "ends with /v2",
        "http://registry.example.org/a%20b": "a path with other characters",
        "http://registry.example.org/a/../b": "a path with other characters",
        "http://registry.example.org//a": "a path with other characters",
        "http://registry.example.org/a;b": "a path with other characters",
        "http://registry.example.org?x=1": "scheme, host, port and path alone",
        "http://registry.example.org?": "scheme, host, port and path alone",
        "http://registry.example.org#x": "scheme, host, port and path alone",
        "http://user:password@registry.example.org": "scheme, host, port and path alone",
        "http://registry.example.org:port": "bad host or port",
        "http://[::1": "bad host or port",
    },
    "REGISTRY_ACCOUNTS": {
        "harbor": "must be tokens, registry or taglock",
        "registry": "needs REGISTRY_URL",
        "taglock": "needs REGISTRY_URL",
    },
    "REGISTRY_CA_FILE": {"/nowhere": "needs a REGISTRY_URL that begins with https://"},
    "REGISTRY_USERNAME": {"robot": "needs REGISTRY_URL"},
    "REGISTRY_PASSWORD": {"hunter2": "needs REGISTRY_URL"},
    "REGISTRY_PASSWORD_FILE": {"/nowhere": "needs REGISTRY_URL"},
    "REGISTRY_PASSWORD_COMMAND": {
        "print hunter2": "needs REGISTRY_URL",
        "print 'hunter2": "a quotation that does not end",
    },
    "UNASSIGNED_REPOSITORIES": {
        "maybe": "must be refuse or allow",
        "allow": "needs REGISTRY_ACCOUNTS=registry",
    },
    "REGISTRY_WORKSPACE": {"Acme": "cannot be a slug", "acme/api": "cannot be a slug"},
    "CHECKS_PER_MINUTE": {
        "0": "from 1 to 10000000",
        "10000001": "from 1 to 10000000",
        "unlimited": "whole number",
    },
    "TOKENS_PER_MINUTE": {"0": "from 1 to 10000000", "10000001": "from 1 to 10000000"},
    "EMAIL_URL": {
        "mail.example.org": "must begin with smtp:// or smtps://",
        "http://mail.example.org": "must begin with smtp:// or smtps://",
        "smtp://": "an invalid host",
        "smtp://mail.example.org:port": "bad host or port",
        "smtp://mail.example.org/folder": "something after the port",
        "smtp://mail.example.org?tls=no": "something after the port",
        "smtp://user@mail.example.org": "both a user and a password",
        "smtp://:password@mail.example.org": "both a user and a password",
    },
    "EMAIL_FROM": {
        "Taglock": "not an address",
        "taglock@": "not an address",
        "a@example.org, b@example.org": "not an address",
        "a@example.org\nBcc: b@example.org": "not an address",
    },
    "LOCAL_PASSWORDS": {"maybe": "true or false", "false": "needs OIDC_ISSUER"},
    "OIDC_ISSUER": {
        "login.example.org": "the provider's address",
        "ftp://login.example.org": "the provider's address",
        "https://": "the provider's address",
        "https://login.example.org/?a=1": "without ? and #",
        "https://user:hunter2@login.example.org": "the provider's address",
        "https://login.example.org:port": "the provider's address",
        "http://login.example.org": "begin with https://",
        "https://login.example.org/.well-known/openid-configuration": "end before",
        "https://login.example.org/" + "a" * 255: "more than 255 characters",
    },
    "OIDC_CLIENT_ID": {"taglock": "needs OIDC_ISSUER"},
    "OIDC_CLIENT_SECRET": {"hunter2": "needs OIDC_ISSUER"},
    "OIDC_CLIENT_SECRET_FILE": {"/nowhere": "/nowhere cannot be read, or isn't one line"},
    "OIDC_SCOPES": {"openid": "needs OIDC_ISSUER"},
    "OIDC_PARAMETERS": {"prompt=consent": "needs OIDC_ISSUER"},
    "OIDC_CA_FILE": {"/nowhere": "needs OIDC_ISSUER"},
    "OIDC_NAME": {},
    "OIDC_USERNAME_CLAIM": {},
    "OIDC_GROUPS_CLAIM": {},
    "ORIGIN_RETENTION_DAYS": {
        "-1": "from 0 to 36500",
        "36501": "from 0 to 36500",
        "a month": "whole number",
    },
    "PUSH_RETENTION_DAYS": {"-1": "from 0 to 36500"},
    "LOG_LEVEL": {"loud": "info, debug, warning or error", "5": "info, debug"},
    "LOG_FORMAT": {"xml": "text or json"},
    "METRICS_TOKEN": {"hunter2": "at least 20 characters", "a b" * 10: "letters, digits and"},
    "OTEL_EXPORTER_OTLP_ENDPOINT": {"collector:4318": "an address", "http://": "an address"},
    "STOP_DELAY_SECONDS": {"301": "from 0 to 300", "long": "whole number"},
    "METRICS_TOKEN_FILE": {"/nowhere": "/nowhere cannot be read, or isn't one line"},
}


@pytest.mark.parametrize(
    ("name", "value", "piece"),
    [(name, value, piece) for name, values in BAD.items() for value, piece in values.items()],
)
def test_a_bad_value_is_told_in_one_line_that_names_its_variable(
    variables: Set, name: str, value: str, piece: str
) -> None:
    variables(**{name: value})
    with pytest.raises(BadSettingError) as caught:
        read_environment()
    line = str(caught.value)
    assert line.startswith(name)
    assert piece in line
    assert "\n" not in line


def test_every_variable_has_a_bad_value_above_but_files_that_are_tried_below() -> None:
    assert {each.name.upper() for each in fields(Environment)} == {*BAD, "LOG_KEY_FILE"}


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
        ("EMAIL_URL", "smtp://:hunter2@mail.example.org"),
        ("PUBLIC_URL", "https://taglock:hunter2@tags.example.org"),
        ("REGISTRY_URL", "http://taglock:hunter2@registry.example.org"),
        ("REDIS_URL", "redis://:hunter2@redis.example.org/notadb"),
        ("REDIS_URL", "redis://:hunter2@redis.example.org/0?db=1"),
        ("DATABASE_URL", "postgresql://taglock:hunter2@db.example.org"),
        ("DATABASE_URL", "postgresql://taglock:hunter2@db.example.org:70000/taglock"),
        ("DATABASE_URL", "postgresql://taglock:hunter2@db.example.org/taglock?sslmode=on"),
        ("DATABASE_URL", "postgresql://taglock:hunter2@db.example.org/taglock?ssl_mode=on"),
        ("DATABASE_URL", "postgresql://db.example.org/taglock?password=hunter2&options=-c"),
        # Special characters that are not percent-encoded.
        *(
            (name, f"{scheme}://taglock:hunter2{special}hunter2@host.example.org/0")
            for name, scheme in (
                ("DATABASE_URL", "postgresql"),
                ("REDIS_URL", "redis"),
                ("EMAIL_URL", "smtp"),
            )
            for special in ("/", "?", "#", "[", "%zz ", " ", "?hunter2=", "/1?hunter2=", "/?port=")
        ),
    ],
)
def test_a_secret_is_not_told(variables: Set, name: str, value: str) -> None:
    variables(**{name: value})
    with pytest.raises(BadSettingError) as caught:
        read_environment()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "REGISTRY_USERNAME is missing: REGISTRY_ACCOUNTS=registry needs an account"),
        (
            {
                "REGISTRY_ACCOUNTS": "tokens",
                "REGISTRY_USERNAME": "robot",
                "REGISTRY_PASSWORD": "hunter2",
            },
            "REGISTRY_USERNAME needs REGISTRY_ACCOUNTS",
        ),
        ({"REGISTRY_USERNAME": "robot"}, "REGISTRY_USERNAME needs REGISTRY_PASSWORD, REGISTRY_"),
        ({"REGISTRY_PASSWORD": "hunter2"}, "REGISTRY_USERNAME is missing: REGISTRY_PASSWORD is"),
        (
            {
                "REGISTRY_USERNAME": "robot",
                "REGISTRY_PASSWORD": "hunter2",
                "REGISTRY_PASSWORD_COMMAND": "echo hunter2",
            },
            "REGISTRY_USERNAME has several passwords",
        ),
        (
            {"REGISTRY_USERNAME": "ro:bot", "REGISTRY_PASSWORD": "hunter2"},
            "REGISTRY_USERNAME has a colon",
        ),
        (
            {"REGISTRY_USERNAME": "r" * 256, "REGISTRY_PASSWORD": "hunter2"},
            "REGISTRY_USERNAME has a colon",
        ),
        (
            {"REGISTRY_USERNAME": "robot", "REGISTRY_PASSWORD": "hunter2\nhunter2"},
            "REGISTRY_PASSWORD has a control character",
        ),
        (
            {"REGISTRY_USERNAME": "robot", "REGISTRY_PASSWORD_FILE": "/nowhere"},
            "REGISTRY_PASSWORD_FILE: /nowhere: the file with its password cannot be read",
        ),
        (
            {"REGISTRY_USERNAME": "robot", "REGISTRY_PASSWORD_FILE": "empty"},
            "is not one line with a password",
        ),
        (
            {"REGISTRY_USERNAME": "robot", "REGISTRY_PASSWORD_COMMAND": "/nowhere/aws hunter2"},
            "REGISTRY_PASSWORD_COMMAND begins with a program that cannot be found",
        ),
        ({"REGISTRY_CA_FILE": "empty"}, "has no certificate in PEM format"),
        ({"REGISTRY_CA_FILE": "/nowhere"}, "REGISTRY_CA_FILE cannot be read"),
    ],
)
def test_an_account_at_the_registry_that_cannot_work_stops_the_start(
    variables: Set, tmp_path: Path, values: dict[str, str], line: str
) -> None:
    (tmp_path / "empty").touch()
    variables(
        **{"REGISTRY_URL": "https://registry.example.org", "REGISTRY_ACCOUNTS": "registry"} | values
    )
    with pytest.raises(BadSettingError) as caught:
        read_environment()
    assert line in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_registry_that_lets_everyone_in_needs_no_account(variables: Set) -> None:
    variables(REGISTRY_URL="https://registry.example.org", REGISTRY_ACCOUNTS="taglock")
    assert read_environment().registry_login.username == ""


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"OIDC_CLIENT_ID": ""}, "OIDC_CLIENT_ID is missing"),
        ({"OIDC_CLIENT_SECRET": "hunter2\n"}, "OIDC_CLIENT_SECRET has a control character"),
        ({"OIDC_NAME": "a" * 41}, "OIDC_NAME has a control character, a blank at an end, or more"),
        ({"OIDC_USERNAME_CLAIM": " name"}, "OIDC_USERNAME_CLAIM has a control character"),
        ({"OIDC_GROUPS_CLAIM": "a\tb"}, "OIDC_GROUPS_CLAIM has a control character"),
        ({"OIDC_SCOPES": "profile"}, "OIDC_SCOPES must be scopes"),
        ({"OIDC_SCOPES": 'openid "'}, "OIDC_SCOPES must be scopes"),
        ({"OIDC_PARAMETERS": "prompt"}, "OIDC_PARAMETERS must be written as in an address"),
        ({"OIDC_PARAMETERS": "state=1"}, "OIDC_PARAMETERS must leave out state"),
        ({"OIDC_CA_FILE": "empty"}, "OIDC_CA_FILE: "),
        (
            {"OIDC_ISSUER": "http://127.0.0.1:9000", "OIDC_CA_FILE": "empty"},
            "OIDC_CA_FILE needs an OIDC_ISSUER that begins with https://",
        ),
    ],
)
def test_an_identity_provider_that_cannot_work_stops_the_start(
    variables: Set, tmp_path: Path, values: dict[str, str], line: str
) -> None:
    (tmp_path / "empty").touch()
    good = {"OIDC_ISSUER": "https://login.example.org", "OIDC_CLIENT_ID": "taglock"}
    variables(**good | values)
    with pytest.raises(BadSettingError) as caught:
        read_environment()
    assert str(caught.value).startswith(line)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


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
    database = parse_database_url(read_environment().database_url)
    assert database["NAME"] == str(tmp_path / folder / "taglock.sqlite3")


# The whole way, as an operator meets it.


Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_python(python: Console, tmp_path: Path) -> Check:
    """Return a function that runs Python with Taglock's settings and these values."""
    settings = {"DJANGO_SETTINGS_MODULE": "packages_site.settings", "DATA_DIR": str(tmp_path)}

    def run_python(*arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
        return python.run(*arguments, env={**settings, **values})

    return run_python


@pytest.mark.process
def test_a_good_environment_starts(run_python: Check) -> None:
    done = run_python("manage.py", "check")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PUBLIC_URL", "https://[::1"),
        ("DATABASE_URL", "mysql://taglock:hunter2@db.example.org/taglock"),
        ("DATABASE_URL", "postgresql://taglock:hunter2@db.example.org/taglock?sslmode=on"),
        ("DATA_DIR", "/dev/null"),
        ("DATA_DIR", "/dev/null/data"),
        ("CHECKPOINT_DIR", "/dev/null"),
        ("LOG_KEY_FILE", "/dev/null/key"),
        ("LOG_KEY_FILE", "/dev"),
        ("LOG_KEY_FILE", "/dev/null"),
        # A file that can be opened, and not read.
        ("LOG_KEY_FILE", "/proc/self/mem"),
        ("ALLOWED_HOSTS", "https://tags.example.org"),
        ("REDIS_URL", "redis://:hunter2@redis.example.org/notadb"),
        ("HSTS", "yes"),
    ],
)
def test_a_bad_environment_stops_the_start_with_one_line(
    run_python: Check, name: str, value: str
) -> None:
    done = run_python("manage.py", "check", **{name: value})
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("taglock: bad setting: ")
    assert done.stderr.count("\n") == 1
    assert name in done.stderr
    assert "hunter2" not in done.stderr


READ_HSTS = (
    "from django.http import HttpResponse; from django.test import RequestFactory; "
    "from django.middleware.security import SecurityMiddleware; "
    "answer = SecurityMiddleware(lambda _: HttpResponse())"
    "(RequestFactory().get('/', secure=True)); "
    "print(answer.headers.get('Strict-Transport-Security'))"
)


@pytest.mark.process
@pytest.mark.parametrize(
    ("url", "hsts", "header"),
    [
        ("https://tags.example.org", "", "max-age=31536000"),
        ("HTTPS://tags.example.org", "host", "max-age=31536000"),
        ("https://tags.example.org", "subdomains", "max-age=31536000; includeSubDomains"),
        ("https://tags.example.org", "preload", "max-age=31536000; includeSubDomains; preload"),
        ("http://tags.example.org", "preload", "None"),
    ],
)
def test_hsts_binds_other_hosts_only_where_it_is_asked_to(
    run_python: Check, url: str, hsts: str, header: str
) -> None:
    done = run_python("-c", READ_HSTS, PUBLIC_URL=url, HSTS=hsts)
    assert (done.stdout, done.returncode) == (f"{header}\n", 0), done.stderr


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


@pytest.mark.parametrize("name", ["DATA_DIR", "DATABASE_URL"])
def test_a_folder_that_may_not_be_written_to_is_told(
    variables: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    variables(**{name: f"sqlite:///{folder}/db" if name == "DATABASE_URL" else str(folder)})
    monkeypatch.setattr("os.access", lambda path, _: path != folder)
    with pytest.raises(BadSettingError, match=f"^{name} cannot be used: .* written to"):
        read_environment()


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
