from importlib import import_module

from django.apps import AppConfig


class WorkspacesConfig(AppConfig):
    name = "workspaces"

    def ready(self) -> None:
        """Make the schema's extensions known, which register themselves when imported."""
        import_module("workspaces.schema")
