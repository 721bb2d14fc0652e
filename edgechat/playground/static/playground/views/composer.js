/** Writing a message: its text and its pictures; sending it, and stopping the answer. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { draftOf, setDraft } from "../drafts.js";
import { tryTo } from "../notices.js";
import { sendMessage } from "../outbox.js";
import { addPictures, forgetPreview, isDropping, pictureAddress, pictures, removeAllPictures, removePicture, upload } from "../pictures.js";
import { stopReply } from "../replies.js";
import { dialog, openId, outbox, threads } from "../state.js";
import { hasKeyboard, isComposing } from "./devices.js";
import { icons } from "./icons.js";

const MAX_CHARACTERS = 32_000;
/** Whether the next new conversation is temporary. */
const isTemporary = signal(false);

/** @param {string|null} id */
export function composerView(id) {
  const text = draftOf(id);
  const writing = threads.value.get(id ?? "")?.messages.find((message) => message.status === "generating");
  const isReady = pictures.value.every((picture) => picture.state === "ready");
  const isSending = outbox.value.some((entry) => entry.conversationId === id && entry.state === "sending");
  return html`<form id="composer" class="composer ${isDropping.value ? "dropping" : ""}" @submit=${submit}>
    ${pictures.value.length ? html`<ul class="previews" aria-label="Pictures to send">${pictures.value.map(previewView)}</ul>` : nothing}
    <label class="visually-hidden" for="message">Message</label>
    <textarea id="message" rows="1" maxlength=${MAX_CHARACTERS} placeholder=${pictures.value.length ? "Ask about the picture" : "Message"} enterkeyhint=${hasKeyboard ? "send" : "enter"}
      .value=${live(text)} @input=${write} @keydown=${keyPressed}></textarea>
    <div class="tools">
      <label class="icon button" title="Add pictures"><span class="visually-hidden">Add pictures</span>${icons.picture}
        <input id="files" class="visually-hidden" type="file" accept="image/*" multiple @change=${choose}></label>
      <button type="button" class="icon" aria-label="Take a picture" title="Take a picture"
        @click=${() => (dialog.value = { name: "camera" })}>${icons.camera}</button>
      ${id === null
        ? html`<label class="temporary" title="It is not listed, and found by its address only"><input type="checkbox" .checked=${live(isTemporary.value)}
            @change=${() => (isTemporary.value = !isTemporary.value)}> Temporary</label>`
        : nothing}
      <span class="spacer"></span>
      ${writing
        ? html`<button type="button" class="icon primary" aria-label="Stop" title="Stop (Esc)"
            @click=${() => tryTo(() => stopReply(id ?? "", writing.id))}>${icons.stop}</button>`
        : html`<button class="icon primary" aria-label="Send" title="Send (Enter)"
            ?disabled=${!text.trim() || !isReady || isSending}>${icons.send}</button>`}
    </div>
  </form>`;
}

/** @param {import("../pictures.js").Picture} picture */
function previewView(picture) {
  return html`<li class=${picture.state}>
    ${previewPicture(picture)}
    ${picture.state === "uploading" ? html`<progress aria-label="Uploading ${picture.name}"></progress>` : nothing}
    ${picture.state === "failed" && picture.canRetry
      ? html`<button type="button" title=${picture.error ?? ""} @click=${() => upload(picture)}>Try again</button>`
      : nothing}
    <button type="button" class="icon remove" aria-label="Remove ${picture.name}" @click=${() => removePicture(picture.key)}>${icons.close}</button>
  </li>`;
}

/** A browser that cannot show the file, such as HEIC, shows what the server made of it. @param {import("../pictures.js").Picture} picture */
function previewPicture({ key, name, preview, attachmentId }) {
  const address = preview ?? (attachmentId && pictureAddress(attachmentId, "thumb"));
  if (!address) return html`<span class="unseen" role="img" aria-label=${name}>${icons.picture}</span>`;
  return html`<img src=${address} alt=${name} width="64" height="64" @error=${() => forgetPreview(key)}>`;
}

/** @param {Event} event */
function write(event) {
  setDraft(openId.value, /** @type {HTMLTextAreaElement} */ (event.target).value);
}

/** @param {KeyboardEvent} event */
function keyPressed(event) {
  const sends = event.key === "Enter" && !event.shiftKey && !isComposing(event);
  // On a touch screen Enter begins a line.
  if (!sends || !hasKeyboard) return;
  event.preventDefault();
  /** @type {HTMLFormElement} */ (document.getElementById("composer")).requestSubmit();
}

/** @param {SubmitEvent} event */
function submit(event) {
  event.preventDefault();
  const id = openId.value;
  const content = draftOf(id);
  const isWriting = threads.value.get(id ?? "")?.messages.some((message) => message.status === "generating");
  const isSending = outbox.value.some((entry) => entry.conversationId === id && entry.state === "sending");
  const isReady = pictures.value.every((picture) => picture.state === "ready");
  if (!content.trim() || isWriting || isSending || !isReady) return;
  // The same picture twice is one attachment.
  const attachmentIds = [...new Set(pictures.value.flatMap((picture) => picture.attachmentId ?? []))];
  setDraft(id, "");
  removeAllPictures();
  tryTo(() => sendMessage({ conversationId: id, content, attachmentIds, temporary: id === null && isTemporary.value }));
  isTemporary.value = false;
}

/** @param {Event} event */
function choose(event) {
  const input = /** @type {HTMLInputElement} */ (event.target);
  addPictures(input.files ?? []);
  input.value = "";
}
