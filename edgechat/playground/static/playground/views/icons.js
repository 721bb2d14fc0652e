/** Pictograms, drawn with the text's colour. */

import { html } from "../vendor/lit-html/lit-html.js";

/** @param {string} path */
const icon = (path) => html`<svg viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" stroke-width="2"
  stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false"><path d=${path} /></svg>`;

export const icons = {
  archive: icon("M3 4h18v4H3zM5 8v12h14V8M10 12h4"),
  camera: icon("M4 8h3l2-3h6l2 3h3v11H4zM12 17a4 4 0 1 0 0-8 4 4 0 0 0 0 8"),
  chart: icon("M4 20V10M10 20V4M16 20v-7M22 20H2"),
  check: icon("M5 12l5 5L20 7"),
  close: icon("M6 6l12 12M18 6L6 18"),
  copy: icon("M9 9h11v11H9zM5 15H4V4h11v1"),
  devices: icon("M3 5h13v9H3zM2 18h10M16 9h6v11h-6z"),
  down: icon("M7 4v11M7 4h9l3 8v3h-6l1 5-2 1-5-6M3 4v11h4"),
  edit: icon("M4 20h4L19 9l-4-4L4 16zM13 7l4 4"),
  left: icon("M15 5l-7 7 7 7"),
  link: icon("M10 14a4 4 0 0 0 6 0l4-4a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-4 4a4 4 0 0 0 6 6l1-1"),
  menu: icon("M4 6h16M4 12h16M4 18h16"),
  more: icon("M4.5 12h1M11.5 12h1M18.5 12h1"),
  picture: icon("M4 5h16v14H4zM4 16l5-5 5 5 3-3 3 3M15 9h.01"),
  pin: icon("M9 4h6l-1 6 3 3H7l3-3zM12 13v7"),
  plus: icon("M12 5v14M5 12h14"),
  redo: icon("M20 11a8 8 0 1 0-2 6M20 5v6h-6"),
  right: icon("M9 5l7 7-7 7"),
  search: icon("M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14M20 20l-4-4"),
  send: icon("M12 20V5M5 12l7-7 7 7"),
  stop: icon("M8 8h8v8H8zM10 10h4v4h-4zM12 12h.01"),
  theme: icon("M12 21a9 9 0 1 0 0-18zM12 3v18"),
  todo: icon("M4 6l2 2 3-3M12 7h9M4 14l2 2 3-3M12 15h9"),
  up: icon("M7 20V9M7 20h9l3-8V9h-6l1-5-2-1-5 6M3 20V9h4"),
  user: icon("M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4 21c0-5 4-7 8-7s8 2 8 7"),
};
