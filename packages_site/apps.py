from importlib import import_module

from django.apps import AppConfig
from django.core.checks import Tags, register


class PackagesSiteConfig(AppConfig):
    name = "packages_site"

    def ready(self) -> None:
        """Add the checks that need the models."""
        shared_keys = import_module("packages_site.shared_keys")
        register(shared_keys.check_shared_keys, Tags.security, deploy=True)
        provider = import_module("workspaces.single_sign_on.provider")
        register(provider.check_provider, Tags.security, deploy=True)
