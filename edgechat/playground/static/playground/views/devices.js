/** What the page runs on. */

/** A touch screen has no Ctrl, and no Shift with Enter. */
export const hasKeyboard = !matchMedia("(pointer: coarse)").matches;

/** The key that shortcuts go with, as keyboards name it. */
export const commandKey = /Mac/.test(navigator.userAgent) ? "Cmd" : "Ctrl";

/**
 * Whether a key belongs to the choice of characters, as in Chinese or Japanese. Safari ends the composition before it
 * tells of the Enter that ended it, but gives that Enter the code of all such keys.
 * @param {KeyboardEvent} event
 */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}
