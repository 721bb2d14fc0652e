/** Calls to the public API with the session's token. */

import { SignedOut, errorOf } from "./errors.js";
import { reach, received } from "./connection.js";
import { accessToken, forgetRefused, refreshTokens } from "./tokens.js";
import { user } from "./state.js";

/** Set in the session's storage when a session has ended by itself. */
export const ENDED = "edgechat.ended";

/** @typedef {{json?: any, form?: FormData, headers?: Record<string, string>, signal?: AbortSignal}} Options */

/**
 * Call the API and return the answer, which is a success.
 * Throws ApiError, NoConnection, and SignedOut, after which the page asks to sign in.
 * @param {string} method @param {string} path below /api/v1/ @param {Options} [options] @returns {Promise<Response>}
 */
export async function call(method, path, options = {}) {
  try {
    let token = await accessToken();
    let answer = await send(method, path, token, options);
    if (answer.status === 401) {
      token = await refreshTokens(token);
      answer = await send(method, path, token, options);
    }
    if (answer.status === 401) {
      await forgetRefused(token);
      throw new SignedOut();
    }
    if (!answer.ok) throw await errorOf(answer);
    return answer;
  } catch (error) {
    if (error instanceof SignedOut) startAgain();
    throw error;
  }
}

/** The session has ended: a new page forgets all that this one has loaded, and asks to sign in. */
function startAgain() {
  if (!user.value) return;
  sessionStorage.setItem(ENDED, "yes");
  location.reload();
}

/** The JSON that a call answers; null for 204. @param {string} method @param {string} path @param {Options} [options] */
export async function callJson(method, path, options) {
  const answer = await call(method, path, options);
  return answer.status === 204 ? null : received(answer.json());
}

/** A call without a session: register and log in. @param {string} path @param {any} json */
export async function callOpenly(path, json) {
  const answer = await reach(`/api/v1/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(json),
  });
  if (!answer.ok) throw await errorOf(answer);
  return received(answer.json());
}

/** A new key for a call that must not happen twice. `crypto.randomUUID` exists with https only. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} method @param {string} path @param {string} token @param {Options} options */
function send(method, path, token, { json, form, headers, signal }) {
  return reach(`/api/v1/${path}`, {
    method,
    signal,
    headers: {
      Authorization: `Bearer ${token}`,
      ...(json === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: json === undefined ? form : JSON.stringify(json),
  });
}
