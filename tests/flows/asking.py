"""What the flows do to a running site: call its API, log in, push and pull with real clients."""

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from packages_site.demo import PASSWORD
from tests.services.registry_user import PATIENCE_SECONDS
from tests.services.site import Site

IMMUTABLE = "cannot be overwritten because the tag is immutable"
UNDELETABLE = "cannot be deleted because the tag is immutable"
RESERVED = "its name is reserved"

Done = subprocess.CompletedProcess[str]


class Api:
    """The API, as an admin's access token sees it."""

    def __init__(self, site: Site, name: str = "flows", workspace: str = "acme") -> None:
        scopes = ("--scope", "admin", "--scope", "audit")
        self._token = site.manage("create_access_token", workspace, name, *scopes)
        self._url = f"{site.url}/api/v1/workspaces/{workspace}"

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Call the API below the workspace's address; return the document."""
        request = urllib.request.Request(
            f"{self._url}/{path}",
            json.dumps(body).encode() if body is not None else None,
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            | {name.replace("_", "-"): value for name, value in headers.items()},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return json.loads(response.read())

    def protect(self, rules: list[dict[str, str]]) -> None:
        """Protect what these rules match."""
        body = {"protection": "some", "rules": rules, "suspend_locks": True}
        self.call("PUT", "container-settings", body, If_Match="*")

    def locks_of(self, repository: str) -> dict[str, tuple[str, str]]:
        """Return state and digest of every lock of a repository, by tag."""
        found = self.call("GET", f"locked-tags?limit=200&repository={repository}")
        rows = found["results"] if isinstance(found, dict) else found
        return {
            row["tag"]: (row["state"], row["digest"])
            for row in rows
            if row["repository"] == repository
        }


def run(*command: str | Path, stdin: str = "") -> Done:
    """Run a client to its end, however that is."""
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)


def run_as_printed(command: str) -> Done:
    """Run a command in a shell, as a person would who pastes it, to its end, however that is."""
    return run("bash", "-c", command)


def skopeo(*arguments: str | Path, stdin: str = "") -> Done:
    """Run skopeo."""
    return run("skopeo", "--insecure-policy", *arguments, stdin=stdin)


def skopeo_login(port: int, username: str, password: str = PASSWORD) -> Done:
    """Log in with skopeo, as a person would."""
    host = f"127.0.0.1:{port}"
    options = ("--tls-verify=false", "--username", username, "--password-stdin")
    return skopeo("login", *options, host, stdin=password)


def skopeo_push(image: Path, port: int, name: str, *more: str) -> Done:
    """Push an OCI layout with skopeo to `<repository>:<tag>`."""
    target = f"docker://127.0.0.1:{port}/{name}"
    return skopeo("copy", "--dest-tls-verify=false", *more, f"oci:{image}", target)


def skopeo_pull(port: int, name: str, folder: Path) -> Done:
    """Pull with skopeo into an OCI layout."""
    source = f"docker://127.0.0.1:{port}/{name}"
    return skopeo("copy", "--src-tls-verify=false", source, f"oci:{folder}:pulled")


def skopeo_delete(port: int, name: str) -> Done:
    """Delete with skopeo."""
    return skopeo("delete", "--tls-verify=false", f"docker://127.0.0.1:{port}/{name}")


def digest_of_layout(image: Path) -> str:
    """Return the digest of the one image of an OCI layout."""
    index = json.loads((image / "index.json").read_text())
    digest: str = index["manifests"][0]["digest"]
    return digest
