"""Transcripts in MongoDB: the only module that touches its collections.

The owner's id is each method's first argument and part of each filter, so another user's conversation is absent.
Every method raises MongoUnavailable when the server does not answer.

Only single-document operations are used, for a standalone server has no transactions: a reader may see a conversation
whose newest two messages are not there yet. Whoever finds a `reply` in a conversation can write them again from it.
"""

from conversations.transcript_repository.change_numbers import number_changes
from conversations.transcript_repository.collections import ensure_indexes, now
from conversations.transcript_repository.conversation_store import (
    changed_conversations,
    conversation_ids,
    count_conversations,
    deleted_conversations,
    find_conversation,
    find_created,
    insert_conversation,
    list_conversations,
    set_generated_title,
    set_summary,
    titles,
    update_conversation,
)
from conversations.transcript_repository.deletion import (
    delete_conversation,
    delete_everything_of,
    everything_of,
    expire_temporary,
    purge_deleted,
)
from conversations.transcript_repository.message_store import (
    FoundMessage,
    delete_messages,
    find_messages,
    find_sent,
    finish_message,
    prepare_messages,
    read_messages,
    save_snapshot,
    search_messages,
    set_feedback,
)
from conversations.transcript_repository.reply_store import (
    begin_attempt,
    claim_reply,
    find_replies_of,
    find_running_replies,
    find_stop_requests,
    release_reply,
    request_stop,
    take_reply,
    undo_claim,
)
from conversations.transcript_repository.shared_reads import (
    find_sharing,
    find_sharings,
    has_shared,
    list_shared,
    unshare_conversations,
)
from conversations.transcript_repository.staff_reads import (
    ConversationMetadata,
    ReplyMetadata,
    existing_conversations,
    find_metadata,
    find_owner,
    list_metadata,
    list_running,
)
from conversations.transcript_repository.worker_store import (
    WorkerDocument,
    end_worker,
    find_lost_workers,
    find_unknown_worker,
    find_workers,
    forget_worker,
    register_worker,
    renew_worker,
)

__all__ = [
    "ConversationMetadata",
    "FoundMessage",
    "ReplyMetadata",
    "WorkerDocument",
    "begin_attempt",
    "changed_conversations",
    "claim_reply",
    "conversation_ids",
    "count_conversations",
    "delete_conversation",
    "delete_everything_of",
    "delete_messages",
    "deleted_conversations",
    "end_worker",
    "ensure_indexes",
    "everything_of",
    "existing_conversations",
    "expire_temporary",
    "find_conversation",
    "find_created",
    "find_lost_workers",
    "find_messages",
    "find_metadata",
    "find_owner",
    "find_replies_of",
    "find_running_replies",
    "find_sent",
    "find_sharing",
    "find_sharings",
    "find_stop_requests",
    "find_unknown_worker",
    "find_workers",
    "finish_message",
    "forget_worker",
    "has_shared",
    "insert_conversation",
    "list_conversations",
    "list_metadata",
    "list_running",
    "list_shared",
    "now",
    "number_changes",
    "prepare_messages",
    "purge_deleted",
    "read_messages",
    "register_worker",
    "release_reply",
    "renew_worker",
    "request_stop",
    "save_snapshot",
    "search_messages",
    "set_feedback",
    "set_generated_title",
    "set_summary",
    "take_reply",
    "titles",
    "undo_claim",
    "unshare_conversations",
    "update_conversation",
]
