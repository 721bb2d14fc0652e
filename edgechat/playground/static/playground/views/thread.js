/** The open conversation: its head, its messages, and those on their way. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { tryTo } from "../notices.js";
import { removeOutgoing, sendAgain } from "../outbox.js";
import { conversations, dialog, listIsOpen, openId, outbox, threads } from "../state.js";
import { loadEarlier, loadThread } from "../threads.js";
import { composerView } from "./composer.js";
import { icons } from "./icons.js";
import { messageView } from "./message.js";
import { openList } from "./sidebar.js";

/** @typedef {import("../state.js").Message} Message */

const IDEAS = [
  "Explain how rainbows form, in three sentences.",
  "Write a Python function that checks for palindromes.",
  "Give me a table of the planets with their moons.",
];

export function threadView() {
  const id = openId.value;
  return html`<main id="conversation" class="conversation" tabindex="-1">
    ${headView(id)}
    <div id="messages" class="messages" tabindex="0" role="region" aria-label="Messages">
      ${id === null && !sending(null).length ? welcomeView() : messagesView(id)}
    </div>
    <button id="to-end" class="icon to-end" aria-label="To the newest message" hidden @click=${toEnd}>${icons.left}</button>
    ${composerView(id)}
  </main>`;
}

/** @param {string|null} id */
function headView(id) {
  const conversation = id === null ? null : conversations.value.get(id);
  return html`<header>
    <button class="icon narrow-only" aria-label="Conversations" aria-expanded=${String(listIsOpen.value)} aria-controls="sidebar"
      @click=${() => openList("#sidebar .narrow-only")}>${icons.menu}</button>
    <h1>${conversation ? conversation.title || "Untitled" : "New conversation"}</h1>
    ${conversation
      ? html`<button class="icon" title="Find todos in this conversation" aria-label="Find todos in this conversation"
            @click=${() => (dialog.value = { name: "actionItems", id })}>${icons.todo}</button>
          <button class="icon" title="About this conversation" aria-label="About this conversation"
            @click=${() => (dialog.value = { name: "conversation", id })}>${icons.more}</button>`
      : nothing}
  </header>`;
}

function welcomeView() {
  return html`<div class="welcome">
    <h2>What would you like to know?</h2>
    ${IDEAS.map((idea) => html`<button @click=${() => suggest(idea)}>${idea}</button>`)}
  </div>`;
}

/** @param {string} idea */
function suggest(idea) {
  const field = /** @type {HTMLTextAreaElement} */ (document.getElementById("message"));
  field.value = idea;
  field.dispatchEvent(new Event("input"));
  field.focus();
}

/** @param {string|null} id */
function messagesView(id) {
  const thread = id === null ? null : threads.value.get(id);
  if (id !== null && (!thread || thread.state === "loading")) {
    return html`<p class="empty" role="status">Loading …</p>${sending(id).map(outgoingView)}`;
  }
  if (id !== null && thread?.state === "failed") {
    return html`<p class="empty" role="alert">${thread.error} <button @click=${() => tryTo(() => loadThread(id))}>Try again</button></p>
      ${sending(id).map(outgoingView)}`;
  }
  const messages = thread?.messages ?? [];
  return html`
    ${thread?.hasEarlier && id
      ? html`<button class="more" @click=${() => tryTo(() => loadEarlier(id))}>Show earlier messages</button>`
      : nothing}
    ${repeat(messages, (message) => message.id, (message, index) => messageView(id ?? "", message, placeOf(messages, index)))}
    ${sending(id).map(outgoingView)}`;
}

/** Only the last exchange can be answered again. @param {Message[]} messages @param {number} index */
function placeOf(messages, index) {
  return { answer: messages[index + 1] ?? null, isLast: index >= messages.length - 2 };
}

/** The outgoing messages of a conversation that it does not contain yet. @param {string|null} id */
function sending(id) {
  const stored = new Set(threads.value.get(id ?? "")?.messages.map((message) => message.client_message_id));
  return outbox.value.filter((entry) => entry.conversationId === id && !stored.has(entry.key));
}

/** @param {import("../state.js").Outgoing} entry */
function outgoingView({ key, content, attachmentIds, state, error }) {
  return html`<article class="message user outgoing" aria-label="You">
    <div class="bubble">${content}</div>
    ${attachmentIds.length ? html`<small>${attachmentIds.length === 1 ? "1 picture" : `${attachmentIds.length} pictures`}</small>` : nothing}
    ${state === "sending"
      ? html`<p class="state">Sending …</p>`
      : html`<p class="state failed" role="alert">${error}
          <button @click=${() => sendAgain(key)}>Try again</button>
          <button @click=${() => removeOutgoing(key)}>Remove</button></p>`}
  </article>`;
}

function toEnd() {
  const messages = document.getElementById("messages");
  messages?.scrollTo({ top: messages.scrollHeight });
}
