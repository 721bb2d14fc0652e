/** What the whole page listens to: its keys, clicks beside menus and inside Markdown, pictures dropped and pasted. */

import { copyText } from "./clipboard.js";
import { notify, tryTo } from "./notices.js";
import { addPictures, isDropping } from "./pictures.js";
import { stopReply } from "./replies.js";
import { dialog, listIsOpen, openId, threads, user } from "./state.js";
import { isComposing } from "./views/devices.js";
import { openList } from "./views/sidebar.js";

export function listen() {
  document.addEventListener("keydown", keyPressed);
  document.addEventListener("click", clicked);
  document.addEventListener("paste", pasted);
  document.addEventListener("dragover", draggedOver);
  document.addEventListener("dragleave", (event) => event.relatedTarget || (isDropping.value = false));
  document.addEventListener("drop", dropped);
}

/** @param {KeyboardEvent} event */
function keyPressed(event) {
  if (!user.value || dialog.value || isComposing(event)) return;
  const isCommand = event.ctrlKey || event.metaKey;
  if (event.key === "Escape") escape();
  else if (isCommand && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openList("#search");
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
  if (id && writing) {
    tryTo(async () => {
      await stopReply(id, writing.id);
      notify("Stopped");
    });
  }
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

/** @param {ClipboardEvent} event */
function pasted(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length || !takesPictures()) return;
  event.preventDefault();
  addPictures(files);
}

/** @param {DragEvent} event */
function draggedOver(event) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault(); // or the browser would open the file in place of the page
  isDropping.value = takesPictures();
}

/** @param {DragEvent} event */
function dropped(event) {
  const files = event.dataTransfer?.files ?? [];
  isDropping.value = false;
  if (!files.length) return;
  event.preventDefault();
  if (takesPictures()) addPictures(files);
}

function takesPictures() {
  return Boolean(user.value) && !dialog.value;
}
