// What a client author does first, with the client guide's code; prints what was seen. See test_client_guide.py.

import { ApiError, EdgeChat, Store } from "../../docs/clients/edgechat.ts";
import type { Conversation, Pair } from "../../docs/clients/edgechat.ts";

const given = JSON.parse(process.argv[2] ?? "");
const plainFetch = globalThis.fetch;
globalThis.fetch = (url, init) => plainFetch(url, { ...init, headers: { ...init?.headers, ...given.headers } });

const saved: Pair[] = [];
const save = async (pair: Pair) => {
  saved.push(pair);
};
const codeOf = async (promise: Promise<unknown>) =>
  promise.then(() => "", (error) => (error instanceof ApiError ? error.code : String(error)));

const chat = await EdgeChat.logIn(given.base, given.email, given.password, save);
const loggedInPair = saved[0]!;
const create = (title: string, key: string) =>
  chat.call<Conversation>("POST", "chat/conversations", { json: { title }, key });
const conversation = await create("Lights", "first");
const id = conversation.id;
const sameConversation = (await create("Lights", "first")).id === id;
const sent = await chat.send(id, "Hello", "hello");
const sentAgain = await chat.send(id, "Hello", "hello");

const texts: string[] = [];
let reply;
for await (reply of chat.stream(id, given.long, "long")) texts.push(reply.text);

const stored = new Store();
await chat.sync(stored);
const picture = new Blob([Uint8Array.from(given.picture)]);
const attachment = await chat.upload("a.png", picture, "picture");
const seen = await chat.send(id, "What is this?", "seen", [attachment]);
const failed = await codeOf(chat.send(id, "[[status=500]]Fail", "failed"));
let failedStream = "";
try {
  for await (const _ of chat.stream(id, "[[status=500]]Fail", "failed stream"));
} catch (error) {
  failedStream = (error as ApiError).code;
}
let stopped = "";
for await (const running of chat.stream(id, "[[chunks=5]][[gap=20]]one two three four five", "stopped")) {
  if (running.text && !running.ended) await chat.stop(id, running.message!.id);
  stopped = running.message!.status;
}
const other = await create("Gone", "gone");
await chat.sync(stored);
const known = stored.conversations.has(other.id);
await chat.call("DELETE", `chat/conversations/${other.id}`);
await chat.sync(stored);

const saves = saved.length;
const expired = new EdgeChat(given.base, { ...loggedInPair, access_token: given.expired }, save);
const answers = await Promise.all(Array.from({ length: 6 }, () => expired.call<{ email: string }>("GET", "auth/me")));
const refreshes = saved.length - saves;
const deviceKept = Boolean(saved.at(-1)?.device_token) && saved.at(-1)?.device_token === loggedInPair.device_token;
const foreign = await codeOf(chat.send("0".repeat(24), "Hello", "foreign"));
await expired.logOut();
const afterwards = await codeOf(chat.call("GET", "auth/me"));

console.log(
  JSON.stringify({
    same_conversation: sameConversation,
    same_exchange: JSON.stringify(sent) === JSON.stringify(sentAgain),
    answer: sent.model_message.content,
    stream: { first: texts[0], last: texts.at(-1), status: reply?.message?.status },
    seen: seen.model_message.content,
    failed,
    failed_stream: failedStream,
    stopped,
    synced: [...stored.messages.get(id)!.values()].map((message) => [message.seq, message.status]),
    known,
    gone: !stored.conversations.has(other.id),
    emails: answers.map((answer) => answer.email),
    refreshes,
    device_kept: deviceKept,
    foreign,
    afterwards,
  }),
);
