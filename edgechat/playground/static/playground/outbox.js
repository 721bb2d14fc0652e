/**
 * Messages on their way. Each is kept in the browser until the server has stored it, so neither a broken connection nor
 * a reload loses it; each has a key of its own, so the server stores it once however often it arrives.
 */

import { callJson, newKey } from "./api.js";
import { draftOf, setDraft } from "./drafts.js";
import { ApiError, SignedOut, sentenceOf } from "./errors.js";
import { patiently } from "./patience.js";
import { explainFailure, followNewReply, openReply } from "./replies.js";
import { changeThread, openId, outbox, putConversations, putMessages, user } from "./state.js";
import { pullSoon } from "./sync.js";

/** @typedef {import("./state.js").Outgoing} Outgoing */

/** Where an entry of this user is kept: each has a place of its own, because tabs write at the same time. @param {string} key */
const place = (key) => `edgechat.outbox.${user.value?.id}.${key}`;

/** Send a message to a conversation, or to a new one. @param {{conversationId: string|null, content: string, attachmentIds: string[], temporary: boolean}} message */
export function sendMessage(message) {
  const entry = { ...message, key: newKey(), since: Date.now(), state: /** @type {"sending"} */ ("sending"), error: null };
  keep(entry);
  return deliver(entry.key);
}

/** Send what was kept, after the start of the page. Another tab may be sending the same. */
export function sendKept() {
  outbox.value = readAll();
  for (const entry of outbox.value) if (entry.state === "sending") deliver(entry.key);
}

/** @param {string} key */
export function sendAgain(key) {
  change(key, { state: "sending", error: null });
  return deliver(key);
}

/** @param {string} key */
export function removeOutgoing(key) {
  localStorage.removeItem(place(key));
  outbox.value = readAll();
}

addEventListener("storage", (event) => {
  if (user.value && event.key?.startsWith(place(""))) outbox.value = readAll();
});

/** Deliver one entry, if no other tab does. @param {string} key */
async function deliver(key) {
  if (!navigator.locks) return deliverHere(key);
  let release = () => {};
  const stored = new Promise((resolve) => (release = () => resolve(undefined)));
  return new Promise((resolve) => {
    navigator.locks.request(`edgechat.send.${key}`, { ifAvailable: true }, async (lock) => {
      if (!lock) return resolve(undefined);
      deliverHere(key, release).finally(() => (release(), resolve(undefined)));
      await stored;
    });
  });
}

/** @param {string} key @param {() => void} [release] called once the server has the message, or refuses it */
async function deliverHere(key, release = () => {}) {
  try {
    await patiently(() => deliverOnce(key, release));
  } catch (error) {
    refused(key, error);
  }
}

/** @param {string} key @param {() => void} release */
async function deliverOnce(key, release) {
  const entry = read(key);
  if (!entry) return;
  const id = entry.conversationId ?? (await createConversation(entry));
  const json = { content: entry.content, attachment_ids: entry.attachmentIds, client_message_id: key };
  await followNewReply(id, () => openReply(id, json), () => (removeOutgoing(key), release()));
}

/** @param {Outgoing} entry @returns {Promise<string>} the new conversation's id */
async function createConversation({ key, temporary }) {
  const headers = { "Idempotency-Key": `conversation-${key}` };
  const conversation = await callJson("POST", "chat/conversations", { json: { temporary }, headers });
  putConversations([conversation]);
  changeThread(conversation.id, (thread) => ({ ...thread, state: "ready" }));
  change(key, { conversationId: conversation.id });
  if (openId.value === null) showIn(conversation.id);
  return conversation.id;
}

/** Open the conversation that a new one has become, with what was typed in the meantime. @param {string} id */
function showIn(id) {
  setDraft(id, draftOf(null));
  location.hash = `#/c/${id}`;
  openId.value = id;
  setDraft(null, "");
}

/** @param {string} key @param {unknown} error */
function refused(key, error) {
  const id = read(key)?.conversationId;
  if (error instanceof SignedOut) return;
  if (error instanceof ApiError && error.context.model_message && id) {
    // The message is stored, and the model failed.
    removeOutgoing(key);
    putMessages(id, [error.context.user_message, error.context.model_message]);
    explainFailure(id, error.context.model_message.id, error.sentence);
    pullSoon();
  } else {
    change(key, { state: "failed", error: sentenceOf(error) });
  }
}

/** @returns {Outgoing[]} the oldest first */
function readAll() {
  const keys = Object.keys(localStorage).filter((name) => name.startsWith(place(""))).map((name) => name.slice(place("").length));
  return keys.flatMap((key) => read(key) ?? []).sort((one, other) => one.since - other.since);
}

/** @param {string} key @returns {Outgoing|null} */
function read(key) {
  return JSON.parse(localStorage.getItem(place(key)) ?? "null");
}

/** @param {Outgoing} entry */
function keep(entry) {
  localStorage.setItem(place(entry.key), JSON.stringify(entry));
  outbox.value = readAll();
}

/** @param {string} key @param {Partial<Outgoing>} values */
function change(key, values) {
  const entry = read(key);
  if (entry) keep({ ...entry, ...values });
}
