/** Scrolling: the newest text stays in sight unless the person has scrolled away from it. */

const NEAR_PIXELS = 80;
let shownAddress = "";

/**
 * Render whenever what the page shows has changed, and keep the end of the messages in sight.
 * @param {() => void} renderPage @param {(run: () => void) => void} effect
 */
export function followEnd(renderPage, effect) {
  effect(() => {
    const before = document.getElementById("messages");
    const wasAtEnd = !before || distanceToEnd(before) < NEAR_PIXELS || shownAddress !== location.hash;
    shownAddress = location.hash;
    renderPage();
    const messages = document.getElementById("messages");
    if (messages && wasAtEnd) messages.scrollTop = messages.scrollHeight;
    if (messages) showButton(messages);
    fitField();
  });
  addEventListener("scroll", (event) => {
    if (event.target instanceof HTMLElement && event.target.id === "messages") showButton(event.target);
  }, { capture: true, passive: true });
}

/** @param {HTMLElement} messages */
function showButton(messages) {
  const button = document.getElementById("to-end");
  if (button) button.hidden = distanceToEnd(messages) < NEAR_PIXELS;
}

/** @param {HTMLElement} element */
function distanceToEnd(element) {
  return element.scrollHeight - element.scrollTop - element.clientHeight;
}

/** The message's field grows with its lines; CSS bounds it. */
function fitField() {
  const field = document.getElementById("message");
  if (!(field instanceof HTMLTextAreaElement) || CSS.supports("field-sizing", "content")) return;
  field.rows = Math.min(8, field.value.split("\n").length);
}
