/** What a call to the API can end with instead of an answer. */

const PASSING = ["rate_limited", "too_many_replies", "store_unavailable", "shutting_down"];

/** An error body of the API. */
export class ApiError extends Error {
  /** @param {number} status @param {any} body @param {number|null} retryAfter seconds */
  constructor(status, body, retryAfter) {
    super(body?.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.code = body?.code ?? "";
    this.context = body?.context ?? {};
    this.errors = body?.errors ?? [];
    this.retryAfter = retryAfter;
  }

  /** The sentence for a person: what is wrong, field by field if the server said so, and when to try again. */
  get sentence() {
    const fields = this.errors.map((/** @type {any} */ error) => {
      const field = error.field.replace(/^(body|query|path)\./, "").replaceAll("_", " ");
      return `${field}: ${error.message}`;
    });
    const sentence = fields.join(" ") || this.message;
    return this.retryAfter ? `${sentence.replace(/\.?$/, ".")} Try again in ${duration(this.retryAfter)}.` : sentence;
  }
}

/** The server could not be reached, or the connection broke. */
export class NoConnection extends Error {
  constructor() {
    super("There is no connection.");
  }
}

/** There is no session, or it has ended. */
export class SignedOut extends Error {
  constructor() {
    super("You are signed out.");
  }
}

/** @param {unknown} error @returns {string} */
export function sentenceOf(error) {
  if (error instanceof ApiError) return error.sentence;
  return error instanceof Error ? error.message : String(error);
}

/** Whether the same call can succeed in a moment, without a change. @param {unknown} error */
export function isPassing(error) {
  if (error instanceof NoConnection) return true;
  return error instanceof ApiError && (PASSING.includes(error.code) || error.status === 502 || error.status === 504);
}

/** @param {Response} answer @returns {Promise<ApiError>} */
export async function errorOf(answer) {
  const body = await answer.json().catch(() => null);
  return new ApiError(answer.status, body, Number(answer.headers.get("Retry-After")) || null);
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} minutes`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} hours`;
  return `${Math.round(seconds / 86_400)} days`;
}
