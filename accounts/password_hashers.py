"""Argon2id with the parameters that OWASP's Password Storage Cheat Sheet names first: 19 MiB, 2 passes, 1 lane."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class OwaspArgon2PasswordHasher(Argon2PasswordHasher):
    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1
