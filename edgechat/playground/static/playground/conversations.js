/** The list of conversations: loading, searching and changing it. */

import { signal } from "./vendor/signals-core/signals-core.js";
import { callJson } from "./api.js";
import { ApiError } from "./errors.js";
import { notify } from "./notices.js";
import { patiently } from "./patience.js";
import { loadEarlier, loadThread } from "./threads.js";
import { conversations, listIsOpen, messageOf, openId, putConversations, threads } from "./state.js";
import { tellOtherTabs } from "./sync.js";

const PAGE = 50;
/** So far back a message that was found is looked for. */
const MAX_PAGES_BACK = 20;

/** Whether the list shows the archived conversations. */
export const showsArchived = signal(false);
/** The next page of either list; undefined before the first page, null after the last. @type {Map<boolean, string|null>} */
const nextCursors = new Map();
export const hasMore = signal(false);
/** Whether the list that is shown has been loaded. */
export const isListed = signal(false);
/** What is searched for; "" shows the list. */
export const searched = signal("");
/** @typedef {{conversation_id: string, message_id: string, title: string|null, snippet: string}} Found */
/** @type {{value: Found[]|null}} */
export const found = signal(null);

/** Load the next page of the list. */
export async function loadConversations() {
  const archived = showsArchived.value;
  const cursor = nextCursors.get(archived);
  if (cursor === null) return;
  const query = new URLSearchParams({ limit: String(PAGE), pinned_first: "true", archived: String(archived) });
  if (cursor) query.set("cursor", cursor);
  const page = await callJson("GET", `chat/conversations?${query}`);
  nextCursors.set(archived, page.has_more ? page.next_cursor : null);
  if (archived === showsArchived.value) {
    hasMore.value = page.has_more;
    isListed.value = true;
  }
  putConversations(page.conversations);
}

/** @param {boolean} archived */
export async function showArchived(archived) {
  showsArchived.value = archived;
  hasMore.value = nextCursors.get(archived) !== null;
  isListed.value = nextCursors.has(archived);
  if (!isListed.value) await loadConversations();
}

/** The conversations that the list shows, in its order. */
export function listed() {
  return [...conversations.value.values()]
    .filter((each) => each.archived === showsArchived.value && !each.temporary)
    .sort((one, other) => Number(other.pinned) - Number(one.pinned) || other.updated_at.localeCompare(one.updated_at));
}

let searches = 0;

/** Search titles and messages. @param {string} text */
export async function search(text) {
  searched.value = text;
  const mine = ++searches;
  if (!text.trim()) {
    found.value = null;
    return;
  }
  const q = encodeURIComponent(text.trim().slice(0, 200));
  const [titles, messages] = await Promise.all([
    callJson("GET", `chat/conversations?limit=20&q=${q}`),
    callJson("GET", `chat/search?limit=20&q=${q}`),
  ]);
  if (mine !== searches) return; // a later search is on its way
  const byTitle = titles.conversations.map((/** @type {any} */ each) => ({
    conversation_id: each.id, message_id: "", title: each.title, snippet: "",
  }));
  const known = new Set(messages.results.map((/** @type {Found} */ each) => each.conversation_id));
  found.value = [...byTitle.filter((/** @type {Found} */ each) => !known.has(each.conversation_id)), ...messages.results];
}

/** Rename, pin or archive. @param {string} id @param {{title?: string, pinned?: boolean, archived?: boolean, system_instruction?: string|null}} values */
export async function changeConversation(id, values) {
  putConversations([await callJson("PATCH", `chat/conversations/${id}`, { json: values })]);
  tellOtherTabs(id);
}

/** @param {string} id */
export async function deleteConversation(id) {
  await callJson("DELETE", `chat/conversations/${id}`);
  putConversations([], [id]);
  if (openId.value === id) location.hash = "";
  tellOtherTabs(id);
}

/** Open what the address names: `#/c/<id>`, a message in it by `#/c/<id>/<message>`, else a new conversation. */
export async function openFromAddress() {
  const [, id = null, messageId = ""] = /^#\/c\/([^/]+)(?:\/([^/]+))?$/.exec(location.hash) ?? [];
  openId.value = id;
  listIsOpen.value = false;
  if (!id) return;
  try {
    if (!conversations.value.has(id)) await patiently(() => loadConversation(id));
    if (threads.value.get(id)?.state !== "ready") await patiently(() => loadThread(id));
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
    // It was deleted elsewhere; the list may still have it.
    putConversations([], [id]);
    notify("This conversation is not there any more.", true);
    if (openId.value === id) location.hash = "";
    return;
  }
  if (messageId && openId.value === id) await showMessage(id, messageId);
}

/** Bring a message into sight. @param {string} id @param {string} messageId */
async function showMessage(id, messageId) {
  for (let page = 0; page < MAX_PAGES_BACK && !messageOf(id, messageId); page++) {
    if (!threads.value.get(id)?.hasEarlier) return;
    await loadEarlier(id);
  }
  const message = document.getElementById(`message-${messageId}`);
  message?.scrollIntoView({ block: "center" });
  message?.focus({ preventScroll: true });
}

/** One that the list does not have, such as an older or a temporary one. @param {string} id */
async function loadConversation(id) {
  putConversations([await callJson("GET", `chat/conversations/${id}`)]);
}
