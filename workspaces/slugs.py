"""The slug of a workspace: the first part of its repositories' names and of its addresses."""

import re

from workspaces.text import quote

MAX_SLUG_LENGTH = 63

# The first component of an OCI repository name (distribution-spec, "Pulling manifests"), and never
# longer than a DNS label, so that it can be a host name later.
_SLUG = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)

# First path components that the site, the API, the registry or an operator's proxy needs itself.
RESERVED_SLUGS = frozenset(
    {
        "_", "accounts", "admin", "api", "assets", "auth", "authorize", "docs", "favicon.ico",
        "healthz", "help", "invitations", "library", "login", "logout", "media", "metrics", "new",
        "readyz", "registry", "robots.txt", "settings", "static", "statusz", "taglock", "token",
        "v1", "v2",
    }
)  # fmt: skip


def describe_bad_slug(slug: str) -> str | None:
    """Return a sentence that says why `slug` cannot name a workspace, or None if it can."""
    if len(slug) > MAX_SLUG_LENGTH:
        return f"A workspace's slug has at most {MAX_SLUG_LENGTH} characters."
    if not _SLUG.fullmatch(slug):
        return (
            f"{quote(slug)} cannot be a slug: use lower-case letters and digits, separated by "
            "single dots, underscores or hyphens."
        )
    if slug in RESERVED_SLUGS:
        return f'"{slug}" is reserved; choose another slug.'
    return None
