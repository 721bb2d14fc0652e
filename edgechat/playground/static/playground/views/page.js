/** The whole page. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { dialog, isReachable, listIsOpen, user } from "../state.js";
import { dialogView } from "./dialog.js";
import { noticesView } from "./notices.js";
import { sidebarView } from "./sidebar.js";
import { signInView } from "./sign_in.js";
import { threadView } from "./thread.js";

/** @param {string} appName */
export function pageView(appName) {
  return html`
    ${isReachable.value ? nothing : html`<p id="offline" class="offline" role="status">You are offline. What you send waits until the connection is back.</p>`}
    ${user.value
      ? html`<a class="skip" href="#message" @click=${skip}>Skip to the message</a>
          <div class="frame ${listIsOpen.value ? "list-open" : ""}">
            ${sidebarView(appName)}
            <div class="shade" @click=${() => (listIsOpen.value = false)}></div>
            ${threadView()}
          </div>
          ${dialogView()}`
      : signInView(appName)}
    ${dialog.value ? nothing : noticesView()}`;
}

/** The address names the open conversation, so the focus moves without it. @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("message")?.focus();
}
