// A client of EdgeChat's API for browsers, Node.js and React Native. It needs no package.

export type Pair = { access_token: string; refresh_token: string; device_token?: string };
export type Message = {
  id: string;
  seq: number;
  role: "user" | "model";
  content: string;
  status: "complete" | "generating" | "stopped" | "interrupted" | "failed" | "blocked";
};
export type Exchange = { user_message: Message; model_message: Message };
export type Conversation = { id: string; title: string | null; last_seq: number };
type Changes = { conversations: Conversation[]; deleted: string[]; next_since: number; has_more: boolean };
type Page = { messages: Message[]; has_more: boolean };

// --8<-- [start:errors]
type ErrorBody = { detail?: string; code?: string; request_id?: string; context?: Record<string, unknown> };

/** An error of the API: `code` is for programs, `message` for people. */
export class ApiError extends Error {
  code: string;
  context: Record<string, unknown>;
  requestId: string;
  retryAfter: number;

  constructor(body: ErrorBody, retryAfter = 0) {
    super(body.detail ?? "The answer cannot be read");
    this.code = body.code ?? "unreadable";
    this.context = body.context ?? {};
    this.requestId = body.request_id ?? "";
    this.retryAfter = retryAfter;
  }
}

/** The error in a response. What a proxy answers by itself is not JSON. */
async function errorOf(response: Response): Promise<ApiError> {
  const json = response.headers.get("Content-Type")?.startsWith("application/json");
  const body = json ? ((await response.json()) as ErrorBody) : {};
  return new ApiError(body, Number(response.headers.get("Retry-After") ?? 0));
}
// --8<-- [end:errors]

// --8<-- [start:retry]
const ATTEMPTS = 5;
const SOON = new Set(["rate_limited", "too_many_replies", "store_unavailable", "shutting_down", "unreadable"]);

/** Wait 0.5, 1, 2, 4 s, or as long as the server asks, and a little more so that clients do not come together. */
function pause(attempt: number, retryAfter = 0): Promise<void> {
  const seconds = Math.max(retryAfter, 0.5 * 2 ** attempt) * (1 + Math.random() / 4);
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

/** `fetch` rejects with a TypeError when there is no network, and with an AbortError after a time limit. */
function passes(error: unknown): boolean {
  return error instanceof ApiError ? SOON.has(error.code) : error instanceof TypeError || isAbort(error);
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name);
}

/** The result of a request that may be sent again, after faults that pass by themselves. */
async function repeat<T>(send: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await send();
    } catch (error) {
      if (attempt === ATTEMPTS - 1 || !passes(error)) throw error;
      await pause(attempt, error instanceof ApiError ? error.retryAfter : 0);
    }
  }
}
// --8<-- [end:retry]

// --8<-- [start:events]
export type StreamEvent = { name: string; id: string | null; data: any };

/** The events of a stream. Nothing for 40 s, not even a ping (one every 15 s), means that the connection is dead. */
export async function* readEvents(body: ReadableStream<Uint8Array>, abort: AbortController) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let buffer = "";
  let fields: Record<string, string> = {};
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    while (true) {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), 40_000);
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (buffer + decoder.decode(value, { stream: true })).split("\n");
      buffer = lines.pop() ?? "";
      for (const line of lines) {
        const at = line.indexOf(": ");
        const name = line.slice(0, Math.max(at, 0));
        if (["event", "id", "data"].includes(name)) fields[name] = line.slice(at + 2);
        else if (line === "" && fields.data !== undefined) {
          yield { name: fields.event, id: fields.id ?? null, data: JSON.parse(fields.data) } as StreamEvent;
          fields = {};
        }
      }
    }
  } finally {
    clearTimeout(timer);
    abort.abort(); // also when the caller leaves its loop: the connection closes, the reply continues
  }
}
// --8<-- [end:events]

// --8<-- [start:reply]
/** A reply as far as it was received. `message` is the model's message, final when `ended`. */
export class Reply {
  text = "";
  message: Message | null = null;
  lastId = "";
  ended = false;

