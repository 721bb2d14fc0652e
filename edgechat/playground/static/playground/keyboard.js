/** The page's own keys, menus that close, and buttons inside rendered Markdown. */

import { notify, tryTo } from "./notices.js";
import { stopReply } from "./replies.js";
import { dialog, listIsOpen, openId, threads, user } from "./state.js";
import { copyText } from "./views/message.js";

export function listen() {
  document.addEventListener("keydown", keyPressed);
  document.addEventListener("click", clicked);
  // A file beside the drop area must not replace the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
}

/** @param {KeyboardEvent} event */
function keyPressed(event) {
  if (!user.value || dialog.value) return;
  const isCommand = event.ctrlKey || event.metaKey;
  if (event.key === "Escape") escape();
  else if (isCommand && event.key.toLowerCase() === "k") {
    event.preventDefault();
    listIsOpen.value = true;
    document.getElementById("search")?.focus();
  } else if (isCommand && event.shiftKey && event.key.toLowerCase() === "o") {
    event.preventDefault();
    location.hash = "#/";
    document.getElementById("message")?.focus();
  }
}

/** Close what is open, else stop the answer. */
function escape() {
  const menu = openMenu();
  if (menu) {
    menu.open = false;
    menu.querySelector("summary")?.focus();
    return;
  }
  if (listIsOpen.value) {
    listIsOpen.value = false;
    return;
  }
  const id = openId.value;
  const writing = threads.value.get(id ?? "")?.messages.find((message) => message.status === "generating");
  if (id && writing) tryTo(() => stopReply(id, writing.id)).then(() => notify("Stopped"));
}

/** @param {MouseEvent} event */
function clicked(event) {
  const target = /** @type {Element} */ (event.target);
  const menu = openMenu();
  if (menu && !target.closest("summary")) menu.open = false;
  const copy = target.closest(".copy-code");
  if (copy) copyText(copy.closest(".code")?.querySelector("code")?.textContent ?? "");
}

/** @returns {HTMLDetailsElement|null} */
function openMenu() {
  return document.querySelector("details.menu[open]");
}
