"""What is set of the identity provider. No Django: the environment is read before it."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Provider:
    """An identity provider, and what Taglock is to it."""

    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    # How people know it: "Sign in with …".
    name: str = "single sign-on"
    # None: what the provider has of those that Taglock can use.
    scopes: tuple[str, ...] | None = None
    # More of the authorization request, for providers that need it.
    parameters: tuple[tuple[str, str], ...] = ()
    username_claim: str = "preferred_username"
    groups_claim: str = "groups"
    ca_file: Path | None = None

    @property
    def is_secure(self) -> bool:
        """Whether every address of it has to be HTTPS. One on this machine needs none."""
        return urlsplit(self.issuer).scheme == "https"
