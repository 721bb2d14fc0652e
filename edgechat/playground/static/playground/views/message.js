/** One message of a conversation, with what can be done with it. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { callJson } from "../api.js";
import { copyText } from "../clipboard.js";
import { ApiError } from "../errors.js";
import { markdownBlocks } from "../markdown.js";
import { announce, tryTo } from "../notices.js";
import { pictureAddress } from "../pictures.js";
import { regenerate } from "../replies.js";
import { dialog, putMessages, reasons } from "../state.js";
import { tellOtherTabs } from "../sync.js";
import { isComposing } from "./devices.js";
import { icons } from "./icons.js";

/** @typedef {import("../state.js").Message} Message */

/** The variant that is shown, by message; without an entry the newest. @type {{value: Map<string, number>}} */
const leafed = signal(new Map());
/** The question that is being edited, with the text so far. @type {{value: {id: string, text: string}|null}} */
const edited = signal(null);

const STATES = /** @type {Record<string, string>} */ ({
  stopped: "Stopped",
  interrupted: "The server was interrupted; this is what it had written.",
  failed: "The answer failed.",
  blocked: "Blocked for safety.",
});

/**
 * @param {string} id the conversation @param {Message} message
 * @param {{answer: Message|null, isLast: boolean}} place `answer` is the next message
 */
export function messageView(id, message, place) {
  return message.role === "user" ? questionView(id, message, place.isLast ? place.answer : null) : answerView(id, message, place);
}

/** @param {string} id @param {Message} message @param {Message|null} answer the last exchange's */
function questionView(id, message, answer) {
  if (edited.value?.id === message.id && answer) return editView(id, answer, edited.value);
  const canEdit = answer && answer.status !== "generating";
  return html`<article id="message-${message.id}" class="message user" aria-label="You" tabindex="-1">
    ${message.attachments.length ? html`<div class="pictures">${message.attachments.map(attachmentView)}</div>` : nothing}
    <div class="bubble">${shownContent(message)}</div>
    <div class="actions">
      ${variantsView(message)}
      ${copyButton(message)}
      ${canEdit
        ? html`<button class="icon" aria-label="Edit" title="Edit and send again"
            @click=${() => edit(message)}>${icons.edit}</button>`
        : nothing}
    </div>
  </article>`;
}

/** @param {string} id @param {Message} message @param {{isLast: boolean}} place */
function answerView(id, message, { isLast }) {
  const isWriting = message.status === "generating";
  const content = shownContent(message);
  return html`<article id="message-${message.id}" class="message model" tabindex="-1" aria-label="Answer" aria-busy=${String(isWriting)}>
    <div class="content ${isWriting ? "writing" : ""}">
      ${markdownBlocks(message.id, content)}
      ${isWriting && !content ? html`<p class="thinking"><span class="visually-hidden">The answer is being written</span><i></i><i></i><i></i></p>` : nothing}
    </div>
    ${STATES[message.status] ? stateView(id, message, isLast) : nothing}
    ${message.finish_reason === "MAX_TOKENS" ? html`<p class="state">The answer reached its longest length.</p>` : nothing}
    ${isWriting ? nothing : actionsView(id, message, isLast)}
  </article>`;
}

/** How the answer ended, and the way on. @param {string} id @param {Message} message @param {boolean} isLast */
function stateView(id, message, isLast) {
  const reason = message.status === "failed" ? reasons.value.get(message.id) : "";
  return html`<p class="state ${message.status}">${STATES[message.status]} ${reason}
    ${isLast && isBroken(message)
      ? html`<button @click=${() => tryTo(() => regenerate(id, message.id))}>Try again</button>`
      : nothing}</p>`;
}

/** Whether the same question may well get an answer. @param {Message} message */
function isBroken({ status }) {
  return status === "failed" || status === "interrupted";
}

/** @param {string} id @param {Message} message @param {boolean} isLast */
function actionsView(id, message, isLast) {
  return html`<div class="actions">
    ${variantsView(message)}
    ${message.content ? copyButton(message) : nothing}
    ${isLast && !isBroken(message)
      ? html`<button class="icon regenerate" aria-label="Answer again" title="Answer again"
          @click=${() => tryTo(() => regenerate(id, message.id))}>${icons.redo}</button>`
      : nothing}
    ${message.content ? judgeView(id, message) : nothing}
  </div>`;
}

