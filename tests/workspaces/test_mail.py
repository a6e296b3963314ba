"""What is sent by mail, and what becomes of it without a mail server that works."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workspaces.mail import is_mail_address, mail_invitation
from workspaces.models import Workspace

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 0.3


@pytest.mark.parametrize("text", ["dana@example.org", "d.a+n@b.example.org", "dana@localhost"])
def test_what_can_be_mailed_to_is_an_address(text: str) -> None:
    assert is_mail_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dana",
        "@example.org",
        "a@b@example.org",
        "Dana <d@b.org>",
        "d@b.org, e@b.org",
        "d@b\n.org",
    ],
)
def test_what_cannot_is_none(text: str) -> None:
    assert not is_mail_address(text)


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def rude_server() -> Iterator[int]:
    """The port of a server that says that it takes no mail."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"554 no mail today\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


@pytest.mark.parametrize("server", ["silent_server", "closed_port", "rude_server"])
def test_a_mail_server_that_does_not_work_holds_nobody_up(
    request: pytest.FixtureRequest, settings: Any, server: str
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_PORT = request.getfixturevalue(server)
    settings.EMAIL_TIMEOUT = PATIENCE_SECONDS
    started_at = time.monotonic()
    acme = Workspace(slug="acme", name="Acme")
    assert mail_invitation("dana@example.org", acme, "https://x", inviter="alice") is False
    assert time.monotonic() - started_at < PATIENCE_SECONDS * 10


def test_a_name_that_could_be_a_header_is_none(settings: Any) -> None:
    odd = Workspace(slug="acme", name="Acme\nBcc: eve@example.org")
    assert mail_invitation("dana@example.org", odd, "https://x", inviter="alice") is False


SHOW = """
import django
from django.conf import settings
django.setup()
print(settings.HAS_MAIL, settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_HOST_USER,
      settings.EMAIL_HOST_PASSWORD, settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL,
      settings.EMAIL_TIMEOUT, settings.DEFAULT_FROM_EMAIL)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {
                "EMAIL_URL": "smtp://taglock:p%40ss@mail.example.org:587",
                "EMAIL_FROM": "Taglock <taglock@example.org>",
            },
            "True mail.example.org 587 taglock p@ss True False 5 Taglock <taglock@example.org>",
        ),
        ({}, "False localhost 25   False False None webmaster@localhost"),
    ],
)
def test_the_variables_reach_django(
    tmp_path: Path, variables: dict[str, str], expected: str
) -> None:
    inherited = {name: value for name, value in os.environ.items() if "EMAIL" not in name}
    ours = {"DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "packages_site.settings"}
    run = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=ROOT,
        env={**inherited, **ours, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.strip() == expected, run.stderr
