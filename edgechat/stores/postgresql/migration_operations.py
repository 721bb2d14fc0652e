"""Operations for migrations with `atomic = False`, which can be interrupted between two of them and run again."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db.migrations import AddField


class AddIndexRepeatably(AddIndexConcurrently):
    """Adds an index while others write. An index that an earlier run has left may be invalid, and is dropped first."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
        super().database_forwards(app_label, schema_editor, from_state, to_state)


class AddFieldRepeatably(AddField):
    """Adds a field, unless an earlier run has."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        introspection = schema_editor.connection.introspection
        with schema_editor.connection.cursor() as cursor:
            columns = {each.name for each in introspection.get_table_description(cursor, model._meta.db_table)}
        # `sqlmigrate` prints the statement in either case.
        if schema_editor.collect_sql or model._meta.get_field(self.name).column not in columns:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
