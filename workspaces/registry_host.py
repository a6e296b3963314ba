"""The host in the names of a workspace's images."""

from urllib.parse import urlsplit

from django.conf import settings

from workspaces.models import Workspace


def find_registry_host(workspace: Workspace, default: str = "") -> str:
    """Return the host, with a port, by which clients reach the workspace's registry.

    `default` is that of the registry of REGISTRY_URL; without it, the one of PUBLIC_URL.
    """
    site = urlsplit(settings.PUBLIC_URL)
    if workspace.registry is None:
        return default or site.netloc
    # The edge has them all at the same port.
    return f"{workspace.registry.host}:{site.port}" if site.port else workspace.registry.host
