/** Copying. */

import { notify } from "./notices.js";

/** @param {string} text */
export async function copyText(text) {
  // Browsers have a clipboard with https, and on this machine.
  if (!navigator.clipboard) return notify("This browser copies with https only.", true);
  try {
    await navigator.clipboard.writeText(text);
    notify("Copied");
  } catch {
    notify("The browser did not let the page copy.", true);
  }
}