  /** Throws an ApiError if the reply failed without a text, or can no longer be read. */
  apply(event: StreamEvent): void {
    this.lastId = event.id ?? this.lastId;
    if (event.name === "message") this.message = event.data.model_message;
    else if (event.name === "delta") this.text += event.data.text;
    else if (event.name === "restart") this.text = "";
    else if (event.name === "done") {
      this.message = event.data;
      this.text = event.data.content;
      this.ended = true;
    } else if (event.name === "error") {
      this.ended = event.id !== null; // without an id, the stream ends, but the reply continues
      throw new ApiError(event.data);
    }
  }
}
// --8<-- [end:reply]

// --8<-- [start:store]
/** A device's copy. A real app keeps it in SQLite or IndexedDB. */
export class Store {
  since = 0;
  conversations = new Map<string, Conversation>();
  messages = new Map<string, Map<number, Message>>();
}
// --8<-- [end:store]

export class EdgeChat {
  #base: string;
  #pair: Pair;
  #save: (pair: Pair) => Promise<void>;
  #refreshing: Promise<void> | null = null;

  // --8<-- [start:login]
  /** `base` ends with `/api/v1/`. `save` stores the pair where it survives the end of the app, such as the keychain. */
  constructor(base: string, pair: Pair, save: (pair: Pair) => Promise<void>) {
    this.#base = base;
    this.#pair = pair;
    this.#save = save;
  }

  static async logIn(
    base: string,
    email: string,
    password: string,
    save: (pair: Pair) => Promise<void>,
    device = "",
  ): Promise<EdgeChat> {
    const body = { email, password, device_name: "A browser", device_token: device };
    const pair = await repeat(() => post<Pair>(base + "auth/login", body));
    await save(pair);
    return new EdgeChat(base, pair, save);
  }

  logOut(): Promise<unknown> {
    return this.call("POST", "auth/logout");
  }
  // --8<-- [end:login]

  // --8<-- [start:tokens]
  /** Get the next token pair. Of many requests whose token was refused, one refreshes and the others wait for it. */
  #refresh(refused: string): Promise<void> {
    if (this.#pair.access_token !== refused) return Promise.resolve();
    this.#refreshing ??= this.#replacePair().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  async #replacePair(): Promise<void> {
    const body = { refresh_token: this.#pair.refresh_token };
    // If the answer is lost, the same call returns the same pair.
    const next = await repeat(() => post<Pair>(this.#base + "auth/refresh", body));
    const pair = { ...this.#pair, ...next }; // keeps the device token
    await this.#save(pair); // first: a pair that is lost cannot be made again once it was used
    this.#pair = pair;
  }
  // --8<-- [end:tokens]

  // --8<-- [start:call]
  /**
   * The answer of a call. A POST is sent again after a fault only if it has a key: the server then knows that it is the
   * same request.
   */
  call<T>(method: string, path: string, options: { json?: unknown; form?: FormData; key?: string } = {}): Promise<T> {
    const headers: Record<string, string> = options.key ? { "Idempotency-Key": options.key } : {};
    if (options.json !== undefined) headers["Content-Type"] = "application/json";
    const body = options.form ?? (options.json === undefined ? undefined : JSON.stringify(options.json));
    const send = async () => {
      const response = await this.#fetch(path, { method, headers, body, signal: AbortSignal.timeout(150_000) });
      return (response.status === 204 ? null : await response.json()) as T;
    };
    return method === "POST" && !options.key ? send() : repeat(send);
  }

  /** A successful response. The request is sent a second time if its access token has expired. */
  async #fetch(path: string, init: RequestInit & { headers: Record<string, string> }): Promise<Response> {
    for (let again = false; ; again = true) {
      const token = this.#pair.access_token;
      const headers = { ...init.headers, Authorization: `Bearer ${token}` };
      const response = await fetch(this.#base + path, { ...init, headers });
      if (response.ok) return response;
      const error = await errorOf(response);
      if (again || error.code !== "token_expired") throw error;
      await this.#refresh(token);
    }
  }
  // --8<-- [end:call]

  // --8<-- [start:send]
  /**
   * Send a message and wait for the answer. `key` is a UUID that is stored with the draft before the first attempt. The
   * same key never sends twice.
   */
  send(conversationId: string, content: string, key: string, attachmentIds: string[] = []): Promise<Exchange> {
    const json = { content, attachment_ids: attachmentIds, client_message_id: key };
    return this.call("POST", `chat/conversations/${conversationId}/messages`, { json, key });
  }
  // --8<-- [end:send]

  // --8<-- [start:stream]
  /**
   * Send a message, and yield the reply each time it has grown, until it has ended. If the connection is lost, the stream
   * continues where it was.
   */
  async *stream(conversationId: string, content: string, key: string): AsyncGenerator<Reply> {
    const path = `chat/conversations/${conversationId}/messages`;
    const body = JSON.stringify({ content, client_message_id: key });
    const reply = new Reply();
    let failed = 0;
    while (!reply.ended) {
      const abort = new AbortController();
      const common = { Accept: "text/event-stream" };
      try {
        const response = reply.message
          ? await this.#fetch(`${path}/${reply.message.id}/stream`, {
              headers: { ...common, "Last-Event-ID": reply.lastId },
              signal: abort.signal,
            })
          : await this.#fetch(path, {
              method: "POST", // the same key: what arrived earlier is not sent twice
              headers: { ...common, "Content-Type": "application/json", "Idempotency-Key": key },
              body,
              signal: abort.signal,
            });
        if (response.body) {
          for await (const event of readEvents(response.body, abort)) {
            reply.apply(event);
            failed = 0;
            yield reply;
          }
        }
        if (!reply.ended) throw new TypeError("The server is restarting"); // another process continues the reply
      } catch (error) {
        failed += 1;
        if (reply.ended || failed === ATTEMPTS || !passes(error)) throw error;
        await pause(failed - 1, error instanceof ApiError ? error.retryAfter : 0);
      }
    }
  }

