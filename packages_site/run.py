"""`make run`: prepare the data folder, then run everything until told to stop."""

import json
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import CommandError, call_command

from containers.registry.account import Accounts
from immutability.gate import GATE_THREADS
from packages_site.command_line import find_problem
from packages_site.data_dir import make_command_line
from packages_site.demo_images import make_demo_images
from packages_site.local import (
    Ports,
    edge_command,
    find_free_ports,
    find_missing,
    registry_command,
)
from packages_site.supervisor import Supervisor

BIN = Path(sys.executable).parent
READY_SECONDS = 60
SITE_THREADS = 8
# A process that only runs the gate needs little of what pages need.
GATE_SETTINGS = {"DJANGO_SETTINGS_MODULE": "packages_site.gate_settings"}
CHECKED_REPOSITORY = "acme/web"

WELCOME = """
Taglock is ready.

  Open       {url}/
  Sign in    alice (admin), bob (member) or olga (auditor), password: demo
  Then       Settings > Workspace settings > Packages > Container settings:
             choose "Some tags are protected", add the rule "Release versions" with the pattern
             ^v\\d+\\.\\d+\\.\\d+$  and save.
{pushing}
Without the gate, a registry calls the API before each push. The first push locks the tag; the same
image again changes nothing; another image is refused, with a link to its event in the lock log:

{locking}

A tag that no rule matches stays mutable:

{mutable}

Ask before you build, and change nothing:

{asking}

The lock log has everything that happened. Verify it, in Taglock's own folder:

{verifying}

  Look       {url}/acme/locked-tags/
             {url}/acme/lock-log/
             {url}/api/v1/docs
  Stop       Ctrl-C. The data stays in {data_dir}.
"""

PUSHING = """
Push to the registry at {host}. Log in first, as bob, a member:

{login}

The first push locks the tag; the same image again is accepted and changes nothing; the other image
is refused; a tag that no rule matches stays mutable:

{pushes}

A member does not delete a locked tag; alice, an admin, does. Its name stays reserved: the other
image is refused, and the deleted one can come back:

{deletes}
"""


def make_welcome(url: str, token_file: Path, data_dir: Path, images: list[Path]) -> str:
    """Return what is printed when the site is ready: commands that run as printed.

    `images` are the OCI layouts to push; none if there is no registry to push to.
    """
    a, b = "sha256:" + 64 * "a", "sha256:" + 64 * "b"
    dana = {"actor": "dana"}

    def check_push(tag: str, **asked: object) -> str:
        # A repository of its own, so that these and the real pushes do not meet.
        body = json.dumps({"repository": CHECKED_REPOSITORY, "tag": tag, **asked})
        return (
            f"curl -sS {url}/api/v1/check-push -H "
            f"\"Authorization: Bearer $(cat '{token_file}')\" --json '{body}'; echo"
        )

    return WELCOME.format(
        url=url,
        data_dir=data_dir,
        pushing=_make_pushing(url, images),
        locking="\n".join(check_push("v1.2.0", digest=each, **dana) for each in (a, a, b)),
        mutable="\n".join(check_push("feature-x", digest=each, **dana) for each in (a, b)),
        verifying=make_command_line(f"verify_lock_log {CHECKED_REPOSITORY.partition('/')[0]}"),
        asking="\n".join(
            check_push(tag, dry_run=True) for tag in ("v1.3.0", "v1.2.0", "feature-x")
        ),
    )


def _make_pushing(url: str, images: list[Path]) -> str:
    if not images:
        return ""
    host = urlsplit(url).netloc
    one, two = images

    def login(username: str) -> str:
        return (
            f"echo demo | skopeo login --tls-verify=false --username {username} "
            f"--password-stdin {host}"
        )

    def push(image: Path, tag: str) -> str:
        return (
            f"skopeo --insecure-policy copy --dest-tls-verify=false 'oci:{image}' "
            f"docker://{host}/acme/api:{tag}"
        )

    delete = f"skopeo delete --tls-verify=false docker://{host}/acme/api:v1.2.0"
    return PUSHING.format(
        host=host,
        login=login("bob"),
        pushes="\n".join(
            push(image, tag)
            for image, tag in (
                (one, "v1.2.0"),
                (one, "v1.2.0"),
                (two, "v1.2.0"),
                (one, "feature-x"),
                (two, "feature-x"),
            )
        ),
        deletes="\n".join(
            [delete, login("alice"), delete, push(two, "v1.2.0"), push(one, "v1.2.0")]
        ),
    )


