/**
 * Renaming, deleting and describing a conversation, and feedback on an answer.
 * Fields get a `defaultValue`, which follows what the server says until the person types; a `value` would replace what was typed.
 */

import { html } from "../vendor/lit-html/lit-html.js";
import { call, callJson } from "../api.js";
import { changeConversation, deleteConversation } from "../conversations.js";
import { notify, tryTo } from "../notices.js";
import { conversations, dialog, messageOf, putMessages } from "../state.js";
import { tellOtherTabs } from "../sync.js";

/** @param {{id: string}} about */
export function renameView({ id }) {
  return html`<form @submit=${(/** @type {SubmitEvent} */ event) => save(event, id)}>
    <label>Title <input name="title" maxlength="200" required autofocus .defaultValue=${conversations.value.get(id)?.title ?? ""}></label>
    <div class="buttons"><button type="button" @click=${close}>Cancel</button><button class="primary">Save</button></div>
  </form>`;
}

/** @param {{id: string}} about */
export function deleteView({ id }) {
  const title = conversations.value.get(id)?.title || "Untitled";
  return html`<p>“${title}” and its messages are deleted for good.</p>
    <div class="buttons"><button autofocus @click=${close}>Cancel</button>
      <button class="danger" @click=${() => closing(() => deleteConversation(id))}>Delete</button></div>`;
}

/** @param {{id: string}} about */
export function conversationView({ id }) {
  const conversation = conversations.value.get(id);
  if (!conversation) return html`<p>It is not there any more.</p>`;
  return html`<form @submit=${(/** @type {SubmitEvent} */ event) => save(event, id)}>
    <label>Title <input name="title" maxlength="200" .defaultValue=${conversation.title ?? ""}></label>
    <label>Instruction for every answer
      <textarea name="system_instruction" rows="3" maxlength="8000" .defaultValue=${conversation.system_instruction ?? ""}></textarea></label>
    <p>${conversation.message_count} messages${conversation.temporary ? ", temporary: it is not listed" : ""}</p>
    <div class="buttons">
      <button type="button" @click=${() => tryTo(() => download(id))}>Download as Markdown</button>
      <button type="button" class="danger" @click=${() => (dialog.value = { name: "delete", id })}>Delete</button>
      <button class="primary">Save</button>
    </div>
  </form>`;
}

/** @param {{id: string, messageId: string}} about */
export function feedbackView({ id, messageId }) {
  return html`<form @submit=${(/** @type {SubmitEvent} */ event) => comment(event, id, messageId)}>
    <label>Your comment <small>(optional)</small>
      <textarea name="comment" rows="3" maxlength="2000" autofocus .defaultValue=${messageOf(id, messageId)?.feedback?.comment ?? ""}></textarea></label>
    <div class="buttons"><button type="button" @click=${close}>No comment</button><button class="primary">Save</button></div>
  </form>`;
}

/** @param {SubmitEvent} event @param {string} id */
function save(event, id) {
  const { title, system_instruction } = valuesOf(event);
  const known = conversations.value.get(id);
  /** @type {{title?: string, system_instruction?: string|null}} */
  const values = {};
  if (title && title !== known?.title) values.title = title;
  if (system_instruction !== undefined && system_instruction !== (known?.system_instruction ?? "")) {
    values.system_instruction = system_instruction || null;
  }
  closing(async () => {
    if (Object.keys(values).length) await changeConversation(id, values);
  });
}

/** @param {SubmitEvent} event @param {string} id @param {string} messageId */
function comment(event, id, messageId) {
  const json = { rating: "down", comment: valuesOf(event).comment || null };
  closing(async () => {
    putMessages(id, [await callJson("PUT", `chat/conversations/${id}/messages/${messageId}/feedback`, { json })]);
    tellOtherTabs(id);
    notify("Thank you.");
  });
}

/** @param {string} id */
async function download(id) {
  const answer = await call("GET", `chat/conversations/${id}/export?format=markdown`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${conversations.value.get(id)?.title || "conversation"}.md`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {SubmitEvent} event @returns {Record<string, string>} */
function valuesOf(event) {
  event.preventDefault();
  const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
  return Object.fromEntries([...form].map(([name, value]) => [name, String(value).trim()]));
}

/** Do something, and close the dialog if it succeeded. @param {() => Promise<unknown>} work */
function closing(work) {
  tryTo(async () => {
    await work();
    close();
  });
}

function close() {
  dialog.value = null;
}
