"""The settings of production, but passwords and static files cost next to nothing.

Clients log in all the time, and none of them loads a page.
"""

from django.contrib.auth.hashers import Argon2PasswordHasher

from tests.services.fast_settings import *  # noqa: F403

# The least that Argon2 takes.
Argon2PasswordHasher.time_cost = 1
Argon2PasswordHasher.memory_cost = 8
Argon2PasswordHasher.parallelism = 1
