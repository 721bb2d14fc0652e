/** The page's colours: as the device, light or dark. */

import { signal } from "./vendor/signals-core/signals-core.js";

const NAME = "edgechat.theme";
/** @type {[string, string][]} */
export const THEMES = [["", "As the device"], ["light", "Light"], ["dark", "Dark"]];
export const theme = signal(localStorage.getItem(NAME) ?? "");

/** @param {string} value */
export function chooseTheme(value) {
  theme.value = value;
  if (value) localStorage.setItem(NAME, value);
  else localStorage.removeItem(NAME);
  document.documentElement.dataset.theme = value;
}
