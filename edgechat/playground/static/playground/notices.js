/** Short notices at the edge of the page, and what a screen reader says. */

import { signal } from "./vendor/signals-core/signals-core.js";
import { SignedOut, sentenceOf } from "./errors.js";

const SHOWN_MILLISECONDS = 6000;
let lastId = 0;

/** @type {{value: {id: number, text: string, isError: boolean}[]}} */
export const notices = signal([]);

/** Show a sentence for some seconds, a failure until it is dismissed; a screen reader says it too. @param {string} text */
export function notify(text, isError = false) {
  const id = ++lastId;
  notices.value = [...notices.value.slice(-2), { id, text, isError }];
  if (!isError) setTimeout(() => dismiss(id), SHOWN_MILLISECONDS);
}

/** @param {number} id */
export function dismiss(id) {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

/** Have a text said by a screen reader, once what it says now has ended. @param {string} text */
export function announce(text) {
  const region = document.getElementById("announcements");
  if (region) region.textContent = text;
}

/** Run `work`; show its failure as a notice. Returns what it returns, undefined after a failure.
 * @template T @param {() => Promise<T>} work @returns {Promise<T|undefined>}
 */
export async function tryTo(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SignedOut)) notify(sentenceOf(error), true);
    return undefined;
  }
}
