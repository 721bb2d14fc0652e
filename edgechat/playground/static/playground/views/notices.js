/** The notices: inside the dialog while one is open, because what is behind it is neither in sight nor read out. */

import { html } from "../vendor/lit-html/lit-html.js";
import { dismiss, notices } from "../notices.js";
import { icons } from "./icons.js";

export function noticesView() {
  return html`<div class="notices" role="status">${notices.value.map(({ id, text, isError }) => html`<p class=${isError ? "error" : ""}>${text}
    <button class="icon" aria-label="Dismiss" @click=${() => dismiss(id)}>${icons.close}</button></p>`)}</div>`;
}
