"""A client of the gate that has logged in, and what it reads in the answers."""

import json
from typing import Any

from django.http import HttpResponse
from django.test import Client

from containers.tokens.stored_keys import token_keys
from tests.immutability.registry_double import IMAGE_TYPE, REPOSITORY
from tests.services.accounts import account_of
from workspaces.models import User


class GateClient:
    """Pushes and deletes as a client does that has logged in."""

    def __init__(self, user: User) -> None:
        self._client = Client()
        self._account = account_of(user, token_keys())

    def push(
        self,
        reference: str,
        body: bytes,
        *,
        query: str = "",
        media_type: str = IMAGE_TYPE,
        repository: str = REPOSITORY.name,
        **headers: Any,
    ) -> HttpResponse:
        """Push `body` under a tag or a digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        return self._send("PUT", path, repository, body, media_type, query, **headers)

    def delete(
        self, reference: str, *, query: str = "", repository: str = REPOSITORY.name
    ) -> HttpResponse:
        """Delete a tag or a digest."""
        return self._send(
            "DELETE", f"/v2/{repository}/manifests/{reference}", repository, query=query
        )

    def call(self, method: str, path: str, body: bytes = b"") -> HttpResponse:
        """Send anything else."""
        return self._send(method, path, REPOSITORY.name, body)

    def _send(
        self,
        method: str,
        path: str,
        repository: str,
        body: bytes = b"",
        media_type: str = IMAGE_TYPE,
        query: str = "",
        **headers: Any,
    ) -> HttpResponse:
        response: Any = self._client.generic(
            method,
            path,
            body,
            content_type=media_type,
            QUERY_STRING=query,
            headers={"Authorization": f"Bearer {self._account.sign(repository)}"},
            **headers,
        )
        return response  # type: ignore[no-any-return]


def error_of(response: HttpResponse) -> tuple[int, str]:
    """Return the status and the OCI code of an error."""
    return response.status_code, json.loads(response.content)["errors"][0]["code"]


def message_of(response: HttpResponse) -> str:
    """Return the line that the client prints."""
    message: str = json.loads(response.content)["errors"][0]["message"]
    return message


def is_undecided(response: HttpResponse) -> bool:
    """Whether nothing was decided, and the client is told when to try again."""
    return error_of(response) == (503, "UNAVAILABLE") and response["Retry-After"].isdigit()
