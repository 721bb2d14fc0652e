/** What the page runs on. */

/** A touch screen has no Ctrl, and no Shift with Enter. */
export const hasKeyboard = !matchMedia("(pointer: coarse)").matches;
