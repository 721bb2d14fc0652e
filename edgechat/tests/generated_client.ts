// Every kind of call, with the client that is generated from the OpenAPI file. The test puts this file beside it.
import { client } from "./client/client.gen.ts";
import * as api from "./client/index.ts";
import { events } from "./edgechat_events.ts";

declare const process: { argv: string[] };
const given = JSON.parse(process.argv[2] ?? "") as Record<"base" | "email" | "password" | "picture", string> & {
  headers: Record<string, string>;
};

/** The body of an answer; throws the body of an error. */
async function body<T>(call: Promise<{ data: T; error?: unknown }>): Promise<NonNullable<T>> {
  const { data, error } = await call;
  if (data === undefined || data === null) throw new Error(JSON.stringify(error));
  return data;
}

const status = async (call: Promise<{ response?: Response }>) => (await call).response?.status;

let pair: api.TokensOutput | undefined;
client.setConfig({ baseUrl: given.base, headers: given.headers, auth: () => pair?.access_token });

// Accounts
const account = { email: given.email, password: given.password };
pair = await body(api.register({ body: { ...account, device_name: "a laptop" } }));
pair = await body(api.login({ body: account }));
pair = await body(api.refresh({ body: { refresh_token: pair.refresh_token } }));
const me = await body(api.authMe());
const profile = await body(api.usersMeUpdate({ body: { full_name: "Ann Lee" } }));
const { sessions } = await body(api.sessionList());
const otherSession = sessions.find((session) => !session.current)!;
const sessionEnded = await status(api.sessionEnd({ path: { session_id: otherSession.id } }));
const key = await body(api.apiKeyCreate({ body: { name: "a script", scopes: ["ai"] } }));
const withKey = { auth: key.key };
const keyStatus = await status(api.aiModels(withKey));
const outOfScope = (await api.authMe(withKey)).error?.code;
const keyCount = (await body(api.apiKeyList())).api_keys.length;
const keyEnded = await status(api.apiKeyEnd({ path: { key_id: key.id } }));

// Chat
const conversation = await body(api.conversationCreate({ body: {}, headers: { "Idempotency-Key": "first" } }));
const path = { conversation_id: conversation.id };
const sent = await body(api.messageSend({ path, body: { content: "Hello", client_message_id: "hello" } }));
const names: string[] = [];
let text = "";
let streamed: api.MessageOutput | undefined;
let lastId = "";
let seenMid = "";
for await (const event of events((hooks) =>
  api.messageSendStream({ path, body: { content: "[[chunks=3]]one two three" }, ...hooks }),
)) {
  if (names.at(-1) !== event.event) names.push(event.event);
  if (event.event === "message") seenMid = event.data.model_message.id;
  if (event.event === "delta") text += event.data.text;
  if (event.event === "delta" && lastId === "") lastId = event.id;
  if (event.event === "done") streamed = event.data;
}
const answer = { path: { ...path, mid: seenMid } };
let resumed: api.MessageOutput | undefined;
let rest = "";
for await (const event of events((hooks) =>
  api.messageStream({ ...answer, headers: { "Last-Event-ID": lastId }, ...hooks }),
)) {
  if (event.event === "delta") rest += event.data.text;
  if (event.event === "done") resumed = event.data;
}
const resumesAlike = text.endsWith(rest) && rest.length < text.length && resumed?.id === streamed?.id;
const rated = await body(api.messageFeedback({ ...answer, body: { rating: "up", comment: "Short" } }));
const regenerated = await body(api.messageRegenerate({ ...answer, body: { content: "Again" } }));
let again: string | undefined;
for await (const event of events((hooks) => api.messageRegenerateStream({ ...answer, body: {}, ...hooks }))) {
  if (event.event === "done") again = event.data.content;
}
let stopped: string | undefined;
const slowly = { content: "[[chunks=100]][[gap=0.5]][[length=3000]]" };
for await (const event of events((hooks) => api.messageSendStream({ path, body: slowly, ...hooks }))) {
  if (event.event === "message") {
    const mid = event.data.model_message.id;
    stopped = (await body(api.messageStop({ path: { ...path, mid } }))).status;
  }
}
let failedStream: unknown;
try {
  const nowhere = { conversation_id: "0".repeat(24) };
  for await (const _ of events((hooks) => api.messageSendStream({ path: nowhere, body: slowly, ...hooks })));
} catch (error) {
  failedStream = (error as api.Error).code;
}
const image = new File([Uint8Array.from(atob(given.picture), (each) => each.charCodeAt(0))], "a.png");
const attachment = await body(api.attachmentCreate({ body: { file: image } }));
const download = await body(api.attachmentGet({ path: { attachment_id: attachment.id } }));
const pictured = await body(api.messageSend({ path, body: { content: "What?", attachment_ids: [attachment.id] } }));
const messages = await body(api.messageList({ path, query: { latest: true } }));
const one = await body(api.messageGet(answer));
const patched = await body(api.conversationUpdate({ path, body: { title: "Lights", pinned: true } }));
const listed = await body(api.conversationList({ query: { pinned_first: true } }));
const found = await body(api.chatSearch({ query: { q: "Hello" } }));
const exported = await body(api.conversationExport({ path }));
const changes = await body(api.chatChanges({ query: { since: 0 } }));

