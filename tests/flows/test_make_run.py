"""The main job as a newcomer meets it: `make run`, the browser, and the printed commands."""

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import AA, skip_or_fail
from tests.flows.asking import (
    IMMUTABLE,
    RESERVED,
    UNDELETABLE,
    digest_of_layout,
    run_as_printed,
)
from tests.services.registry_user import Repository
from tests.services.site import ROOT, Site, run_command

pytestmark = [pytest.mark.browser, pytest.mark.process]


@pytest.fixture
def curl() -> str:
    """The path of curl 7.82 or newer, which knows --json."""
    path = shutil.which("curl")
    if path is None:
        skip_or_fail("curl")
    return str(path)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "data")
    yield site
    site.stop()


def test_the_main_job_from_make_run_to_the_refusal_in_the_log_and_back_again(
    site: Site, curl: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(base_url=site.url)
    _protect_release_versions(page)

    answers = [json.loads(run_command(command)) for command in site.commands]
    first, again, other, mutable, mutable_again, free, locked, unprotected = answers
    assert (first["allowed"], first["outcome"]) == (True, "locked_now")
    assert (again["allowed"], again["outcome"]) == (True, "unchanged")
    assert (mutable["allowed"], mutable["outcome"]) == (True, "unprotected")
    assert (mutable_again["allowed"], mutable_again["outcome"]) == (True, "unprotected")
    assert [each["outcome"] for each in (free, locked, unprotected)] == [
        "free",
        "locked",
        "unprotected",
    ]
    assert other["allowed"] is False
    assert other["error"]["status"] == 403
    error = other["error"]["body"]["errors"][0]
    assert error["code"] == "DENIED"
    assert "cannot be overwritten because the tag is immutable" in error["message"]

    _see_it_in_the_pages(page, error["message"].rsplit(" ", 1)[-1])

    _verify_as_printed(site)

    links = _push_and_delete_as_printed(site)
    _see_who_did_what(page, links)

    _assert_it_stops_cleanly(site, signal.SIGINT)
    again = Site(site.data_dir, site.port)
    try:
        assert again.commands == site.commands
        assert json.loads(run_command(again.commands[0]))["outcome"] == "unchanged"
    finally:
        _assert_it_stops_cleanly(again, signal.SIGTERM)


def _verify_as_printed(site: Site) -> None:
    """Run the printed command in a shell that knows nothing of the site."""
    [command] = site.manage_commands
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=_plain_environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("acme: ")


def _push_and_delete_as_printed(site: Site) -> list[str]:
    """Run every printed command of the registry, in order; return the refusals' links."""
    done = [run_as_printed(command) for command in site.registry_commands]
    login, first, same, other, *mutable, kept, login_as_admin, deleted, reserved, back = done
    for each in (login, first, same, *mutable, login_as_admin, deleted, back):
        assert each.returncode == 0, each
    assert len(mutable) == 2
    links = []
    for refused, text in (
        (other, f'denied: tag "v1.2.0" of acme/api {IMMUTABLE}'),
        (kept, UNDELETABLE),
        (reserved, RESERVED),
    ):
        said = refused.stderr.replace('\\"', '"')
        assert refused.returncode != 0, refused
        assert text in said
        link = re.search(rf"{re.escape(site.url)}/acme/lock-log/[0-9A-Z]{{12}}", said)
        assert link is not None, said
        links.append(link[0])
    one, two = (digest_of_layout(site.data_dir / "images" / name) for name in ("one", "two"))
    tags = Repository(site.port, "acme/api", site.account("bob")).tags
    assert tags == {"v1.2.0": one, "feature-x": two}
    return links


def _see_who_did_what(page: Page, links: list[str]) -> None:
    for link, (kind, person) in zip(
        links,
        (("Push refused", "bob"), ("Delete refused", "bob"), ("Push refused", "alice")),
        strict=True,
    ):
        page.goto(link)
        said = page.get_by_role("definition").filter(has_text=re.compile(rf"^\s*{kind}\s*$"))
        expect(said).to_be_visible()
        actor = page.get_by_role("definition").filter(has_text=re.compile(rf"^\s*{person}\s*$"))
        expect(actor).to_be_visible()
    page.goto("/acme/locked-tags/")
    row = page.get_by_role("row").filter(has_text="acme/api:v1.2.0")
    expect(row).to_contain_text("Locked")


def _protect_release_versions(page: Page) -> None:
    page.goto("/")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Settings", exact=True).click()
    page.get_by_role("link", name="Workspace settings").click()
    page.get_by_role("link", name="Packages", exact=True).click()
    page.get_by_role("navigation").get_by_role("link", name="Container settings").click()
    expect(page.get_by_role("heading", name="Immutable tags")).to_be_visible()
    page.get_by_label("Some tags are protected").check()
    page.get_by_label("Rule name").fill("Release versions")
    page.get_by_label("RE2 pattern").fill(r"^v\d+\.\d+\.\d+$")
    page.get_by_label("Sample tags").fill("v1.2.0\nfeature-x")
    samples = page.locator("#tester-result li")
    expect(samples.first).to_contain_text("Would be locked")
    expect(samples.nth(1)).to_contain_text("Not protected")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_role("status").first).to_contain_text("Saved: Some tags are protected")


def _see_it_in_the_pages(page: Page, link: str) -> None:
    page.goto("/acme/locked-tags/")
    row = page.get_by_role("row").filter(has_text="acme/web:v1.2.0")
    expect(row).to_contain_text(AA[:19])
    expect(row).to_contain_text("Release versions")
    expect(row.locator("time")).to_be_visible()
    page.goto("/acme/lock-log/")
    for said in (
        "’s push of acme/web:v1.2.0 was refused",
        "pushed acme/web:v1.2.0 again",
        "pushed and locked acme/web:v1.2.0",
        "alice turned protection on: No tags → Some tags",
    ):
        expect(page.locator(".story-row").filter(has_text=said).first).to_be_visible()
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_contain_text("was refused")
    expect(page.get_by_text(link.rsplit("/", 1)[-1]).first).to_be_visible()


def _assert_it_stops_cleanly(site: Site, number: signal.Signals) -> None:
    """Stop it by Ctrl-C or as a service manager does, and look at what it leaves."""
    status = site.stop(number)
    # make ends by the signal that it got, once everything below it has ended well.
    assert status in (0, -number, 128 + number)
    printed = "".join(site.lines)
    for name in ("registry", "gate", "edge", "site", "worker"):
        assert f"{name} stopped" in printed
    assert "killed" not in printed
    assert not _is_listening(site.port)
    with closing(sqlite3.connect(site.data_dir / "taglock.sqlite3")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            ["make", "--silent", "run"],
            cwd=ROOT,
            env={**_plain_environment(), "PORT": str(port), "DATA_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert done.returncode != 0
    assert f"port {port} is in use" in done.stderr
    assert "Traceback" not in done.stderr


def _plain_environment() -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
