from django.apps import AppConfig


class ImmutabilityConfig(AppConfig):
    name = "immutability"
