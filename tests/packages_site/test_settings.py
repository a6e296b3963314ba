"""The whole way, as an operator meets it: a process that reads the environment."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services.console import Console

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
