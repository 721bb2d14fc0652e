/** What the page shows. Views read these signals, and only services change them. */

import { signal } from "./vendor/signals-core/signals-core.js";

/**
 * The API's bodies, as far as the page uses them; the OpenAPI file has the whole.
 * @typedef {{id: string, mime_type: string, width: number, height: number, bytes: number}} Attachment
 * @typedef {{content: string, finish_reason: string|null, created_at: string}} Variant
 * @typedef {{id: string, seq: number, role: "user"|"model", content: string, status: string, created_at: string,
 *   attachments: Attachment[], client_message_id: string|null, finish_reason: string|null, usage: Object|null,
 *   feedback: {rating: "up"|"down"|null, comment: string|null}|null, variants: Variant[]}} Message
 * @typedef {{id: string, title: string|null, system_instruction: string|null, pinned: boolean, archived: boolean,
 *   temporary: boolean, message_count: number, created_at: string, updated_at: string}} Conversation
 */

/**
 * A message on its way to the server. It is kept until the server has stored it.
 * @typedef {{key: string, since: number, conversationId: string|null, content: string, attachmentIds: string[],
 *   temporary: boolean, state: "sending"|"failed", error: string|null}} Outgoing
 */

/**
 * The loaded part of a conversation, oldest message first.
 * @typedef {{state: "loading"|"ready"|"failed", messages: Message[], hasEarlier: boolean, error: string|null}} Thread
 */

/** The signed-in user, or null. @type {{value: {id: number, email: string, is_verified: boolean}|null}} */
export const user = signal(null);
/** Whether the page is still looking for a session. */
export const isStarting = signal(true);
/** Whether the server answered last, or is expected to. */
export const isReachable = signal(navigator.onLine);
/** Loaded conversations by id. @type {{value: Map<string, Conversation>}} */
export const conversations = signal(new Map());
/** Why the page waits before it calls again, and until when in milliseconds; or null. @type {{value: {sentence: string, until: number}|null}} */
export const waiting = signal(null);
/** The open conversation's id; null is a new one. @type {{value: string|null}} */
export const openId = signal(null);
/** Loaded threads by conversation. @type {{value: Map<string, Thread>}} */
export const threads = signal(new Map());
/** Why answers failed, by message, as far as this tab was told. @type {{value: Map<string, string>}} */
export const reasons = signal(new Map());
/** @type {{value: Outgoing[]}} */
export const outbox = signal([]);
/** The open dialog, or null. @type {{value: {name: string, [more: string]: any}|null}} */
export const dialog = signal(null);
/** On a narrow page: whether the list of conversations is shown. */
export const listIsOpen = signal(false);

/** @param {string} id @param {(thread: Thread) => Thread} change */
export function changeThread(id, change) {
  const thread = threads.value.get(id) ?? { state: "loading", messages: [], hasEarlier: false, error: null };
  threads.value = new Map(threads.value).set(id, change(thread));
}

/** Put messages into a thread: those with a known id replace it. @param {string} id @param {Message[]} messages */
export function putMessages(id, messages) {
  changeThread(id, (thread) => ({ ...thread, messages: joined(thread.messages, messages) }));
}

/** Both, the oldest first; of two with the same id the newer. @param {Message[]} known @param {Message[]} newer */
export function joined(known, newer) {
  const byId = new Map([...known, ...newer].map((message) => [message.id, message]));
  return [...byId.values()].sort((one, other) => one.seq - other.seq);
}

/** @param {string} id @param {string} messageId @returns {Message|undefined} */
export function messageOf(id, messageId) {
  return threads.value.get(id)?.messages.find((message) => message.id === messageId);
}

/** @param {Conversation[]} changed @param {string[]} [deleted] */
export function putConversations(changed, deleted = []) {
  const all = new Map(conversations.value);
  for (const conversation of changed) all.set(conversation.id, conversation);
  for (const id of deleted) all.delete(id);
  conversations.value = all;
}
