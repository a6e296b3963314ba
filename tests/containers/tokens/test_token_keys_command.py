"""manage.py token_keys"""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from containers.models import TokenKey
from containers.tokens.rotation import read_bundle

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[list[str], str]:
    """Return what is printed, and what is to be done next."""
    out, err = StringIO(), StringIO()
    call_command("token_keys", *arguments, stdout=out, stderr=err)
    return out.getvalue().splitlines(), err.getvalue()


def test_it_shows_the_key_that_signs() -> None:
    [line], following = run()
    assert line.startswith(TokenKey.objects.get().key_id)
    assert "signs and is trusted, until 20" in line
    assert following == ""


def test_a_change_of_keys_says_what_comes_next() -> None:
    first = run()[0][0].split()[0]
    keys, following = run("prepare")
    assert len(keys) == 2
    assert keys[0].startswith(first)
    assert "Export the bundle to every registry, and restart it" in following
    keys, following = run("use")
    assert "token_keys retire" in following
    assert [line.split()[0] for line in keys if "signs" in line] != [first]
    keys, following = run("retire")
    assert len(keys) == 1
    assert not keys[0].startswith(first)
    assert "Export the bundle to every registry, and restart it" in following


def test_the_bundle_is_printed_or_written_for_the_registry_to_read(tmp_path: Path) -> None:
    run("prepare")
    assert run("export") == (read_bundle().splitlines(), "")
    file = tmp_path / "trusted.pem"
    assert run("export", str(file)) == ([], "")
    assert file.read_text() == read_bundle()
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["use"], "prepare one first"), (["export", "/nowhere/trusted.pem"], "/nowhere")],
)
def test_what_cannot_be_done_says_why(arguments: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        run(*arguments)