/** @param {string} id @param {Message} message */
function judgeView(id, message) {
  const rating = message.feedback?.rating;
  return html`<button class="icon" aria-label="Good answer" title="Good answer" aria-pressed=${String(rating === "up")}
      @click=${() => rate(id, message, "up")}>${icons.up}</button>
    <button class="icon" aria-label="Bad answer" title="Bad answer" aria-pressed=${String(rating === "down")}
      @click=${() => rate(id, message, "down")}>${icons.down}</button>
    ${message.usage
      ? html`<small class="tokens" title="${message.usage.input_tokens} in, ${message.usage.output_tokens} out">${message.usage.total_tokens} tokens</small>`
      : nothing}`;
}

/** The leaves: earlier versions, then the present one. @param {Message} message */
function variantsView(message) {
  const count = message.variants.length + 1;
  if (count === 1) return nothing;
  const shown = shownIndex(message);
  return html`<span class="variants" role="group" aria-label="Versions">
    <button class="icon" aria-label="Earlier version" ?disabled=${shown === 0}
      @click=${() => leaf(message, shown - 1)}>${icons.left}</button>
    <span>${shown + 1} / ${count}</span>
    <button class="icon" aria-label="Later version" ?disabled=${shown === count - 1}
      @click=${() => leaf(message, shown + 1)}>${icons.right}</button>
  </span>`;
}

/** @param {Message} message */
function shownIndex(message) {
  const newest = message.variants.length;
  return message.status === "generating" ? newest : Math.min(leafed.value.get(message.id) ?? newest, newest);
}

/** @param {Message} message */
function shownContent(message) {
  return message.variants[shownIndex(message)]?.content ?? message.content;
}

/** @param {Message} message @param {number} index */
function leaf(message, index) {
  const next = new Map(leafed.value);
  if (index === message.variants.length) next.delete(message.id);
  else next.set(message.id, index);
  leafed.value = next;
  announce(`Version ${index + 1} of ${message.variants.length + 1}`);
}

/** @param {import("../state.js").Attachment} attachment */
function attachmentView({ id, width, height }) {
  const address = pictureAddress(id, "thumb");
  if (address === null) return html`<span class="missing">This picture is not there any more.</span>`;
  return html`<button class="picture" aria-label="Show the picture" @click=${() => (dialog.value = { name: "picture", id })}>
    <img src=${address || nothing} alt="Picture, ${width} by ${height}" width="120" height="120"></button>`;
}

/** @param {Message} message */
function copyButton(message) {
  return html`<button class="icon" aria-label="Copy" title="Copy" @click=${() => copyText(shownContent(message))}>${icons.copy}</button>`;
}

/** @param {string} id @param {Message} message @param {"up"|"down"} rating the same again takes it back */
function rate(id, message, rating) {
  const value = message.feedback?.rating === rating ? null : rating;
  tryTo(async () => {
    const path = `chat/conversations/${id}/messages/${message.id}/feedback`;
    putMessages(id, [await callJson("PUT", path, { json: { rating: value, comment: message.feedback?.comment ?? null } })]);
    tellOtherTabs(id);
    if (value === "down") dialog.value = { name: "feedback", id, messageId: message.id };
    else announce(value ? "Rated as good" : "Rating removed");
  });
}

/** @param {Message} message */
function edit(message) {
  edited.value = { id: message.id, text: message.content };
  requestAnimationFrame(() => document.getElementById("edited")?.focus());
}

/** @param {string} id @param {Message} answer @param {{id: string, text: string}} state */
function editView(id, answer, state) {
  return html`<form class="message user edit" @submit=${(/** @type {SubmitEvent} */ event) => resend(event, id, answer)}
    @keydown=${(/** @type {KeyboardEvent} */ event) => event.key === "Escape" && !isComposing(event) && (edited.value = null)}>
    <label class="visually-hidden" for="edited">Edit your message</label>
    <textarea id="edited" name="content" maxlength="32000" required rows="3" .value=${live(state.text)}
      @input=${(/** @type {Event} */ event) => (edited.value = { ...state, text: textOf(event) })}></textarea>
    <div class="buttons">
      <button type="button" @click=${() => (edited.value = null)}>Cancel</button>
      <button class="primary">Send again</button>
    </div>
  </form>`;
}

/** @param {Event} event */
function textOf(event) {
  return /** @type {HTMLTextAreaElement} */ (event.target).value;
}

/** @param {SubmitEvent} event @param {string} id @param {Message} answer */
function resend(event, id, answer) {
  event.preventDefault();
  const state = edited.value;
  if (!state?.text.trim()) return;
  edited.value = null;
  tryTo(async () => {
    try {
      await regenerate(id, answer.id, state.text);
    } catch (error) {
      // A refused question is not stored, so it goes back into its field.
      if (!(error instanceof ApiError && error.context.model_message)) edited.value ??= state;
      throw error;
    }
  });
}
