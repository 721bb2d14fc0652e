/** What is being written, by conversation. It is kept over a reload of the tab. */

import { signal } from "./vendor/signals-core/signals-core.js";
import { user } from "./state.js";

/** @type {{value: Record<string, string>|null}} null until it has been read for this user */
const drafts = signal(null);
const place = () => `edgechat.drafts.${user.value?.id}`;

/** @param {string|null} id a conversation, null for a new one */
export function draftOf(id) {
  return all()[id ?? "new"] ?? "";
}

/** @param {string|null} id @param {string} text */
export function setDraft(id, text) {
  const { [id ?? "new"]: _, ...others } = all();
  drafts.value = text ? { ...others, [id ?? "new"]: text } : others;
  sessionStorage.setItem(place(), JSON.stringify(drafts.value));
}

/** @returns {Record<string, string>} */
function all() {
  return drafts.value ?? JSON.parse(sessionStorage.getItem(place()) ?? "{}");
}