  /** Stop a reply; its text is kept. Closing the stream does not stop it. */
  stop(conversationId: string, messageId: string): Promise<Message> {
    return this.call("POST", `chat/conversations/${conversationId}/messages/${messageId}/stop`);
  }
  // --8<-- [end:stream]

  // --8<-- [start:sync]
  /** Bring a device's copy up to date. Can be interrupted at any point and called again. */
  async sync(store: Store): Promise<void> {
    for (let more = true; more; ) {
      const page = await this.call<Changes>("GET", `chat/changes?since=${store.since}`);
      for (const conversation of page.conversations) {
        store.conversations.set(conversation.id, conversation);
        await this.#syncMessages(conversation.id, store);
      }
      for (const id of page.deleted) {
        store.conversations.delete(id);
        store.messages.delete(id);
      }
      store.since = page.next_since; // last: an interrupted page comes again
      more = page.has_more;
    }
  }

  /** Messages are appended, and only the last exchange is ever answered again: read from there. */
  async #syncMessages(conversationId: string, store: Store): Promise<void> {
    const known = store.messages.get(conversationId) ?? new Map<number, Message>();
    store.messages.set(conversationId, known);
    let after = Math.max(0, Math.max(0, ...known.keys()) - 2);
    for (let more = true; more; ) {
      const path = `chat/conversations/${conversationId}/messages?after=${after}&limit=100`;
      const page = await this.call<Page>("GET", path);
      for (const message of page.messages) known.set(message.seq, message);
      after = page.messages.at(-1)?.seq ?? after;
      more = page.has_more;
    }
  }
  // --8<-- [end:sync]

  // --8<-- [start:upload]
  /** Upload a picture and return its id. It is deleted after 24 hours unless a message uses it. */
  async upload(name: string, picture: Blob, key: string): Promise<string> {
    const form = new FormData();
    form.append("file", picture, name);
    const answer = await this.call<{ id: string }>("POST", "chat/attachments", { form, key });
    return answer.id;
  }
  // --8<-- [end:upload]
}

async function post<T>(url: string, json: unknown): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(json) });
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as T;
}
