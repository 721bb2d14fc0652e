/** How a dialog shows what it loads. */

import { html } from "../vendor/lit-html/lit-html.js";

/**
 * @template T @param {import("../loading.js").Loaded<T>} loaded @param {(value: T) => unknown} view
 * @param {() => void} again
 */
export function loadedView(loaded, view, again) {
  if (loaded.value !== null) return view(loaded.value);
  if (loaded.state === "failed") {
    return html`<p class="error" role="alert">${loaded.error} <button @click=${again}>Try again</button></p>`;
  }
  return html`<p role="status">Loading …</p>`;
}
