/** The page before a session: sign in, or make an account. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { signIn } from "../account.js";
import { ENDED } from "../api.js";
import { sentenceOf } from "../errors.js";

const isNew = signal(false);
const isBusy = signal(false);
const failure = signal(sessionStorage.getItem(ENDED) ? "Your session has ended. Please sign in again." : "");
sessionStorage.removeItem(ENDED);

/** @param {string} appName */
export function signInView(appName) {
  const title = isNew.value ? "Create your account" : "Sign in";
  return html`<main class="sign-in">
    <img src="/static/edgechat/icon.svg" alt="" width="56" height="56">
    <h1>${appName}</h1>
    <form class="card" @submit=${submit} aria-labelledby="sign-in-title">
      <h2 id="sign-in-title">${title}</h2>
      ${isNew.value
        ? html`<label>Name <small>(optional)</small> <input name="full_name" autocomplete="name" maxlength="100"></label>`
        : nothing}
      <label>E-mail <input name="email" type="email" autocomplete="username" required></label>
      <label>Password
        <input name="password" type="password" required minlength=${isNew.value ? 8 : 1} maxlength="128"
          autocomplete=${isNew.value ? "new-password" : "current-password"}>
        ${isNew.value ? html`<small>8 characters or more</small>` : nothing}
      </label>
      ${failure.value ? html`<p class="error" role="alert">${failure.value}</p>` : nothing}
      <button class="primary" ?disabled=${isBusy.value}>${isNew.value ? "Create account" : "Sign in"}</button>
      <p>${isNew.value ? "You have an account?" : "New here?"}
        <button type="button" class="link" @click=${change}>${isNew.value ? "Sign in" : "Create an account"}</button></p>
    </form>
  </main>`;
}

function change() {
  isNew.value = !isNew.value;
  failure.value = "";
}

/** @param {SubmitEvent} event */
async function submit(event) {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (event.target)));
  if (!form.full_name) delete form.full_name;
  isBusy.value = true;
  failure.value = "";
  try {
    await signIn(isNew.value ? "register" : "login", /** @type {any} */ (form));
  } catch (error) {
    failure.value = sentenceOf(error);
  } finally {
    isBusy.value = false;
  }
}
