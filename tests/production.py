"""Does what docs/production.md says for one machine, on a copy of this one.

`python -m tests.production`, as root, on Debian, with the packages that the page installs. The copy
is an overlay with a network of its own, so nothing of this machine is changed. apt-get, certbot,
systemctl and sudo are stood in for; PostgreSQL, Redis, registry and nginx are real.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "correct-horse-battery"
STAND_INS = {
    "apt-get": "exit 0",
    "sudo": """
if [ "$1" = -u ]; then user=$2; shift 2; exec runuser -u "$user" -- "$@"; fi
exec "$@\"""",
    "certbot": """
cd "$(mkdir -p /etc/letsencrypt/live/tags.example.org && cd "$_" && pwd)"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \\
    -keyout privkey.pem -out fullchain.pem -subj /CN=tags.example.org \\
    -addext subjectAltName=DNS:tags.example.org,DNS:registry.example.org 2>/dev/null
cat fullchain.pem >>/etc/ssl/certs/ca-certificates.crt""",
    "systemctl": f'cd {ROOT} && exec {sys.executable} -m tests.services.systemctl "$@"',
}
# What the page takes from the network comes from the tests' own packages.
INSTALL = f"""
/usr/bin/python3 -m venv --without-pip --clear /opt/taglock
{sys.executable} -c 'import site; print(site.getsitepackages()[0])' \\
    >"$(echo /opt/taglock/lib/python3*/site-packages)/tests.pth"
{sys.executable} -m pip --python /opt/taglock/bin/python install --quiet --no-index \\
    --no-build-isolation --no-deps --force-reinstall .
printf '#!/bin/sh\\nexec /opt/taglock/bin/python -m celery "$@"\\n' >/opt/taglock/bin/celery
chmod 755 /opt/taglock/bin/celery
"""
PREPARE = """
ip link set lo up
echo '127.0.0.1 tags.example.org registry.example.org' >>/etc/hosts
userdel taglock 2>/dev/null
rm -rf /etc/taglock /var/lib/taglock /usr/local/bin/taglock /var/lib/docker-registry/docker
install -d -o postgres /run/postgresql
pg_dropcluster 15 main 2>/dev/null; rm -rf /etc/postgresql /var/lib/postgresql/15
pg_createcluster 15 main --start >/dev/null
redis-server --daemonize yes --save '' >/dev/null
"""
PUSH = """
cd /srv/taglock
token=$(sudo -u taglock taglock create_access_token acme setup --scope admin | tail -1)
curl -fsS -X PUT https://tags.example.org/api/v1/workspaces/acme/container-settings \\
    -H "Authorization: Bearer $token" -H 'If-Match: *' \\
    --json '{"protection": "some", "rules": [{"name": "All", "pattern": "^v"}]}'
python=/opt/taglock/bin/python
DJANGO_SETTINGS_MODULE=packages_site.settings DATA_DIR=/tmp/images $python -c '
from pathlib import Path
from packages_site.demo_images import make_demo_images
make_demo_images(Path("/tmp/images"))'
export REGISTRY_AUTH_FILE=/tmp/auth.json
echo "$PASSWORD" | skopeo login --username alice --password-stdin registry.example.org
to=docker://registry.example.org/acme/api:v1.0.0
skopeo --insecure-policy copy --quiet oci:/tmp/images/one $to
! skopeo --insecure-policy copy --quiet oci:/tmp/images/two $to
"""


def read_steps() -> dict[int, str]:
    """Return the commands of each step for one machine, and what restarts it."""
    whole = text = (ROOT / "docs/production.md").read_text()
    text = text[text.index("\n## One machine with systemd\n") : text.index("\n## Compose\n")]
    parts = re.split(r"^(\d+)\. ", text, flags=re.MULTILINE)[1:]
    steps = {}
    for number, part in zip(parts[::2], parts[1::2], strict=True):
        indent = " " * (7 if int(number) < 10 else 8)
        lines = [line[len(indent) :] for line in part.splitlines() if line.startswith(indent)]
        steps[int(number)] = "\n".join(lines)
    # Without its network; and with a password, and the time that processes take to start.
    steps[3] = f"cd /srv/taglock\n{INSTALL}\n{steps[3].splitlines()[-1]}"
    steps[6] = steps[6].replace("curl ", "curl --retry 30 --retry-delay 1 --retry-connrefused ")
    steps[10] = steps[10].replace("read -rs PASSWORD", f"PASSWORD={PASSWORD}")
    steps[11] = f"PASSWORD={PASSWORD}\n{PUSH}"
    upgrade = whole[whole.index("\n### With systemd\n") :]
    (restart, *_) = re.findall(r"^    (for part .*)$", upgrade, re.MULTILINE)
    steps[max(steps) + 1] = f"{restart}\ncurl -fsS https://tags.example.org/readyz"
    return steps


def copy_machine(folder: Path) -> Path:
    """Mount a copy of this machine, with the checkout at /srv/taglock; return its root."""
    root, upper, work = (folder / name for name in ("root", "upper", "work"))
    for each in (root, upper, work):
        each.mkdir()
    overlay = f"lowerdir=/,upperdir={upper},workdir={work}"
    mounts: list[list[str | Path]] = [
        ["-t", "overlay", "overlay", "-o", overlay, root],
        ["--bind", "/proc", root / "proc"],
        ["--bind", "/dev", root / "dev"],
        ["-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "dev/shm"],
        ["-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp"],
        ["-t", "tmpfs", "tmpfs", root / "run"],
    ]
    here = root / ROOT.relative_to("/")
    # The checkout may be below one of these.
    mounts += [["--bind", ROOT, here], ["-o", "remount,ro,bind", here]]
    for mount in mounts:
        Path(mount[-1]).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", *mount], check=True)
    (root / "srv/taglock").mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", root / "srv/taglock"], input=archive.stdout, check=True)
    for name, text in STAND_INS.items():
        file = root / "tmp/bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)
    return root


def type_steps(folder: Path) -> int:
    """Do all steps, within namespaces of our own; return 1 at the first that fails."""
    os.chroot(copy_machine(folder))
    os.environ["PATH"] = "/tmp/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"  # noqa: S108
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "DATA_DIR", "DATABASE_URL"):
        os.environ.pop(name, None)
    subprocess.run(["bash", "-c", PREPARE], cwd="/", check=True)
    for number, commands in read_steps().items():
        started_at = time.monotonic()
        log = Path("/tmp/log")  # noqa: S108
        with log.open("wb") as file:
            place = "/srv/taglock" if number > 3 else "/"
            command = ["bash", "-eo", "pipefail", "-c", commands]
            done = subprocess.run(command, cwd=place, stdout=file, stderr=file)
        print(
            f"step {number}: status {done.returncode}, {time.monotonic() - started_at:.0f} s",
            flush=True,
        )
        if done.returncode != 0:
            print(log.read_text())
            return 1
    return 0


def main(arguments: list[str]) -> int:
    """Run it in namespaces whose processes end with it."""
    if arguments:
        return type_steps(Path(arguments[0]))
    with tempfile.TemporaryDirectory() as folder:
        namespaces = [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        command = [sys.executable, "-m", "tests.production", folder]
        return subprocess.run([*namespaces, *command], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