def main() -> int:
    """Run until told to stop; return the exit status."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "packages_site.settings")
    os.umask(0o077)
    port = settings.ENVIRONMENT.port
    if is_taken(port):
        print(
            f"taglock: port {port} is in use. Choose another: make run PORT={port + 1}",
            file=sys.stderr,
        )
        return 1
    django.setup()
    problem = find_problem(["manage.py", "migrate"]) or migrate()
    if problem:
        print(f"taglock: {problem}", file=sys.stderr)
        return 1
    call_command("collectstatic", verbosity=0, interactive=False)
    from containers.tokens.rotation import read_bundle  # noqa: PLC0415  (needs django.setup)
    from packages_site.demo import make_demo_data  # noqa: PLC0415  (needs the line above)

    token_file = make_demo_data(settings.DATA_DIR)
    images = make_demo_images(settings.DATA_DIR / "images")
    missing = find_missing()
    if missing:
        print(
            f"taglock: MISSING: {' '.join(missing)}. Going on without a registry.", file=sys.stderr
        )
    supervisor = make_supervisor(
        settings.DATA_DIR, port, settings.REGISTRY_URL, read_bundle(), is_whole=not missing
    )
    welcome = make_welcome(
        settings.PUBLIC_URL, token_file, settings.DATA_DIR, [] if missing else images
    )
    local_url = f"http://127.0.0.1:{port}"
    threading.Thread(
        target=say_when_ready,
        args=(local_url, welcome),
        kwargs={"is_whole": not missing},
        daemon=True,
    ).start()
    supervisor.run()
    return 0


def migrate() -> str:
    """Make database and keys, and bring the database up to date; return what went wrong, if so."""
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except CommandError as error:
        return str(error)
    return ""


def make_supervisor(
    data_dir: Path, port: int, registry_url: str, bundle: str, *, is_whole: bool
) -> Supervisor:
    """Return the supervisor, which starts the processes.

    A whole Taglock is an edge on `port`, and behind it site, gate, worker and, unless
    `registry_url` names another, a registry that trusts the certificates of `bundle`. Without an
    edge, the site itself listens on `port`.
    """
    supervisor = Supervisor()
    # On your own machine, running as root needs no warning.
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    site_port = port
    if is_whole:
        ports = Ports(port, *find_free_ports(3))
        site_port = ports.site
        if not registry_url:
            supervisor.add(
                "registry",
                registry_command(data_dir, ports.registry, bundle, settings.PUBLIC_URL),
                env,
            )
            registry_url = f"http://127.0.0.1:{ports.registry}"
        env |= {"REGISTRY_URL": registry_url, "BEHIND_EDGE": "true"}
        # Held pushes wait in threads of their own, so that they never starve the pages.
        supervisor.add("gate", _granian(ports.gate, GATE_THREADS), {**env, **GATE_SETTINGS})
        supervisor.add(
            "edge",
            edge_command(
                data_dir,
                ports,
                registry_url,
                ca_file=settings.REGISTRY_CA_FILE,
                asks_gate=settings.REGISTRY_ACCOUNTS == Accounts.TAGLOCK,
            ),
            env,
        )
    supervisor.add("site", _granian(site_port, SITE_THREADS), env)
    celery = f"exec {BIN}/celery --quiet --app packages_site"
    beat = f"{celery} beat --loglevel error"
    if settings.ENVIRONMENT.redis_url:
        alone = "--without-gossip --without-mingle --without-heartbeat"
        supervisor.add("worker", f"{celery} worker --pool solo --loglevel error {alone}", env)
        supervisor.add("scheduler", beat, env)
    else:
        # The scheduler runs the tasks itself.
        supervisor.add("worker", beat, env)
    return supervisor


def _granian(port: int, threads: int) -> str:
    return (
        f"exec {BIN}/granian --interface wsgi --host 127.0.0.1 --port {port} "
        f"--blocking-threads {threads} --no-ws --log-level error packages_site.wsgi:application"
    )


def is_taken(port: int) -> bool:
    """Whether something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def is_answering(url: str, method: str) -> bool:
    """Whether something answers at an address, even with a refusal."""
    request = urllib.request.Request(url, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=2):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500


def say_when_ready(local_url: str, welcome: str, *, is_whole: bool) -> None:
    """Print the welcome as soon as every part answers: site, registry (reads), gate (the rest)."""
    probes = [("GET", "/readyz")]
    if is_whole:
        probes += [("GET", "/v2/"), ("DELETE", "/v2/")]
    for _ in range(READY_SECONDS * 10):
        try:
            is_ready = all(is_answering(f"{local_url}{path}", method) for method, path in probes)
        except OSError:
            is_ready = False
        if is_ready:
            print(welcome, flush=True)
            return
        time.sleep(0.1)
    print("taglock: the site does not answer; see the lines above.", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # While it prepares the data folder.
        sys.exit(130)
