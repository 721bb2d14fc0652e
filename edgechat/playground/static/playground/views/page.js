/** The whole page. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { dialog, isReachable, isStarting, listIsOpen, user, waiting } from "../state.js";
import { dialogView } from "./dialog.js";
import { noticesView } from "./notices.js";
import { sidebarView } from "./sidebar.js";
import { signInView } from "./sign_in.js";
import { threadView } from "./thread.js";

/** @param {string} appName */
export function pageView(appName) {
  return html`
    ${isReachable.value ? nothing : html`<p id="offline" class="offline" role="status">You are offline. What you send waits until the connection is back.</p>`}
    ${waiting.value ? html`<p id="waiting" class="offline" role="status">${waiting.value.sentence}</p>` : nothing}
    ${isStarting.value ? html`<p class="starting">${appName} starts …</p>` : startedView(appName)}
    ${dialog.value ? nothing : noticesView()}`;
}

/** @param {string} appName */
function startedView(appName) {
  if (!user.value) return signInView(appName);
  return html`<a class="skip" href="#message" @click=${skip}>Skip to the message</a>
    <div class="frame ${listIsOpen.value ? "list-open" : ""}">
      ${sidebarView(appName)}
      <div class="shade" @click=${() => (listIsOpen.value = false)}></div>
      ${threadView()}
    </div>
    ${dialogView()}`;
}

/** The address names the open conversation, so the focus moves without it. @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("message")?.focus();
}
