"""The settings of production, but a password costs next to nothing: clients log in all the time."""

from django.contrib.auth.hashers import Argon2PasswordHasher

from packages_site.settings import *  # noqa: F403

# The least that Argon2 takes.
Argon2PasswordHasher.time_cost = 1
Argon2PasswordHasher.memory_cost = 8
Argon2PasswordHasher.parallelism = 1
