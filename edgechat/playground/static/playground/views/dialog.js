/** The one dialog of the page. The browser keeps the focus in it, closes it on Escape and gives the focus back. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { dialog } from "../state.js";
import { accountView, sessionsView } from "./account_dialogs.js";
import { actionItemsView, todosView } from "./todo_dialogs.js";
import { cameraView, closeCamera, pictureView } from "./picture_dialogs.js";
import { conversationView, deleteView, feedbackView, renameView } from "./conversation_dialogs.js";
import { icons } from "./icons.js";
import { noticesView } from "./notices.js";
import { summaryView } from "./summary_dialog.js";
import { usageView } from "./usage_dialog.js";

/** Each dialog's title and content. @type {Record<string, [string, (about: any) => unknown]>} */
const DIALOGS = {
  account: ["Account", accountView],
  actionItems: ["Todos in this conversation", actionItemsView],
  camera: ["Take a picture", cameraView],
  conversation: ["About this conversation", conversationView],
  delete: ["Delete the conversation?", deleteView],
  feedback: ["What was wrong?", feedbackView],
  picture: ["Picture", pictureView],
  rename: ["Rename the conversation", renameView],
  sessions: ["Sessions", sessionsView],
  summary: ["Summarize a page", summaryView],
  todos: ["Todos", todosView],
  usage: ["Usage and budget", usageView],
};

export function dialogView() {
  const about = dialog.value;
  const [title, content] = (about && DIALOGS[about.name]) ?? ["", () => nothing];
  return html`<dialog id="dialog" aria-labelledby="dialog-title" @close=${closed} @pointerdown=${pressed} @click=${clicked} class=${about?.name ?? ""}>
    ${about
      ? html`<div class="inside">
          <header><h2 id="dialog-title">${title}</h2>
            <button class="icon" aria-label="Close" @click=${closeDialog}>${icons.close}</button></header>
          ${content(about)}
          ${noticesView()}
        </div>`
      : nothing}
  </dialog>`;
}

/** Open or close the element as the state says. Called after each rendering. */
export function showDialog() {
  const element = /** @type {HTMLDialogElement|null} */ (document.getElementById("dialog"));
  if (!element || element.open === Boolean(dialog.value)) return;
  if (!dialog.value) return element.close();
  element.showModal();
  const field = document.activeElement;
  if (field instanceof HTMLTextAreaElement || (field instanceof HTMLInputElement && field.selectionStart !== null)) {
    // One goes on writing behind the text. Browsers put the cursor before a default value.
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

function closeDialog() {
  dialog.value = null;
}

function closed() {
  closeCamera();
  closeDialog();
}

let beganBeside = false;

/** @param {PointerEvent} event */
function pressed(event) {
  beganBeside = event.target === event.currentTarget;
}

/** A click beside the dialog closes it, but not one that began inside, as when a text is marked. @param {MouseEvent} event */
function clicked(event) {
  if (beganBeside && event.target === event.currentTarget) closeDialog();
}
