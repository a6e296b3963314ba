"""The command `taglock` of an installed Taglock: manage.py, with the machine's settings.

They are in a file that systemd reads for the processes, so that a command finds the same database
and keys. A command runs as the user of the processes: what another one makes, they could not read.
"""

import os
import pwd
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from packages_site.addresses import BadSettingError
from packages_site.command_line import main

FILE_VARIABLE = "TAGLOCK_ENV_FILE"
DEFAULT_FILE = Path("/etc/taglock/environment")

# What systemd (systemd.exec(5), EnvironmentFile=) reads in the same way. It also knows escapes, and
# values that go on in the next line.
_LINE = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)="
    r"(?:'(?P<single>[^'\\]*)'|\"(?P<double>[^\"\\]*)\"|(?P<plain>(?:(?!\s#)[^'\"\\])*))"
)


def run() -> int:
    """Run the command that the arguments name; return its status."""
    # Celery puts the current folder first, and Python would run what anyone has left there.
    if sys.path[0] == os.getcwd():
        del sys.path[0]
    try:
        os.environ.update(read_settings(os.environ))
    except BadSettingError as error:
        print(f"taglock: {error}", file=sys.stderr)
        return 1
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "packages_site.settings")
    return main(sys.argv)


def read_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the file sets and `environ` doesn't; none without a file.

    Raises BadSettingError, with one line, if the file is there and cannot be read, or if someone
    else than the owner of the data folder calls.
    """
    path = Path(environ.get(FILE_VARIABLE) or DEFAULT_FILE)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if not environ.get(FILE_VARIABLE):
            return {}
        raise BadSettingError(f"{FILE_VARIABLE} names {path}, and there is no such file") from error
    except PermissionError as error:
        raise BadSettingError(
            f"{path} may not be read: run this as Taglock's user: sudo -u taglock {_this_command()}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettingError(f"{path} cannot be read: {error}") from error
    values = {
        name: value for name, value in parse_settings(text, path).items() if not environ.get(name)
    }
    _require_owner(Path(environ.get("DATA_DIR") or values.get("DATA_DIR") or "var"))
    return values


def parse_settings(text: str, path: Path) -> dict[str, str]:
    """Return the variables of a file of settings. Raises BadSettingError, which shows no value."""
    values = {}
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadSettingError(
                f"{path}, line {number}: write NAME=value, perhaps in quotes, without a backslash "
                "and without a comment behind it"
            )
        values[match["name"]] = next(
            each for each in match.group("single", "double", "plain") if each is not None
        )
    return values


def _require_owner(folder: Path) -> None:
    """Refuse a caller who doesn't own the data folder; root too before there is one."""
    if folder.exists():
        owner = folder.stat().st_uid
        if owner == os.geteuid():
            return
        raise BadSettingError(
            f"{folder} is {_name(owner)}'s: run this as that user: "
            f"sudo -u {_name(owner)} {_this_command()}"
        )
    if os.geteuid() == 0:
        raise BadSettingError(
            f"there is no folder {folder}. Make it for Taglock's user first: "
            f"install -d -o taglock -g taglock -m 700 {shlex.quote(str(folder))}"
        )


def _name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"#{user_id}"


def _this_command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
