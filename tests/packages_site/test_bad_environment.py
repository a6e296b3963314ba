"""What Taglock cannot run with is said in one line, and no secret with it."""

from dataclasses import fields
from pathlib import Path

import pytest

from packages_site.addresses import BadSettingError
from packages_site.environment import Environment, read_environment
from tests.packages_site.conftest import Set

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


def test_every_variable_has_a_bad_value_above_but_the_file_that_a_start_tries() -> None:
    assert {each.name.upper() for each in fields(Environment)} == {*BAD, "LOG_KEY_FILE"}


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
