/** Replies as they are written: each is followed to its end, over broken connections too. */

import { call, callJson } from "./api.js";
import { pause } from "./connection.js";
import { NoConnection, SignedOut, sentenceOf } from "./errors.js";
import { readEvents } from "./events.js";
import { announce, notify } from "./notices.js";
import { patiently } from "./patience.js";
import { messageOf, openId, putMessages, reasons } from "./state.js";
import { tellOtherTabs } from "./sync.js";

const EVENTS = { Accept: "text/event-stream" };
const AGAIN_MILLISECONDS = 1000;
/** Deltas are shown together, this often at most. */
const SHOW_MILLISECONDS = 60;
/** So much of an answer is read out by itself; a person moves on in it from there. */
const MAX_SAID = 2000;

/** The conversations of the messages that this tab follows. @type {Map<string, string>} */
const followed = new Map();

/** @param {string} messageId */
export function isFollowed(messageId) {
  return followed.has(messageId);
}

/** Whether this tab follows a reply in a conversation. @param {string} id */
export function followsIn(id) {
  return [...followed.values()].includes(id);
}

/**
 * Follow the reply whose stream `open` starts, until its end. Returns when it has ended.
 * Throws what `open` throws when the call was refused before its first event.
 * @param {string} id the conversation @param {() => Promise<Response>} open
 * @param {() => void} [stored] called once the server has stored the user's message
 */
export async function followNewReply(id, open, stored = () => {}) {
  const reply = new Reply(id, stored);
  await reply.read(await open());
  await reply.finish();
}

/** Follow a reply that is being written, from its beginning. @param {string} id @param {string} messageId */
export async function followReply(id, messageId) {
  const reply = new Reply(id);
  reply.begin(messageId);
  await reply.finish();
}

/** Stop a reply; its text is kept. @param {string} id @param {string} messageId */
export async function stopReply(id, messageId) {
  const message = await callJson("POST", `chat/conversations/${id}/messages/${messageId}/stop`);
  if (!isFollowed(messageId)) putMessages(id, [message]);
}

/** Answer the last exchange again, with a changed question if `content` is given.
 * @param {string} id @param {string} messageId the answer's @param {string} [content]
 */
export function regenerate(id, messageId, content) {
  const path = `chat/conversations/${id}/messages/${messageId}/regenerate`;
  const json = content === undefined ? {} : { content };
  return followNewReply(id, () => call("POST", path, { json, headers: EVENTS }));
}

/** Show why an answer failed: with it, and elsewhere as a notice. @param {string} id @param {string} messageId @param {string} sentence */
export function explainFailure(id, messageId, sentence) {
  reasons.value = new Map(reasons.value).set(messageId, sentence.replace(/\.?$/, "."));
  if (openId.value === id) announce(`The answer failed. ${sentence}`);
  else notify(sentence, true);
}

/** The call that sends a message and answers with the reply's events. @param {string} id @param {any} json */
export function openReply(id, json) {
  return call("POST", `chat/conversations/${id}/messages`, { json, headers: EVENTS });
}

class Reply {
  /** @param {string} id the conversation @param {() => void} [stored] */
  constructor(id, stored = () => {}) {
    this.id = id;
    this.stored = stored;
    this.messageId = "";
    /** @type {string|null} */
    this.lastEventId = null;
    this.text = "";
    this.hasEnded = false;
    this.timer = 0;
  }

  /** @param {string} messageId */
  begin(messageId) {
    this.messageId = messageId;
    followed.set(messageId, this.id);
  }

  /** Resume until the reply has ended. */
  async finish() {
    try {
      while (this.messageId && !this.hasEnded) {
        await patiently(() => this.resume()).catch((error) => this.failed(error));
        if (!this.hasEnded) await pause(AGAIN_MILLISECONDS);
      }
    } finally {
      clearTimeout(this.timer);
      followed.delete(this.messageId);
    }
  }

  async resume() {
    const headers = { ...EVENTS, ...(this.lastEventId === null ? {} : { "Last-Event-ID": this.lastEventId }) };
    const path = `chat/conversations/${this.id}/messages/${this.messageId}`;
    const answer = await call("GET", `${path}/stream`, { headers });
    if (answer.status === 204) this.end(await callJson("GET", path));
    else await this.read(answer);
  }

  /** @param {Response} answer */
  async read(answer) {
    try {
      if (answer.body) for await (const event of readEvents(answer.body)) this.take(event);
    } catch (error) {
      if (!(error instanceof NoConnection)) throw error;
      // `finish` resumes.
    }
    if (!this.messageId && !this.hasEnded) throw new NoConnection();
  }

  /** @param {import("./events.js").StreamEvent} event */
  take({ name, id, data }) {
    if (id !== null) this.lastEventId = id;
    if (name === "message") {
      this.begin(data.model_message.id);
      putMessages(this.id, [data.user_message, data.model_message]);
      this.stored();
      tellOtherTabs(this.id);
    } else if (name === "delta") this.show(this.text + data.text);
    else if (name === "restart") this.show("");
    else if (name === "done") this.end(data);
    else if (name === "error") this.fail(data);
  }

  /** Show the text so far, together with what comes in the next moment. @param {string} text */
  show(text) {
    this.text = text;
    this.timer ||= setTimeout(() => {
      this.timer = 0;
      const message = messageOf(this.id, this.messageId);
      if (message && !this.hasEnded) putMessages(this.id, [{ ...message, content: this.text }]);
    }, SHOW_MILLISECONDS);
  }

  /** @param {import("./state.js").Message} message */
  end(message) {
    this.hasEnded = true;
    putMessages(this.id, [message]);
    announce(message.content ? `Answer: ${message.content.slice(0, MAX_SAID)}` : "The answer is empty.");
    tellOtherTabs(this.id);
  }

  /** @param {any} body of the event `error` */
  fail(body) {
    this.hasEnded = true;
    tellOtherTabs(this.id);
    // The reply goes on, but not for this session or this reader.
    if (["token_revoked", "not_found"].includes(body.code)) return;
    explainFailure(this.id, this.messageId, body.detail);
    const message = body.context?.model_message ?? messageOf(this.id, this.messageId);
    if (message) putMessages(this.id, [{ ...message, status: "failed" }]);
  }

  /** @param {unknown} error */
  failed(error) {
    this.hasEnded = true;
    if (!(error instanceof SignedOut)) notify(sentenceOf(error), true);
  }
}
