/** The summary of a web page, or of a text. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { callJson } from "../api.js";
import { copyText } from "../clipboard.js";
import { setDraft } from "../drafts.js";
import { loader } from "../loading.js";
import { markdownBlocks } from "../markdown.js";
import { dialog, openId } from "../state.js";

/** @typedef {{summary: string, source: {kind: string, url?: string, title?: string, words: number}}} Summary */

/** @type {ReturnType<typeof loader<Summary>>} */
export const summary = loader((json) => callJson("POST", "ai/summarize", { json }));

export function summaryView() {
  const { state, value, error } = summary.loaded.value;
  return html`<form @submit=${submit}>
      <label>Address of the page, or a text
        <textarea name="source" rows="3" required autofocus placeholder="https://example.com/article"></textarea></label>
      <div class="fields">
        <label>Style <select name="style"><option value="paragraph">Paragraph</option><option value="bullets">List</option>
          <option value="headline">Headline</option></select></label>
        <label>Maximum words <input name="max_words" type="number" min="10" max="1000" value="120"></label>
        <label>Language <input name="language" placeholder="as the text" maxlength="35"></label>
      </div>
      <div class="buttons"><button class="primary" ?disabled=${state === "loading"}>${state === "loading" ? "Reading …" : "Summarize"}</button></div>
    </form>
    ${error ? html`<p class="error" role="alert">${error}</p>` : nothing}
    ${value && state === "ready" ? resultView(value) : nothing}`;
}

/** @param {Summary} result */
function resultView({ summary: text, source }) {
  return html`<section class="result" aria-label="Summary" aria-live="polite">
    ${source.title ? html`<h3>${source.title}</h3>` : nothing}
    <div class="content">${markdownBlocks("summary", text)}</div>
    <p><small>${source.words} words${source.url ? html` of <a href=${source.url} target="_blank" rel="noopener noreferrer">${source.url}</a>` : nothing}</small></p>
    <div class="buttons"><button @click=${() => copyText(text)}>Copy</button>
      <button @click=${() => discuss(text)}>Put into the message</button></div>
  </section>`;
}

/** @param {SubmitEvent} event */
function submit(event) {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (event.target)));
  const source = String(form.source).trim();
  const isAddress = /^https?:\/\/\S+$/i.test(source);
  summary.start({
    ...(isAddress ? { url: source } : { text: source }),
    style: form.style,
    ...(form.max_words ? { max_words: Number(form.max_words) } : {}),
    ...(form.language ? { language: form.language } : {}),
  });
}

/** @param {string} text */
function discuss(text) {
  setDraft(openId.value, `${text}\n\n`);
  dialog.value = null;
}
