from functools import partial
from typing import Any

from django.apps import AppConfig
from django.db import transaction


class ConversationsConfig(AppConfig):
    name, verbose_name = "conversations", "Chat"

    def ready(self) -> None:
        from django.db.models.signals import post_delete

        from accounts.lifecycle.data_export import register_exporter
        from accounts.lifecycle.deletion import register_eraser
        from accounts.lifecycle.extent import Stored, register_stored, rows_in
        from accounts.models import Membership
        from accounts.open_calls.endings import ENDED
        from accounts.open_calls.registry import register_reading_check
        from ai.summarize.queries import register_conversation_reader
        from conversations import services
        from conversations import transcript_repository as transcripts
        from conversations.attachments import services as attachments
        from conversations.imports import queries as import_queries
        from conversations.imports import run as import_run
        from conversations.imports import services as imports
        from conversations.models import Attachment, Import, Todo
        from conversations.prompt import summary_source, upkeep
        from conversations.replies import erase, live, remote, run, stop, take_over
        from conversations.sync import account_export
        from edgechat.http import notices
        from edgechat.metrics import sampling
        from edgechat.processes import periodic
        from usage import pruning
        from usage.ledger import services as ledger
        from usage.models import LedgerEntry

        register_conversation_reader(summary_source.read_conversation)
        register_reading_check(services.end_unreadable)
        notices.listen(stop.STOP, stop.hear_stop)
        notices.listen(ENDED, erase.hear_ended)
        # A signal, because memberships also end with their organization and in the admin.
        post_delete.connect(_end_sharing, sender=Membership)
        register_eraser(imports.delete_imports_of)  # first, because an import writes transcripts
        register_eraser(erase.delete_conversations_of)
        register_eraser(attachments.delete_attachments_of)
        register_stored(
            "user",
            Stored("conversation", "conversations", transcripts.count_conversations_of),
            rows_in(Attachment, "owner_id", called=("picture", "pictures")),
            rows_in(Todo, "owner_id"),
            rows_in(Import, "owner_id"),
        )
        register_exporter(account_export.export_conversations, types=account_export.TYPES)
        register_exporter(import_queries.export_imports, types=import_queries.TYPES)
        run.register_when_complete(upkeep.look_after)
        ledger.register_take_over(LedgerEntry.Purpose.CHAT, take_over.settles_call)
        ledger.register_take_over(LedgerEntry.Purpose.CONTEXT_SUMMARY, upkeep.release_lost_summary)
        periodic.register(live.publish_marked, seconds=0)
        periodic.register(remote.read_published, seconds=0)
        periodic.register(stop.drop_lost_and_stopped, seconds=2)
        periodic.register(take_over.take_over_replies, seconds=take_over.REAP_SECONDS)
        periodic.register(take_over.take_stray_replies, seconds=take_over.STRAY_SECONDS)
        periodic.register(take_over.declare_unknown_workers_dead, seconds=20)
        periodic.register(services.purge_conversations, seconds=60)
        periodic.register(import_run.run_next_import, seconds=import_run.RUN_SECONDS)
        pruning.register_job("imports", imports.prune_imports)
        pruning.register_job("pictures", attachments.prune_pictures)
        sampling.register_backlog(services.measure_pending_deletions)


def _end_sharing(instance: Any, **kwargs: Any) -> None:
    """End a deleted member's sharing after the commit. An invitation has no user and needs nothing."""
    from conversations.services import unshare_conversations

    if instance.user_id is not None:
        transaction.on_commit(
            partial(unshare_conversations, owner_id=instance.user_id, organization_id=instance.organization_id)
        )
