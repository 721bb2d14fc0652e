/** The start of the page: render what the state says, whenever it changes. */

import { render } from "./vendor/lit-html/lit-html.js";
import { effect } from "./vendor/signals-core/signals-core.js";
import { followOtherTabs, resumeSession } from "./account.js";
import { loadConversations, openFromAddress } from "./conversations.js";
import { listen } from "./listeners.js";
import { tryTo } from "./notices.js";
import { sendKept } from "./outbox.js";
import { patiently } from "./patience.js";
import { resetToken, verifyByLink } from "./recovery.js";
import { followEnd } from "./scrolling.js";
import { conversations, dialog, isStarting, openId, user } from "./state.js";
import { keepInStep } from "./sync.js";
import { sessions } from "./views/account_dialogs.js";
import { showDialog } from "./views/dialog.js";
import { pageView } from "./views/page.js";
import { openCamera } from "./views/picture_dialogs.js";
import { summary } from "./views/summary_dialog.js";
import { actionItems, todos } from "./views/todo_dialogs.js";
import { usage } from "./views/usage_dialog.js";

const appName = document.body.dataset.appName ?? "EdgeChat";
const page = /** @type {HTMLElement} */ (document.getElementById("page"));
/** What each dialog loads when it opens. @type {Record<string, (about: any) => unknown>} */
const OPENED = {
  actionItems: ({ id }) => (actionItems.forget(), actionItems.start(id)),
  camera: openCamera,
  sessions: () => sessions.start(),
  summary: () => summary.forget(),
  todos: () => todos.start(),
  usage: () => usage.start(),
};

/** Called for a kept session, and after each signing in. */
async function signedIn() {
  document.getElementById("message")?.focus();
  sendKept();
  await Promise.all([tryTo(() => patiently(loadConversations)), tryTo(openFromAddress)]);
}

/** @param {string} name a dialog's */
function opened(name) {
  OPENED[name]?.(dialog.value);
}

async function start() {
  listen();
  followOtherTabs();
  page.replaceChildren();
  followEnd(() => render(pageView(appName), page), effect);
  // A server that is away for a moment must not make a signed-in person sign in again.
  await tryTo(() => patiently(verifyByLink));
  if (!resetToken) await tryTo(() => patiently(resumeSession));
  isStarting.value = false;
  effect(showTitle);
  effect(showDialogOf);
  let signedInId = 0;
  effect(() => {
    const id = user.value?.id ?? 0;
    if (id && id !== signedInId) queueMicrotask(signedIn);
    signedInId = id;
  });
  addEventListener("hashchange", () => user.value && tryTo(openFromAddress));
  keepInStep();
}

/** The browser's history and its list of tabs name the conversation. */
function showTitle() {
  const title = conversations.value.get(openId.value ?? "")?.title;
  document.title = title ? `${title} – ${appName}` : appName;
}

let shownDialog = "";

function showDialogOf() {
  const name = dialog.value?.name ?? "";
  queueMicrotask(showDialog);
  if (name !== shownDialog) queueMicrotask(() => opened(name));
  shownDialog = name;
}

start();
