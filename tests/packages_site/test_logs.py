"""Log lines tell no secret: neither that of an invitation nor that of a password link."""

import io
import logging
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from packages_site.logs import (
    MAX_LINE_CHARACTERS,
    MAX_TRACEBACK_LINES,
    LineFormatter,
    SecretFilter,
    mask_secrets,
)
from packages_site.settings import LOGGING
from workspaces.access import SYSTEM, Role
from workspaces.actions.invitations import invite
from workspaces.models import User, Workspace
from workspaces.pages import invitations

SECRET = "PbBBKk0ZtYyXv5c2Qm4rJ1nS8aW7eD6uF3gH9iL-x_o"
INVITATION = f"/invitations/{SECRET}/"
LINK = f"/accounts/password/MQ/{SECRET}/"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"Forbidden (no token): {INVITATION}", "Forbidden (no token): /invitations/…"),
        (f"Internal Server Error: {LINK}", "Internal Server Error: /accounts/password/…"),
        (f"<WSGIRequest: GET '{INVITATION}'>", "<WSGIRequest: GET '/invitations/…'>"),
        (
            f"https://tags.example.org{LINK} and {INVITATION}?x=1",
            "https://tags.example.org/accounts/password/… and /invitations/…?x=1",
        ),
        (
            f"/accounts/login/?next=%2Finvitations%2F{SECRET}%2F&x=1",
            "/accounts/login/?next=%2Finvitations%2F…&x=1",
        ),
        (f"next=%2faccounts%2fpassword%2fMQ%2f{SECRET}", "next=%2faccounts%2fpassword%2f…"),
        ("/acme/settings/members/invitations/7/withdraw/", None),
        ("/accounts/login/ /invitations/ /accounts/password/", None),
        ("/acme/lock-log/", None),
        ("", None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_follows_the_addresses_of_secrets_is_masked(text: str, masked: str | None) -> None:
    assert mask_secrets(text) == (text if masked is None else masked)


class Path:
    """Something that is not text until it is written."""

    def __repr__(self) -> str:
        return "Path()"

    def __str__(self) -> str:
        return INVITATION


def write(message: Any, *arguments: Any, **options: Any) -> str:
    """Return what a handler of the settings writes of a record."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(SecretFilter())
    handler.setFormatter(LineFormatter())
    logger = logging.Logger("taglock.test")
    logger.addHandler(handler)
    logger.error(message, *arguments, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        (INVITATION,),
        ("Not Found: %s", INVITATION),
        ("Not Found: %(path)s", {"path": INVITATION}),
        ("%s: %d of %r", "x", 1, Path()),
        ("%s", Path()),
        (Path(),),
        ("%s", [LINK]),
    ],
    ids=ascii,
)
def test_messages_and_their_arguments_are_masked(arguments: tuple[Any, ...]) -> None:
    written = write(*arguments)
    assert written.strip()
    assert SECRET not in written


def test_tracebacks_are_masked() -> None:
    try:
        raise ValueError(INVITATION)
    except ValueError:
        written = write("it failed", exc_info=True)
    assert "  ValueError: /invitations/…" in written
    assert SECRET not in written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\nERROR forged", "a\\nERROR forged"),
        ("a\r\x1b[31m\0\x85", "a\\r\\x1b[31m\\x00\\x85"),
        ("\u2028\u202e", "\\u2028\\u202e"),
        ("\udcff", "\\udcff"),
        ("é", "é"),
    ],
    ids=ascii,
)
def test_a_record_is_one_line_without_control_characters(text: str, written: str) -> None:
    assert write("%s", text) == f"ERROR taglock.test: {written}\n"


@pytest.mark.parametrize("text", ["x" * 10_000, "\n" * 10_000, "\n" * MAX_LINE_CHARACTERS])
def test_a_line_is_of_limited_length(text: str) -> None:
    written = write("%s", text).removesuffix("\n")
    assert len(written) <= MAX_LINE_CHARACTERS
    assert written.endswith(f"… ({len(text) + len('ERROR taglock.test: ')} characters)")


def test_a_traceback_is_indented_and_of_limited_length() -> None:
    try:
        raise ValueError("\n".join(["ERROR forged", "x" * 10_000, *200 * ["y"]]))
    except ValueError:
        first, *lines = write("it failed", exc_info=True).splitlines()
    assert first == "ERROR taglock.test: it failed"
    assert len(lines) == MAX_TRACEBACK_LINES
    assert all(line.startswith("  ") and len(line) <= MAX_LINE_CHARACTERS for line in lines)


@pytest.mark.parametrize("status", [400, 403, 500])
def test_only_a_failure_of_our_own_has_a_traceback(status: int) -> None:
    try:
        raise ValueError("it")
    except ValueError:
        written = write("it failed", exc_info=True, extra={"status_code": status})
    assert ("Traceback" in written) is (status == 500)


def test_other_records_stay_as_they_are() -> None:
    record = logging.makeLogRecord({"msg": "%s of %d", "args": ("one", 2)})
    assert SecretFilter().filter(record)
    assert (record.msg, record.args) == ("%s of %d", ("one", 2))


@pytest.mark.filterwarnings("ignore")
def test_a_record_that_cannot_be_written_fails_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    assert write("%d", "x") == ""


def test_every_handler_has_the_filter() -> None:
    for name, handler in LOGGING["handlers"].items():  # type: ignore[attr-defined]
        assert handler["filters"] == ["secrets", "unlogged"], name
        assert handler["formatter"] == "text", name


@pytest.mark.django_db
def test_neither_a_forged_form_nor_a_failure_tells_an_invitations_secret(
    acme: Workspace, alice: User, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    secret = invite(acme, "x", Role.MEMBER, inviter=alice, actor=SYSTEM)

    def fail(*_: Any) -> None:
        raise OperationalError("gone")

    stream = io.StringIO()
    root = logging.getLogger()
    [handler] = [
        each for each in root.handlers if any(isinstance(f, SecretFilter) for f in each.filters)
    ]
    assert isinstance(handler, logging.StreamHandler)
    monkeypatch.setattr(handler, "stream", stream)
    Client(enforce_csrf_checks=True).post(f"/invitations/{secret}/", {"username": "zed"})
    monkeypatch.setattr(invitations, "find_invitation", fail)
    Client(raise_request_exception=False).get(f"/invitations/{secret}/")
    assert "Forbidden (CSRF cookie not set.): /invitations/…" in stream.getvalue()
    assert ": /invitations/…\n" in stream.getvalue().partition("Forbidden")[2]
    assert "Service Unavailable: /invitations/…" in stream.getvalue()
    assert secret not in stream.getvalue()
