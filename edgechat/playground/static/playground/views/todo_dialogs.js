/** The account's todos, and those that the model finds in a conversation. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { callJson } from "../api.js";
import { loader } from "../loading.js";
import { tryTo } from "../notices.js";
import { dialog } from "../state.js";
import { loadedView } from "./loaded.js";

/** @typedef {{id: number, title: string, description: string|null, completed: boolean, conversation_id: string|null}} Todo */

/** @type {ReturnType<typeof loader<Todo[]>>} */
export const todos = loader(() => callJson("GET", "todos"));
/** @type {ReturnType<typeof loader<Todo[]>>} */
export const actionItems = loader((id) => callJson("POST", `chat/conversations/${id}/action-items`));

export function todosView() {
  return loadedView(todos.loaded.value, listView, todos.start);
}

/** @param {{id: string}} about */
export function actionItemsView({ id }) {
  return html`<p>The model reads the conversation and notes what is to be done.</p>
    ${loadedView(actionItems.loaded.value, foundView, () => actionItems.start(id))}`;
}

/** @param {Todo[]} found */
function foundView(found) {
  return html`<p role="status">${found.length ? `${found.length} added to your todos:` : "Nothing to be done was found."}</p>
    <ul class="plain">${found.map((todo) => html`<li><div><strong>${todo.title}</strong> <small>${todo.description}</small></div></li>`)}</ul>
    <div class="buttons"><button class="primary" @click=${() => (dialog.value = { name: "todos" })}>Show all todos</button></div>`;
}

/** @param {Todo[]} list */
function listView(list) {
  return html`<form class="fields" @submit=${add}>
      <label>New todo <input name="title" maxlength="255" required></label><button class="primary">Add</button>
    </form>
    <ul class="plain todos">
      ${list.map(todoView)}
      ${list.length ? nothing : html`<li class="empty">No todos yet.</li>`}
    </ul>`;
}

/** @param {Todo} todo */
function todoView(todo) {
  return html`<li>
    <label><input type="checkbox" .checked=${live(todo.completed)} @change=${() => change(todo, { completed: !todo.completed })}>
      <span>${todo.title} ${todo.description ? html`<small>${todo.description}</small>` : nothing}</span></label>
    ${todo.conversation_id
      ? html`<a href="#/c/${todo.conversation_id}" @click=${() => (dialog.value = null)}>Conversation</a>`
      : nothing}
    <button @click=${() => change(todo, { archived: true })} aria-label="Archive ${todo.title}">Archive</button>
  </li>`;
}

/** @param {SubmitEvent} event */
function add(event) {
  event.preventDefault();
  const field = /** @type {HTMLFormElement} */ (event.target).elements.namedItem("title");
  if (!(field instanceof HTMLInputElement)) return;
  const title = field.value;
  tryTo(async () => {
    await callJson("POST", "todos", { json: { title } });
    // What was typed in the meantime is the next todo.
    if (field.value === title) field.value = "";
    await todos.start();
  });
}

/** @param {Todo} todo @param {{completed?: boolean, archived?: boolean}} values */
function change({ id }, values) {
  const { loaded } = todos;
  // The box stays as the person left it, also when the page is rendered before the server has answered.
  const value = loaded.value.value?.map((each) => (each.id === id ? { ...each, ...values } : each)) ?? null;
  loaded.value = { ...loaded.value, value };
  tryTo(async () => {
    try {
      await callJson("PATCH", `todos/${id}`, { json: values });
    } finally {
      await todos.start();
    }
  });
}
