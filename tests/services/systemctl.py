"""Stands in for systemctl where no systemd runs: starts units by what their files say, unconfined.

`python -m tests.services.systemctl start taglock-site` knows start, restart and enable of services.
It waits for those that notify, and stops those that it has started.
"""

import os
import pwd
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PIDS = Path("/run/units")
FOLDERS = (Path("/etc/systemd/system"), Path("/lib/systemd/system"))


def read_unit(name: str) -> dict[str, list[str]]:
    """Return every value of every option of a service, with those of its prefix."""
    file = next(
        folder / f"{name}.service"
        for folder in FOLDERS
        if (folder / name).with_suffix(".service").exists()
    )
    prefix = FOLDERS[0] / f"{name.partition('-')[0]}-.service.d"
    text = "\n".join(each.read_text() for each in (file, *prefix.glob("*.conf")))
    options: dict[str, list[str]] = {}
    for option, value in re.findall(r"^(\w+)=(.*)$", text.replace("\\\n", " "), re.MULTILINE):
        options.setdefault(option, []).append(value)
    return options


def start(name: str) -> None:
    """Start a service; one that runs once is waited for."""
    options = read_unit(name)
    user = pwd.getpwnam(options["User"][0])
    env = {"PATH": "/usr/bin:/bin"}
    for line in options.get("Environment", []):
        env |= dict(pair.split("=", 1) for pair in shlex.split(line))
    for path in options.get("EnvironmentFile", []):
        lines = Path(path).read_text().splitlines()
        env |= dict(line.split("=", 1) for line in lines if "=" in line)
    for folder in options.get("StateDirectory", []):
        state = Path("/var/lib") / folder
        state.mkdir(mode=0o700, exist_ok=True)
        os.chown(state, user.pw_uid, user.pw_gid)
    folder = options.get("WorkingDirectory", ["/"])[0]
    is_once = options.get("Type") == ["oneshot"]
    for command in options.get("ExecStartPre", []) + options["ExecStart"] * is_once:
        subprocess.run(
            shlex.split(command), cwd=folder, env=env, check=True,
            user=user.pw_uid, group=user.pw_gid, extra_groups=[],
        )  # fmt: skip
    if is_once:
        return
    PIDS.mkdir(exist_ok=True)
    PIDS.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        address = PIDS / f"{name}.socket"
        address.unlink(missing_ok=True)
        ready.bind(str(address))
        address.chmod(0o666)
        process = subprocess.Popen(
            shlex.split(options["ExecStart"][0]), cwd=folder, start_new_session=True,
            env={**env, "NOTIFY_SOCKET": str(address)},
            stdin=subprocess.DEVNULL,
            user=user.pw_uid, group=user.pw_gid, extra_groups=[],
        )  # fmt: skip
        (PIDS / name).write_text(str(process.pid))
        if options.get("Type") == ["notify"]:
            ready.settimeout(60)
            assert ready.recv(100) == b"READY=1"


def stop(name: str) -> None:
    """Stop a service that was started here, and wait for its end."""
    if not (PIDS / name).exists():
        return
    process = int((PIDS / name).read_text())
    if _is_running(process):
        os.kill(process, signal.SIGTERM)
    while _is_running(process):
        time.sleep(0.1)


def _is_running(process: int) -> bool:
    """Whether a process has not ended; nobody here asks for the status of those that have."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return not stat.rpartition(")")[2].lstrip().startswith("Z")


def main(arguments: list[str]) -> None:
    """Do what systemctl would, as far as the page needs it."""
    verb, *names = [each for each in arguments if not each.startswith("-")]
    if verb not in ("start", "restart", "enable"):
        return
    for name in names:
        if name == "nginx":  # Debian's unit forks.
            subprocess.run(["nginx"], check=True)
        elif not name.endswith(".target"):
            if verb == "restart":
                stop(name)
            start(name)


if __name__ == "__main__":
    main(sys.argv[1:])
