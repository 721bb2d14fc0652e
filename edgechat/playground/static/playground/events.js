/** Server-sent events from the body of a `fetch`, which can send a token, as EventSource cannot. */

import { NoConnection } from "./errors.js";

/** The server pings every 15 s: after this time without a byte the connection is dead. */
const SILENT_MILLISECONDS = 40_000;

/** @typedef {{name: string, id: string|null, data: any}} StreamEvent */

/**
 * The events of a body until it ends. Throws NoConnection when the connection breaks or goes silent.
 * @param {ReadableStream<Uint8Array>} body @returns {AsyncGenerator<StreamEvent>}
 */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await orSilence(reader.read());
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** One event; null for comments and the reconnection time. @param {string} block @returns {StreamEvent|null} */
function parseEvent(block) {
  const event = { name: "message", id: null, data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(\w*):? ?(.*)$/s.exec(line) ?? [];
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data += value;
  }
  return event.data ? { ...event, data: JSON.parse(event.data) } : null;
}

/** @template T @param {Promise<T>} reading @returns {Promise<T>} */
function orSilence(reading) {
  return new Promise((resolve, reject) => {
    const broken = () => reject(new NoConnection());
    const timer = setTimeout(broken, SILENT_MILLISECONDS);
    reading.then(resolve, broken).finally(() => clearTimeout(timer));
  });
}
