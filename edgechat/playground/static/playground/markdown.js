/**
 * Markdown as safe nodes: HTML in it is shown as text, pictures of other hosts become links, and DOMPurify removes
 * what is left. Each block keeps its nodes while its text stays the same, so a growing answer changes only at its end.
 */

import DOMPurify from "./vendor/dompurify/purify.js";
import hljs from "./vendor/highlight/highlight.js";
import { Marked } from "./vendor/marked/marked.js";

/** Above this length code is not coloured: that takes too long. */
const MAX_COLOURED = 20_000;
/** Of so many texts the nodes are kept. */
const MAX_KEPT = 500;
const ALLOWED_TAGS = (
  "a b blockquote br button code del div em h1 h2 h3 h4 h5 h6 hr i input li ol p pre s span strong sub sup table tbody td " +
  "th thead tr ul"
).split(" ");
const ALLOWED_ATTR = ["align", "aria-label", "checked", "class", "disabled", "href", "rel", "start", "tabindex", "target", "title", "type"];
const PURIFY = {
  ALLOWED_TAGS,
  ALLOWED_ATTR,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["align", "aria-label", "start", "tabindex", "type"],
  RETURN_DOM_FRAGMENT: true,
};

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escape(text),
    checkbox: ({ checked }) => `<input type="checkbox" disabled ${checked ? "checked" : ""} aria-label="${checked ? "Done" : "Open"}"> `,
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    code: ({ text, lang }) => codeBlock(text, (lang ?? "").trim().split(/\s/)[0]),
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

/** The blocks of the texts that are shown, the last used last. @type {Map<string, {text: string, blocks: Map<string, Element>}>} */
const shown = new Map();

/**
 * The text's blocks. `key` names the place where it is shown: the same key gives the same nodes for the same blocks.
 * @param {string} key @param {string} text @returns {Iterable<Element>}
 */
export function markdownBlocks(key, text) {
  const before = shown.get(key);
  shown.delete(key);
  const now = before?.text === text ? before : { text, blocks: renderBlocks(text, before?.blocks ?? new Map()) };
  shown.set(key, now);
  if (shown.size > MAX_KEPT) shown.delete(shown.keys().next().value ?? "");
  return now.blocks.values();
}

/** @param {string} text @param {Map<string, Element>} known blocks by place and text */
function renderBlocks(text, known) {
  const tokens = marked.lexer(text).filter((token) => token.type !== "space");
  return new Map(tokens.map((token, index) => {
    const name = `${index}:${token.raw}`;
    return [name, known.get(name) ?? renderBlock(token)];
  }));
}

/** @param {import("./vendor/marked/marked.js").Token} token */
function renderBlock(token) {
  const block = document.createElement("div");
  block.className = "block";
  block.append(DOMPurify.sanitize(marked.parser([token]), PURIFY));
  return block;
}

/** @param {string} code @param {string} language */
function codeBlock(code, language) {
  const known = hljs.getLanguage(language) && code.length <= MAX_COLOURED;
  const coloured = known ? hljs.highlight(code, { language, ignoreIllegals: true }).value : escape(code);
  return (
    `<div class="code"><div class="code-head"><span>${escape(language || "text")}</span>` +
    `<button type="button" class="copy-code">Copy</button></div>` +
    `<pre tabindex="0" aria-label="Code${language ? ` in ${escape(language)}` : ""}"><code class="hljs">${coloured}</code></pre></div>`
  );
}

/** @param {string} text */
function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
