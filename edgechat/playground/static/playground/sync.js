/** Keeping in step with other tabs and devices: `/chat/changes`, at once when another tab of this browser says so. */

import { callJson } from "./api.js";
import { pause } from "./connection.js";
import { isPassing } from "./errors.js";
import { patiently } from "./patience.js";
import { followsIn } from "./replies.js";
import { loadThread } from "./threads.js";
import { conversations, isReachable, openId, putConversations, threads, user } from "./state.js";

const PULL_MILLISECONDS = 15_000;
const SOON_MILLISECONDS = 300;
/** An account with thousands of conversations must not use up the requests that its user may make. */
const BETWEEN_PAGES_MILLISECONDS = 2000;
const channel = new BroadcastChannel("edgechat.changes");
let timer = 0;
let isPulling = false;
let isWanted = false;

/** Pull now and then, when the page is shown again, and when another tab has changed something. */
export function keepInStep() {
  channel.onmessage = () => pullSoon();
  setInterval(() => document.visibilityState === "visible" && pullSoon(), PULL_MILLISECONDS);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && pullSoon());
  isReachable.subscribe((value) => value && pullSoon());
}

/** This tab has changed a conversation. @param {string} id */
export function tellOtherTabs(id) {
  channel.postMessage(id);
  pullSoon();
}

export function pullSoon() {
  if (!user.value) return;
  timer ||= setTimeout(() => {
    timer = 0;
    pull();
  }, SOON_MILLISECONDS);
}

async function pull() {
  isWanted = true;
  if (isPulling) return;
  isPulling = true;
  try {
    while (isWanted && user.value) {
      isWanted = false;
      await pullPages();
    }
  } catch (error) {
    if (!isPassing(error)) console.info("Changes could not be read:", error);
  } finally {
    isPulling = false;
  }
}

async function pullPages() {
  const name = `edgechat.since.${user.value?.id}`;
  for (let hasMore = true; hasMore && user.value; ) {
    const since = Number(sessionStorage.getItem(name)) || 0;
    const page = await callJson("GET", `chat/changes?since=${since}&limit=100`);
    take(page);
    sessionStorage.setItem(name, String(page.next_since));
    hasMore = page.has_more;
    if (hasMore) await pause(BETWEEN_PAGES_MILLISECONDS);
  }
}

/** @param {{conversations: import("./state.js").Conversation[], deleted: string[]}} page */
function take(page) {
  const stale = page.conversations.filter(({ id, updated_at }) => isStale(id, updated_at)).map(({ id }) => id);
  putConversations(page.conversations, page.deleted);
  const loaded = new Map(threads.value);
  for (const id of [...page.deleted, ...stale.filter((id) => id !== openId.value)]) loaded.delete(id);
  threads.value = loaded;
  const open = openId.value ?? "";
  if (stale.includes(open)) patiently(() => loadThread(open)).catch(() => {});
  if (page.deleted.includes(openId.value ?? "")) location.hash = "";
}

/**
 * Whether the loaded messages of a conversation may be older than its last change, and no stream brings the newer ones.
 * @param {string} id @param {string} updatedAt
 */
function isStale(id, updatedAt) {
  return !followsIn(id) && threads.value.has(id) && conversations.value.get(id)?.updated_at !== updatedAt;
}
