"""What to paste where a program signs in with a new access token. No secret is in any of it."""

import json
import shlex
from dataclasses import dataclass

from django.conf import settings

from workspaces.access import Permission
from workspaces.models import AccessToken
from workspaces.registry_host import find_registry_host

# Waits for the token, and shows nothing of it. `&&` ends the line, so the shell waits for the rest
# of the command before it reads the token.
_READ_TOKEN = "read -rs TOKEN &&"  # noqa: S105  (a command)


@dataclass(frozen=True)
class Snippet:
    """A text to copy, and what to do with it. `id` is unique on its page."""

    id: str
    title: str
    text: str
    hint: str

    @property
    def copied(self) -> str:
        """What a button says that it copies."""
        return f"what to paste for {self.title}"


def list_snippets(token: AccessToken) -> list[Snippet]:
    """Return the snippets for all that a token of a workspace may do."""
    may = token.permissions
    logs_in = Permission.PULL in may and not _registry_keeps_accounts(token)
    login = _list_login_snippets(token) if logs_in and token.user_name else []
    return [*login, *_list_api_snippets(token)]


def _registry_keeps_accounts(token: AccessToken) -> bool:
    return token.workspace is not None and token.workspace.registry_keeps_accounts


def _list_login_snippets(token: AccessToken) -> list[Snippet]:
    """Return how each kind of client logs in to the registry."""
    host = find_registry_host(token.workspace) if token.workspace else ""
    user = token.user_name or ""
    quoted = shlex.quote(user)
    docker = f"docker login {host} --username {quoted} --password-stdin"
    kubectl = (
        f"kubectl create secret docker-registry taglock \\\n    --docker-server={host} \\\n"
        f'    --docker-username={quoted} \\\n    --docker-password="$TOKEN"'
    )
    return [
        Snippet(
            "docker",
            "Docker",
            f'{_READ_TOKEN}\n  printf %s "$TOKEN" | {docker}',
            "Run it, paste the token and press Enter. The token stays out of your shell's history. "
            "Podman, skopeo, crane, buildah and oras take the same user name and password.",
        ),
        Snippet(
            "github-actions",
            "GitHub Actions",
            "- uses: docker/login-action@v3\n"
            "  with:\n"
            f"    registry: {host}\n"
            f"    username: {_quote_for_github(user)}\n"
            "    password: ${{ secrets.TAGLOCK_TOKEN }}",
            "Save the token as the secret TAGLOCK_TOKEN of your repository, then add this step "
            "before the ones that pull or push.",
        ),
        Snippet(
            "gitlab-ci",
            "GitLab CI",
            f'before_script:\n  - |\n    printf %s "$TAGLOCK_TOKEN" | {docker}',
            "Save the token as the masked CI/CD variable TAGLOCK_TOKEN of your project, then add "
            "this to the jobs that pull or push.",
        ),
        Snippet(
            "kubernetes",
            "Kubernetes",
            f"{_READ_TOKEN}\n  {kubectl}",
            "Run it, paste the token and press Enter. A cluster only pulls, so the scope Pull is "
            "enough.",
        ),
        Snippet(
            "image-pull-secret",
            "Kubernetes: the pods that use it",
            "spec:\n  imagePullSecrets:\n    - name: taglock",
            "Add this to pods, or to the template of a deployment.",
        ),
    ]


def _quote_for_github(text: str) -> str:
    """Return a YAML string of `text`, in which GitHub evaluates nothing."""
    return json.dumps(text, ensure_ascii=False).replace("${{", "${{ '${{' }}")


def _list_api_snippets(token: AccessToken) -> list[Snippet]:
    """Return a call of the API for each scope that has one."""
    if token.workspace is None:
        return []
    api, slug = f"{settings.PUBLIC_URL}/api/v1", token.workspace.slug
    header = '--header "Authorization: Bearer $TOKEN"'
    hint = "Run it, paste the token and press Enter."
    snippets = []
    if Permission.CHECK in token.permissions:
        body = json.dumps({"repository": f"{slug}/api", "tag": "v1.0.0", "dry_run": True})
        call = (
            f"{_READ_TOKEN}\n  curl {api}/check-push \\\n    {header} \\\n"
            f"    --header 'Content-Type: application/json' \\\n    --data '{body}'"
        )
        snippets.append(Snippet("check-push", "Ask before a push", call, hint))
    if Permission.VIEW_LOCKED_TAGS in token.permissions:
        call = f"{_READ_TOKEN}\n  curl {api}/workspaces/{slug}/locked-tags \\\n    {header}"
        snippets.append(Snippet("locked-tags", "List the locked tags", call, hint))
    return snippets
