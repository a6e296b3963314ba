"""The settings of production, for a site that many tests share, and the processor with it.

Clients log in all the time, so a password costs next to nothing; and of the background work it does
what a test waits for.
"""

from django.contrib.auth.hashers import Argon2PasswordHasher

from packages_site.settings import *  # noqa: F403

# The least that Argon2 takes.
Argon2PasswordHasher.time_cost = 1
Argon2PasswordHasher.memory_cost = 8
Argon2PasswordHasher.parallelism = 1
# Celery alone imports it.
CELERY_IMPORTS = ("tests.services.quiet_background",)
