/** Scrolling: the newest text stays in sight unless the person has scrolled away from it. */

const NEAR_PIXELS = 80;
let shownAddress = "";

/**
 * Render whenever what the page shows has changed, and keep in sight what was in sight.
 * @param {() => void} renderPage @param {(run: () => void) => void} effect
 */
export function followEnd(renderPage, effect) {
  effect(() => {
    const before = place();
    const isNew = shownAddress !== location.hash;
    shownAddress = location.hash;
    renderPage();
    fitField();
    const messages = document.getElementById("messages");
    if (messages) keepPlace(messages, isNew ? null : before);
  });
  addEventListener("resize", fitField);
  addEventListener("scroll", (event) => {
    if (event.target instanceof HTMLElement && event.target.id === "messages") showButton(event.target);
  }, { capture: true, passive: true });
}

/** Where the messages are scrolled to: the pixels below what is in sight, those from its top to the end, and the first message. */
function place() {
  const messages = document.getElementById("messages");
  if (!messages) return null;
  const first = messages.querySelector(".message")?.id;
  return { first, toEnd: distanceToEnd(messages), fromEnd: messages.scrollHeight - messages.scrollTop };
}

/** @param {HTMLElement} messages @param {ReturnType<typeof place>} before null for another conversation */
function keepPlace(messages, before) {
  if (!before || before.toEnd < NEAR_PIXELS) messages.scrollTop = messages.scrollHeight;
  else if (messages.querySelector(".message")?.id !== before.first) {
    messages.scrollTop = messages.scrollHeight - before.fromEnd; // earlier messages stand above now
  }
  showButton(messages);
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

/** What the field was fitted to: its element, width and text. @type {[HTMLTextAreaElement?, number?, string?]} */
let fitted = [];

/** The message's field grows with its lines; CSS bounds it. Safari has no `field-sizing` yet. */
function fitField() {
  const field = document.getElementById("message");
  if (!(field instanceof HTMLTextAreaElement) || CSS.supports("field-sizing", "content")) return;
  if (fitted[0] === field && fitted[1] === field.clientWidth && fitted[2] === field.value) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
  fitted = [field, field.clientWidth, field.value];
}
