/** The list of conversations, its search, and the ways to everything else. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import {
  changeConversation, found, hasMore, isListed, listed, loadConversations, search, searched, showArchived,
  showsArchived,
} from "../conversations.js";
import { tryTo } from "../notices.js";
import { dialog, listIsOpen, openId, user } from "../state.js";
import { commandKey, hasKeyboard } from "./devices.js";
import { icons } from "./icons.js";

/** @typedef {import("../state.js").Conversation} Conversation */

const SEARCH_AFTER_MILLISECONDS = 250;
const SHOWN_MILLISECONDS = 50;
let timer = 0;

/** @param {string} appName */
export function sidebarView(appName) {
  return html`<nav id="sidebar" class="sidebar" aria-label="Conversations">
    <header>
      <img src="/static/edgechat/icon.svg" alt="" width="28" height="28">
      <strong>${appName}</strong>
      <button class="icon narrow-only" aria-label="Close the list" @click=${() => (listIsOpen.value = false)}>${icons.close}</button>
    </header>
    <a class="new-chat" href="#/" @click=${startNew}>${icons.plus} New conversation</a>
    <label class="search">${icons.search}<span class="visually-hidden">Search conversations</span>
      <input id="search" type="search" placeholder=${hasKeyboard ? `Search (${commandKey} K)` : "Search"} .value=${live(searched.value)} @input=${searchLater}>
    </label>
    ${found.value ? foundView(found.value) : listView()}
    <footer>
      ${[
        ["usage", icons.chart, "Usage and budget"], ["todos", icons.todo, "Todos"], ["summary", icons.link, "Summarize a page"],
        ["sessions", icons.devices, "Sessions"], ["account", icons.user, user.value?.email ?? "Account"],
      ].map(([name, icon, text]) => html`<button @click=${() => (dialog.value = { name: String(name) })}>${icon}<span>${text}</span></button>`)}
    </footer>
  </nav>`;
}

function listView() {
  const list = listed();
  return html`<div class="list-head" role="group" aria-label="Which conversations">
      <button aria-pressed=${String(!showsArchived.value)} @click=${() => tryTo(() => showArchived(false))}>Current</button>
      <button aria-pressed=${String(showsArchived.value)} @click=${() => tryTo(() => showArchived(true))}>Archived</button>
    </div>
    <ul class="conversations">
      ${repeat(list, (each) => each.id, rowView)}
      ${list.length ? nothing : html`<li class="empty">${emptyList()}</li>`}
      ${hasMore.value ? html`<li><button class="more" @click=${() => tryTo(loadConversations)}>Show more</button></li>` : nothing}
    </ul>`;
}

function emptyList() {
  if (!isListed.value) return "Loading …";
  return showsArchived.value ? "Nothing is archived." : "No conversation yet.";
}

/** @param {Conversation} each */
function rowView(each) {
  const title = each.title || "Untitled";
  return html`<li class="row">
    <a href="#/c/${each.id}" aria-current=${each.id === openId.value ? "page" : nothing} title=${title}>
      ${each.pinned ? html`<span class="pinned" title="Pinned">${icons.pin}<span class="visually-hidden">Pinned: </span></span>` : nothing}
      <span class="title">${title}</span>
    </a>
    <details class="menu">
      <summary aria-label="Actions for ${title}">${icons.more}</summary>
      <div>
        <button @click=${() => (dialog.value = { name: "rename", id: each.id })}>Rename</button>
        <button @click=${() => change(each, { pinned: !each.pinned })}>${each.pinned ? "Unpin" : "Pin"}</button>
        <button @click=${() => change(each, { archived: !each.archived })}>${each.archived ? "Unarchive" : "Archive"}</button>
        <button class="danger" @click=${() => (dialog.value = { name: "delete", id: each.id })}>Delete</button>
      </div>
    </details>
  </li>`;
}

/** @param {import("../conversations.js").Found[]} results */
function foundView(results) {
  return html`<p class="list-head" role="status">${results.length === 1 ? "1 match" : `${results.length} matches`}</p>
    <ul class="conversations">
      ${results.map((each) => html`<li class="row"><a href="#/c/${each.conversation_id}${each.message_id ? `/${each.message_id}` : ""}">
        <span class="title">${each.title || "Untitled"}</span><small>${each.snippet}</small></a></li>`)}
    </ul>`;
}

/** @param {Conversation} conversation @param {any} values */
function change({ id }, values) {
  tryTo(() => changeConversation(id, values));
}

function startNew() {
  listIsOpen.value = false;
  requestAnimationFrame(() => document.getElementById("message")?.focus());
}

/** @param {InputEvent} event */
function searchLater(event) {
  const { value } = /** @type {HTMLInputElement} */ (event.target);
  searched.value = value;
  clearTimeout(timer);
  timer = setTimeout(() => tryTo(() => search(value)), value ? SEARCH_AFTER_MILLISECONDS : 0);
}

/** Show the list of conversations, which a narrow page hides, with the focus in it. @param {string} selector of what gets the focus */
export function openList(selector) {
  listIsOpen.value = true;
  const focus = () => /** @type {HTMLElement|null} */ (document.querySelector(selector))?.focus();
  focus();
  setTimeout(focus, SHOWN_MILLISECONDS); // on a narrow page it cannot have the focus before it is shown
}
