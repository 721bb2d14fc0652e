/** Loading the messages of a conversation. */

import { callJson } from "./api.js";
import { sentenceOf } from "./errors.js";
import { followReply, isFollowed } from "./replies.js";
import { changeThread, joined, putMessages, threads } from "./state.js";

const PAGE = 50;

/** Load the newest messages, and follow a reply that is being written. @param {string} id */
export async function loadThread(id) {
  changeThread(id, (thread) => ({ ...thread, state: thread.messages.length ? "ready" : "loading", error: null }));
  try {
    const page = await callJson("GET", `chat/conversations/${id}/messages?latest=true&limit=${PAGE}`);
    putNewest(id, page);
  } catch (error) {
    // Loaded messages stay: somebody reads them, or edits one.
    changeThread(id, (thread) => (thread.messages.length ? thread : { ...thread, state: "failed", error: sentenceOf(error) }));
    throw error;
  }
}

/** Load the page before the oldest loaded message. @param {string} id */
export async function loadEarlier(id) {
  const first = threads.value.get(id)?.messages[0];
  if (!first) return;
  const page = await callJson("GET", `chat/conversations/${id}/messages?before=${first.seq}&limit=${PAGE}`);
  putMessages(id, page.messages);
  changeThread(id, (thread) => ({ ...thread, hasEarlier: page.has_more }));
}

/**
 * Put the newest messages into a thread, in one change: a message that is gone in between would take its edit field with it.
 * @param {string} id @param {{messages: import("./state.js").Message[], has_more: boolean}} page
 */
function putNewest(id, page) {
  const known = threads.value.get(id)?.messages ?? [];
  const oldest = page.messages[0]?.seq ?? 1;
  const joins = known.length > 0 && known[known.length - 1].seq >= oldest - 1;
  changeThread(id, (thread) => ({
    ...thread,
    state: "ready",
    error: null,
    messages: joined(
      joins ? thread.messages.filter((message) => message.seq < oldest || isFollowed(message.id)) : [],
      page.messages.filter((message) => !isFollowed(message.id)),
    ),
    hasEarlier: joins ? thread.hasEarlier : page.has_more,
  }));
  for (const message of page.messages) {
    if (message.status === "generating" && !isFollowed(message.id)) followReply(id, message.id);
  }
}
