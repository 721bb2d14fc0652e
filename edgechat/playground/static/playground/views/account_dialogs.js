/** The account, the page's theme, and the sessions. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { signOut, signOutEverywhere } from "../account.js";
import { callJson } from "../api.js";
import { loader } from "../loading.js";
import { notify, tryTo } from "../notices.js";
import { verifyEmail } from "../recovery.js";
import { dialog, user } from "../state.js";
import { chooseTheme, theme, THEMES } from "../theme.js";
import { commandKey, hasKeyboard } from "./devices.js";
import { loadedView } from "./loaded.js";

const time = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** @typedef {{id: string, device_name: string|null, user_agent: string, ip: string, created_at: string, last_used_at: string, current: boolean}} Session */

/** @type {ReturnType<typeof loader<Session[]>>} */
export const sessions = loader(async () => (await callJson("GET", "auth/sessions")).sessions);

export function accountView() {
  return html`<p>You are signed in as <strong>${user.value?.email}</strong>.</p>
    ${user.value?.is_verified ? nothing : verifyView()}
    <fieldset><legend>Theme</legend>
      ${THEMES.map(([value, text]) => html`<label><input type="radio" name="theme" .checked=${theme.value === value}
        @change=${() => chooseTheme(value)}> ${text}</label>`)}
    </fieldset>
    ${hasKeyboard ? keysView() : nothing}
    <div class="buttons">
      <button @click=${() => (dialog.value = { name: "sessions" })}>Sessions</button>
      <button class="primary" @click=${() => tryTo(() => leave(signOut))}>Sign out</button>
    </div>`;
}

function keysView() {
  return html`<h3>Keys</h3>
    <dl class="keys">
      <div><dt><kbd>Enter</kbd></dt><dd>Send; <kbd>Shift</kbd> <kbd>Enter</kbd> begins a line</dd></div>
      <div><dt><kbd>Esc</kbd></dt><dd>Stop the answer, close a menu or this dialog</dd></div>
      <div><dt><kbd>${commandKey}</kbd> <kbd>K</kbd></dt><dd>Search</dd></div>
      <div><dt><kbd>${commandKey}</kbd> <kbd>Shift</kbd> <kbd>O</kbd></dt><dd>New conversation</dd></div>
    </dl>`;
}

function verifyView() {
  return html`<form class="fields" @submit=${verify}>
      <label>Verification code, from the message that was sent to this address
        <input name="token" autocomplete="one-time-code" maxlength="1000" required></label>
      <button class="primary">Verify</button>
    </form>
    <p><button class="link" @click=${sendAgain}>Send it again</button></p>`;
}

/** @param {SubmitEvent} event */
function verify(event) {
  event.preventDefault();
  const code = new FormData(/** @type {HTMLFormElement} */ (event.target)).get("token");
  tryTo(() => verifyEmail(String(code).trim()));
}

function sendAgain() {
  tryTo(async () => {
    await callJson("POST", "auth/email/resend");
    notify("An e-mail is on its way.");
  });
}

export function sessionsView() {
  return loadedView(sessions.loaded.value, listView, sessions.start);
}

/** @param {Session[]} list */
function listView(list) {
  return html`<ul class="plain">${list.map(sessionView)}</ul>
    <div class="buttons"><button class="danger" @click=${() => tryTo(() => leave(signOutEverywhere))}>Log out everywhere</button></div>`;
}

/** @param {Session} session */
function sessionView(session) {
  return html`<li>
    <div><strong>${session.device_name || session.user_agent.slice(0, 60) || "Unknown device"}</strong>
      ${session.current ? html`<em>this device</em>` : nothing}
      <small>${session.ip}, last used ${time.format(new Date(session.last_used_at))}, since ${time.format(new Date(session.created_at))}</small></div>
    ${session.current ? nothing : html`<button @click=${() => end(session)}>End</button>`}
  </li>`;
}

/** @param {Session} session */
function end({ id }) {
  tryTo(async () => {
    await callJson("DELETE", `auth/sessions/${id}`);
    notify("The session has ended.");
    await sessions.start();
  });
}

/** @param {() => Promise<void>} how */
async function leave(how) {
  await how();
  dialog.value = null;
}
