from django.apps import AppConfig


class ConversationsConfig(AppConfig):
    name = "conversations"

    def ready(self) -> None:
        from accounts.deletion import register_eraser
        from ai.sources import register_conversation_reader
        from conversations import attachments, services, summary_source, transcript_repository
        from conversations.replies import leases, take_over
        from edgechat import periodic

        register_conversation_reader(summary_source.read_conversation)
        register_eraser(transcript_repository.delete_everything_of)
        register_eraser(attachments.delete_attachments_of)
        periodic.register(leases.keep_lease, seconds=leases.HEARTBEAT_SECONDS)
        periodic.register(take_over.take_over_replies, seconds=take_over.REAP_SECONDS)
        periodic.register(take_over.declare_unknown_worker_dead, seconds=20)
        periodic.register(services.purge_conversations, seconds=60)
