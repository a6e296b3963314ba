"""The registry's clients, each told to do the same things."""

import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar, TypeVar

from packages_site.demo import PASSWORD
from tests.flows.asking import IMMUTABLE, UNDELETABLE, Done, digest_of_layout, run
from tests.services.go_programs import build_with_go


def build_clients() -> dict[str, str]:
    """Return the programs that Go builds, by name; skip the test, or fail in CI, without them."""
    return {path.name: str(path) for path in build_with_go("clients")}


class Client(ABC):
    """A client before an edge."""

    def __init__(self, program: str, port: int) -> None:
        self.program = program
        self.host = f"127.0.0.1:{port}"

    def run(self, *arguments: str | Path, stdin: str = "") -> Done:
        """Run the program to its end, however that is."""
        return run(self.program, *arguments, stdin=stdin)

    @abstractmethod
    def log_in(self, username: str) -> Done:
        """Log in."""


class ImageClient(Client):
    """A client of images, which are OCI layouts; names are `<repository>:<tag>`."""

    # What it says of a member's delete of a locked tag.
    told_of_delete: ClassVar[str] = UNDELETABLE

    @abstractmethod
    def push(self, image: Path, name: str) -> Done:
        """Push an image under a tag."""

    @abstractmethod
    def delete(self, repository: str, tag: str, digest: str) -> Done:
        """Delete a tag as one does with this client, and with it its image."""


class Skopeo(ImageClient):
    """skopeo finds the digest of a tag, and deletes by that."""

    def log_in(self, username: str) -> Done:
        options = ("--tls-verify=false", "--username", username, "--password-stdin")
        return self.run("login", *options, self.host, stdin=PASSWORD)

    def push(self, image: Path, name: str) -> Done:
        options = ("--insecure-policy", "copy", "--dest-tls-verify=false")
        return self.run(*options, f"oci:{image}", f"docker://{self.host}/{name}")

    def delete(self, repository: str, tag: str, digest: str) -> Done:
        return self.run("delete", "--tls-verify=false", f"docker://{self.host}/{repository}:{tag}")


class Crane(ImageClient):
    """crane deletes what it is told to."""

    def log_in(self, username: str) -> Done:
        options = ("--username", username, "--password-stdin")
        return self.run("auth", "login", *options, self.host, stdin=PASSWORD)

    def push(self, image: Path, name: str) -> Done:
        return self.run("push", "--insecure", image, f"{self.host}/{name}")

    def delete(self, repository: str, tag: str, digest: str) -> Done:
        return self.run("delete", "--insecure", f"{self.host}/{repository}@{digest}")


class Oras(ImageClient):
    """oras finds the digest of a tag, and deletes by that."""

    def log_in(self, username: str) -> Done:
        options = ("--plain-http", "--username", username, "--password-stdin")
        return self.run("login", *options, self.host, stdin=PASSWORD)

    def push(self, image: Path, name: str) -> Done:
        source = f"{image}@{digest_of_layout(image)}"
        target = ("--to-plain-http", f"{self.host}/{name}")
        return self.run("cp", "--from-oci-layout", source, *target)

    def delete(self, repository: str, tag: str, digest: str) -> Done:
        target = ("--plain-http", "--force", f"{self.host}/{repository}:{tag}")
        return self.run("manifest", "delete", *target)

    def attach(self, name: str, text: str, folder: Path) -> Done:
        """Attach a small file to an image."""
        (folder / "note.txt").write_text(text)
        target = ("--plain-http", "--artifact-type", "application/x-note", f"{self.host}/{name}")
        return run(
            "bash",
            "-c",
            f'cd {folder} && exec "$@"',
            "-",
            self.program,
            "attach",
            *target,
            "note.txt",
        )

    def count_attached(self, name: str) -> int:
        """Return how much is attached to an image."""
        options = ("--plain-http", "--format", "json", f"{self.host}/{name}")
        found = json.loads(self.run("discover", *options).stdout)
        return len(found.get("referrers") or found.get("manifests") or [])


class Regctl(ImageClient):
    """regctl deletes a tag; where it cannot, it pushes a placeholder and deletes that by digest."""

    told_of_delete = IMMUTABLE

    def log_in(self, username: str) -> Done:
        self.run("registry", "set", "--tls", "disabled", self.host)
        options = ("--user", username, "--pass-stdin")
        return self.run("registry", "login", *options, self.host, stdin=PASSWORD)

    def push(self, image: Path, name: str) -> Done:
        source = f"ocidir://{image}@{digest_of_layout(image)}"
        return self.run("image", "copy", source, f"{self.host}/{name}")

    def delete(self, repository: str, tag: str, digest: str) -> Done:
        return self.run("tag", "delete", f"{self.host}/{repository}:{tag}")


class Helm(Client):
    """helm pushes charts, whose version is the tag, and deletes nothing."""

    def log_in(self, username: str) -> Done:
        options = ("--plain-http", "--username", username, "--password-stdin")
        return self.run("registry", "login", *options, self.host, stdin=PASSWORD)

    def push_chart(self, chart: Path, workspace: str) -> Done:
        """Push a chart; its repository is the workspace with the chart's name."""
        return self.run("push", "--plain-http", chart, f"oci://{self.host}/{workspace}")


Kind = TypeVar("Kind", bound=Client)


@dataclass(frozen=True)
class Clients:
    """The clients before the edge on `port`. Those that `built` has not are the machine's own."""

    port: int
    built: Mapping[str, str]

    def make(self, kind: type[Kind]) -> Kind:
        """Return a client of this kind."""
        name = kind.__name__.lower()
        return kind(self.built.get(name, name), self.port)


def make_chart(folder: Path, name: str, version: str, text: str) -> Path:
    """Make a package as `helm package` does: other contents are another image."""
    path = folder / f"{name}-{text}.tgz"
    chart = f"apiVersion: v2\nname: {name}\nversion: {version}\ndescription: {text}\n".encode()
    with tarfile.open(path, "w:gz") as package:
        member = tarfile.TarInfo(f"{name}/Chart.yaml")
        member.size = len(chart)
        package.addfile(member, BytesIO(chart))
    return path
