"""PostgreSQL and Redis over TLS: what the addresses ask for is what the connections do."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from packages_site.addresses import parse_redis_url
from packages_site.local import find_free_ports
from tests.conftest import skip_or_fail
from tests.services.certificates import Certificates, make_certificates
from tests.services.console import Console
from tests.services.postgresql import as_postgres, find_bin, make_folder, postgresql
from tests.services.redis import RedisServer

pytestmark = pytest.mark.process

Ask = Callable[[str], subprocess.CompletedProcess[str]]
ASK = (
    "import django; django.setup(); from django.db import connection; "
    "cursor = connection.cursor(); cursor.execute("
    "'SELECT ssl, application_name FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
    "WHERE pid = pg_backend_pid()'); print(*cursor.fetchone())"
)


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    """Files of an authority and of a server that is localhost, which PostgreSQL may read."""
    folder = make_folder("taglock-certificates-")
    folder.chmod(0o755)
    files = make_certificates(folder)
    if as_postgres():
        shutil.chown(files.key, "postgres", "postgres")
    yield files
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[str]:
    """The address of a PostgreSQL that can do TLS, and takes connections without it too."""
    bin_dir = find_bin()
    if bin_dir is None:
        skip_or_fail("PostgreSQL's server (Debian: postgresql)")
        return
    options = (
        f"ssl = on\nssl_cert_file = '{certificates.certificate}'\n"
        f"ssl_key_file = '{certificates.key}'\n"
    )
    with postgresql(bin_dir, options) as address:
        yield address


@pytest.fixture
def ask_server(python: Console, tmp_path: Path) -> Ask:
    """Return a function that lets Taglock, with its own settings, say how it is connected."""

    def ask_server(url: str) -> subprocess.CompletedProcess[str]:
        env = {
            "DJANGO_SETTINGS_MODULE": "packages_site.settings",
            "SECRET_KEY": 50 * "s",
            "DATA_DIR": str(tmp_path),
            "DATABASE_URL": url,
            "DATABASE_PATIENCE_SECONDS": "2",
        }
        # Not by manage.py: its commands want a database that is migrated.
        return python.run("-c", ASK, env=env)

    return ask_server


@pytest.mark.parametrize(
    ("host", "options", "answer"),
    [
        ("localhost", "sslmode=disable", "False "),
        ("localhost", "sslmode=require&application_name=tag%20lock", "True tag lock"),
        ("localhost", "ssl=true", "True "),
        ("localhost", "sslmode=verify-full&sslrootcert={ca}", "True "),
        ("nowhere:{port},localhost", "sslmode=verify-full&sslrootcert={ca}", "True "),
        ("", "host={socket}&port={port}&application_name=a", "False a"),
        ("{encoded_socket}:{port}", "target_session_attrs=read-write&connect_timeout=9", "False "),
    ],
)
def test_a_connection_is_what_its_address_asks_for(
    server: str, certificates: Certificates, ask_server: Ask, host: str, options: str, answer: str
) -> None:
    done = ask_server(fill(server, certificates, host, options))
    assert (done.stdout.removesuffix("\n"), done.returncode) == (answer, 0), done.stderr


@pytest.mark.parametrize(
    ("host", "options", "reason"),
    [
        # Without the authority, and under a name that is not in the certificate.
        ("localhost", "sslmode=verify-full", "certificate"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={ca}", "certificate"),
    ],
)
def test_a_server_that_cannot_be_verified_is_not_talked_to(
    server: str, certificates: Certificates, ask_server: Ask, host: str, options: str, reason: str
) -> None:
    done = ask_server(fill(server, certificates, host, options))
    assert (done.stdout, done.returncode) == ("", 1)
    assert reason in done.stderr


def test_a_server_without_tls_is_not_talked_to_where_it_is_required(
    server: str, certificates: Certificates, ask_server: Ask
) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET ssl = off")
        connection.execute("SELECT pg_reload_conf()")
        done = ask_server(fill(server, certificates, "localhost", "sslmode=require"))
        connection.execute("ALTER SYSTEM RESET ssl")
        connection.execute("SELECT pg_reload_conf()")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "server does not support SSL, but SSL was required" in done.stderr


def fill(server: str, certificates: Certificates, host: str, options: str) -> str:
    """Return an address of the server: the host, and options behind the database's name."""
    port = urlsplit(server).port
    with psycopg.connect(server) as connection:
        (socket,) = connection.execute("SHOW unix_socket_directories").fetchone() or ("",)
    names = {
        "port": port,
        "ca": certificates.authority,
        "socket": socket,
        "encoded_socket": socket.replace("/", "%2F"),
    }
    suffix = "" if not host or "{" in host.rpartition(",")[2] else f":{port}"
    return f"postgresql://taglock@{host}{suffix}/postgres?{options}".format(**names)


@pytest.fixture(scope="module")
def redis_port(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a Redis that does TLS."""
    (port,) = find_free_ports(1)
    server = RedisServer(
        tmp_path_factory.mktemp("redis"),
        f"--tls-port {port} --tls-cert-file {certificates.certificate} --tls-key-file "
        f"{certificates.key} --tls-ca-cert-file {certificates.authority} --tls-auth-clients no",
    )
    server.start()
    yield port
    server.stop()


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("localhost", "?ssl_ca_certs={ca}"),
        ("127.0.0.1", "?ssl_ca_certs={ca}&ssl_check_hostname=false"),
        ("127.0.0.1", "?ssl_cert_reqs=none"),
    ],
)
def test_a_redis_whose_certificate_is_good_is_talked_to(
    redis_port: int, certificates: Certificates, host: str, options: str
) -> None:
    connect_to_redis(f"rediss://{host}:{redis_port}/0{options.format(ca=certificates.authority)}")


@pytest.mark.parametrize(
    ("host", "options"), [("localhost", ""), ("127.0.0.1", "?ssl_ca_certs={ca}")]
)
def test_a_redis_that_cannot_be_verified_is_not_talked_to(
    redis_port: int, certificates: Certificates, host: str, options: str
) -> None:
    with pytest.raises(OperationalError, match="certificate"):
        connect_to_redis(
            f"rediss://{host}:{redis_port}/0{options.format(ca=certificates.authority)}"
        )


def connect_to_redis(url: str) -> None:
    with Connection(parse_redis_url(url), connect_timeout=5) as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
