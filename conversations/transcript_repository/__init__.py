"""Transcripts in MongoDB: the only package that accesses its collections.

The owner's id is the first argument of each function and part of each filter, so another user's conversation is not
found. Every function raises MongoUnavailable if the server does not answer.

Only single-document operations are used, because a standalone server has no transactions. A reader may see a
conversation whose newest two messages are not stored yet; any process can write them from the conversation's `reply`.
"""

from conversations.transcript_repository.change_numbers import number_changes
from conversations.transcript_repository.collections import ensure_indexes, now
from conversations.transcript_repository.conversation_store import (
    changed_conversations,
    claim_reply,
    claim_summary,
    conversation_ids,
    count_conversations,
    deleted_conversations,
    find_conversation,
    find_created,
    insert_conversation,
    insert_transcript,
    list_conversations,
    release_summary,
    set_generated_title,
    set_summary,
    titles,
    undo_claim,
    update_conversation,
)
from conversations.transcript_repository.copies import RestoredTranscripts, copy_everything, filled_collections
from conversations.transcript_repository.deletion import (
    count_unpurged,
    delete_conversation,
    delete_everything_of,
    everything_of,
    expire_temporary,
    purge_deleted,
)
from conversations.transcript_repository.imported import (
    ImportedConversation,
    discard_imported_messages,
    find_imported,
    imported_message,
    insert_imported,
    is_unused_id,
    order_imported,
    store_imported_messages,
)
from conversations.transcript_repository.message_store import (
    FoundMessage,
    delete_messages,
    find_answerable,
    find_messages,
    find_sent,
    read_messages,
    search_messages,
    set_feedback,
)
from conversations.transcript_repository.quality_reads import (
    JudgedReply,
    Quality,
    count_judged_replies,
    judged_replies,
    texts_of_replies,
)
from conversations.transcript_repository.reply_store import (
    begin_attempt,
    end_reply,
    find_replies_of,
    find_stop_requests,
    find_unknown_workers,
    find_workers_with_replies,
    prepare_messages,
    release_reply,
    request_stop,
    save_snapshot,
    take_reply,
)
from conversations.transcript_repository.shared_reads import (
    find_sharings,
    list_shared,
    unshare_conversations,
)
from conversations.transcript_repository.staff_reads import (
    ConversationMetadata,
    ReplyMetadata,
    count_conversations_of,
    existing_conversations,
    find_metadata,
    list_metadata,
    list_running,
)
