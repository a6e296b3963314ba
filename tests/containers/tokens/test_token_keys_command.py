"""manage.py token_keys"""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from containers.tokens.key_folder import token_keys


@pytest.fixture(autouse=True)
def _own_keys(tmp_path: Path, settings: Any) -> None:
    settings.TOKEN_KEYS_DIR = tmp_path / "keys"
    token_keys().make_first_key()


def run(*arguments: str) -> tuple[list[str], str]:
    """Return the lines of keys, and what is to be done next."""
    out, err = StringIO(), StringIO()
    call_command("token_keys", *arguments, stdout=out, stderr=err)
    *keys, bundle = out.getvalue().splitlines()
    assert bundle == f"rootcertbundle of the registry: {token_keys().trusted_file}"
    return keys, err.getvalue()


def test_it_shows_the_key_that_signs() -> None:
    [line], following = run()
    assert line.startswith(token_keys().read_signing_key().id)
    assert "signs and is trusted, until 20" in line
    assert following == ""


def test_a_change_of_keys_says_what_comes_next() -> None:
    first = run()[0][0].split()[0]
    keys, following = run("prepare")
    assert len(keys) == 2
    assert keys[0].startswith(first)
    assert "Restart every registry" in following
    keys, following = run("use")
    assert "token_keys retire" in following
    assert [line.split()[0] for line in keys if "signs" in line] != [first]
    keys, following = run("retire")
    assert len(keys) == 1
    assert not keys[0].startswith(first)
    assert "Restart every registry" in following


def test_a_step_that_is_not_due_says_why() -> None:
    with pytest.raises(CommandError, match="prepare one first"):
        run("use")


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path, settings: Any) -> None:
    (tmp_path / "file").write_text("")
    settings.TOKEN_KEYS_DIR = tmp_path / "file" / "keys"
    with pytest.raises(CommandError, match="file/keys"):
        run("prepare")
