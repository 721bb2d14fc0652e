from django.apps import AppConfig


class ConversationsConfig(AppConfig):
    name = "conversations"

    def ready(self) -> None:
        from accounts.data_export import register_exporter
        from accounts.deletion import register_eraser
        from conversations import account_export, attachments, services, transcript_repository
        from conversations.replies import erase, leases, take_over
        from edgechat import periodic

        # Before the transcripts, which know the replies' names.
        register_eraser(erase.forget_replies_of)
        register_eraser(transcript_repository.delete_everything_of)
        register_eraser(attachments.delete_attachments_of)
        register_exporter(account_export.export_conversations, types=account_export.TYPES)
        periodic.register(leases.keep_lease, seconds=leases.HEARTBEAT_SECONDS)
        periodic.register(take_over.take_over_replies, seconds=take_over.REAP_SECONDS)
        periodic.register(take_over.declare_unknown_worker_dead, seconds=20)
        periodic.register(services.purge_conversations, seconds=60)
