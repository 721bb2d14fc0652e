/** The page before a session: sign in, make an account, or choose a new password. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { signIn } from "../account.js";
import { ENDED } from "../api.js";
import { sentenceOf } from "../errors.js";
import { askForReset, resetPassword, resetToken } from "../recovery.js";

/** @typedef {"login"|"register"|"forgot"|"reset"} Step */

/** Each step's title, button, and the step to go to instead. @type {Record<Step, [string, string, string, string, Step]>} */
const STEPS = {
  login: ["Sign in", "Sign in", "New here?", "Create an account", "register"],
  register: ["Create your account", "Create account", "You have an account?", "Sign in", "login"],
  forgot: ["Forgot your password?", "Send me an e-mail", "You know it again?", "Sign in", "login"],
  reset: ["Choose a new password", "Change the password", "You know it again?", "Sign in", "login"],
};

/** @type {{value: Step}} */
const step = signal(resetToken ? "reset" : "login");
const isBusy = signal(false);
const failure = signal(sessionStorage.getItem(ENDED) ? "Your session has ended. Please sign in again." : "");
/** What the last step did. */
const success = signal("");
sessionStorage.removeItem(ENDED);

/** @param {string} appName */
export function signInView(appName) {
  const [title, button, question, other, next] = STEPS[step.value];
  const isNew = step.value === "register" || step.value === "reset";
  return html`<main class="sign-in">
    <img src="/static/edgechat/icon.svg" alt="" width="56" height="56">
    <h1>${appName}</h1>
    <form class="card" @submit=${submit} aria-labelledby="sign-in-title">
      <h2 id="sign-in-title">${title}</h2>
      <p role="status">${success.value}</p>
      ${step.value === "register"
        ? html`<label>Name <small>(optional)</small> <input name="full_name" autocomplete="name" maxlength="100"></label>`
        : nothing}
      ${step.value === "reset"
        ? resetToken ? nothing : html`<label>Code from the e-mail <input name="token" autocomplete="one-time-code" maxlength="1000" required></label>`
        : html`<label>E-mail <input name="email" type="email" autocomplete="username" required></label>`}
      ${step.value === "forgot" ? nothing : html`<label>${step.value === "reset" ? "New password" : "Password"}
        <input name="password" type="password" required minlength=${isNew ? 8 : 1} maxlength="128"
          autocomplete=${isNew ? "new-password" : "current-password"}>
        ${isNew ? html`<small>8 characters or more</small>` : nothing}
      </label>`}
      ${failure.value ? html`<p class="error" role="alert">${failure.value}</p>` : nothing}
      <button class="primary" ?disabled=${isBusy.value}>${button}</button>
      ${step.value === "login" ? html`<p><button type="button" class="link" @click=${() => go("forgot")}>Forgot your password?</button></p>` : nothing}
      <p>${question} <button type="button" class="link" @click=${() => go(next)}>${other}</button></p>
    </form>
  </main>`;
}

/** @param {Step} next @param {string} [told] */
function go(next, told = "") {
  step.value = next;
  failure.value = "";
  success.value = told;
}

/** What each step sends. @type {Record<Step, (form: any) => Promise<void>>} */
const SENDERS = {
  login: (form) => signIn("login", form),
  register: (form) => signIn("register", form),
  forgot: async ({ email }) => {
    await askForReset(email);
    go("reset", "If this address has an account, an e-mail is on its way. Open its link, or copy its code.");
  },
  reset: async ({ token, password }) => {
    await resetPassword(token ?? resetToken, password);
    go("login", "The password was changed. Please sign in with it.");
  },
};

/** @param {SubmitEvent} event */
async function submit(event) {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (event.target)));
  if (!form.full_name) delete form.full_name;
  isBusy.value = true;
  failure.value = "";
  try {
    await SENDERS[step.value](form);
  } catch (error) {
    failure.value = sentenceOf(error);
  } finally {
    isBusy.value = false;
  }
}