// Todos
const plans = { conversation_id: (await body(api.conversationCreate({ body: { title: "Plans" } }))).id };
await body(api.messageSend({ path: plans, body: { content: "Book the ferry" } }));
const items = await body(api.actionItems({ path: plans }));
const todo = await body(api.todoCreate({ body: { title: "Book the ferry" } }));
const done = await body(api.todoUpdate({ path: { todo_id: todo.id }, body: { completed: true } }));
const todos = await body(api.todoList());
const todoDeleted = await status(api.todoDelete({ path: { todo_id: todo.id } }));

// The model by itself
const completed = await body(api.aiComplete({ body: { prompt: "Hello" } }));
const refusal = (await api.aiComplete({ body: { prompt: "[[block=answer]]Hello" } })).error?.code;
let pieces = "";
for await (const event of events((hooks) => api.aiCompleteStream({ body: { prompt: "Hello" }, ...hooks }))) {
  if (event.event === "delta") pieces += event.data.text;
}
const vision = await body(api.aiVision({ body: { image: [image], prompt: "What is it?" } }));
const summary = await body(api.aiSummarize({ body: { text: "A lease is a lock with an end.", max_words: 20 } }));
let summarized = "";
for await (const event of events((hooks) => api.aiSummarizeStream({ body: { text: "A lease." }, ...hooks }))) {
  if (event.event === "done") summarized = event.data.summary;
}
const models = await body(api.openaiModels());
const question = { role: "user", content: "Hello" };
const choice = (await body(api.openaiChatCompletions({ body: { messages: [question] } }))).choices[0];

// Organizations and usage
const organization = await body(api.organizationCreate({ body: { name: "Lighthouse Ltd" } }));
const its = { path: { organization_id: organization.id } };
const invited = await body(api.memberAdd({ ...its, body: { email: "ben@example.com" } }));
const members = await body(api.memberList(its));
const organizationUsage = await body(api.usageOrganization(its));
const organizationDeleted = await status(api.organizationDelete(its));
const usage = await body(api.usageMe());
const daily = await body(api.usageDaily({ query: { days: 7 } }));
const health = await body(api.healthReady());

const deleted = await status(api.conversationDelete({ path }));
const gone = (await api.conversationGet({ path })).error?.code;
const everywhere = await body(api.logoutAll());
const afterwards = (await api.authMe()).error?.code;

console.log(
  JSON.stringify({
    email: me.email,
    name: profile.full_name,
    session_ended: sessionEnded,
    key: [keyStatus, outOfScope, keyCount, keyEnded],
    answer: sent.model_message.content,
    events: names,
    text,
    status: streamed?.status,
    resumes_alike: resumesAlike,
    rating: rated.feedback?.rating,
    regenerated: [regenerated.model_message.content, again],
    stopped,
    failed_stream: failedStream,
    picture: [attachment.mime_type, attachment.width, download.size === attachment.bytes],
    pictured: pictured.model_message.attachments.length + pictured.user_message.attachments.length,
    messages: messages.messages.length,
    one: one.status,
    title: [patched.title, listed.conversations[0]?.title, found.results[0]?.title, changes.conversations[0]?.title],
    exported: exported.messages.length,
    todos: [items.length > 0, done.completed, todos.some((each) => each.id === todo.id), todoDeleted],
    completed: [completed.text, pieces],
    refusal,
    vision: vision.text.startsWith("Echo: What is it?"),
    summary: summary.summary.length > 0 && summarized.length > 0,
    openai: [models.data.length > 0, choice?.message.content],
    organization: [invited.status, members.members.length, organizationUsage.members.length, organizationDeleted],
    usage: [usage.tokens.total > 0, daily.days.length],
    health: health.status,
    deleted: [deleted, gone],
    sessions_ended: everywhere.sessions_ended,
    afterwards,
  }),
);
