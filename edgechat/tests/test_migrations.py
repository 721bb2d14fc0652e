"""Migrations run while the earlier version serves. docs/operations.md has the rules that a linter holds them to."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django_migration_linter import MigrationLinter

from edgechat.tests.own_stores import OwnStores

# The last ones of version 1.1.0: they have run already, so nothing can be changed any more.
EARLIER = {"accounts": "0009_email_keys", "ai": "", "conversations": "0005_todo_archived", "usage": "0009_processes"}


def test_no_migration_stops_the_earlier_version_or_blocks_a_table(
    shared_servers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    linter = MigrationLinter(include_apps=list(EARLIER), no_cache=True, all_warnings_as_errors=True)
    migrations = linter.migration_loader.disk_migrations.values()
    later = [each for each in migrations if each.name > EARLIER.get(each.app_label, each.name)]
    assert later
    for migration in later:
        linter.lint_migration(migration)
    assert not linter.has_errors, capsys.readouterr().out


def test_a_migration_that_was_interrupted_can_be_run_again(own_stores: OwnStores) -> None:
    """What is no transaction may have done everything but the entry that says so."""
    loader = MigrationLoader(connection)
    again = [
        (key, each)
        for key, each in loader.disk_migrations.items()
        if not each.atomic and each.name > EARLIER.get(each.app_label, each.name)
    ]
    assert again
    for key, migration in again:
        with connection.schema_editor(atomic=False) as editor:
            migration.apply(loader.project_state(key, at_end=False), editor)
