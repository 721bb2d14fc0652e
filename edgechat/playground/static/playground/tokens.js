/**
 * The session's tokens, shared by all tabs, and their refresh.
 *
 * A refresh token is used once. However many calls find the access token expired, in however many tabs, one of them
 * refreshes and the others wait for its tokens.
 */

import { reach, received } from "./connection.js";
import { forgetValue, keepValue, readValue } from "./database.js";
import { SignedOut, errorOf } from "./errors.js";

const NAME = "tokens";
const EARLY_MILLISECONDS = 30_000;
const channel = new BroadcastChannel("edgechat.session");

/** @typedef {{access_token: string, refresh_token: string, expires_at: number}} Tokens */

/** @type {Promise<string>|null} */
let refreshing = null;

/** @returns {Promise<Tokens|undefined>} */
export function readTokens() {
  return readValue(NAME);
}

/** @param {{access_token: string, refresh_token: string, expires_in: number}} body */
export async function keepTokens({ access_token, refresh_token, expires_in }) {
  await keepValue(NAME, { access_token, refresh_token, expires_at: Date.now() + expires_in * 1000 });
}

/** The session has ended, in all tabs. */
export async function forgetTokens() {
  await forgetValue(NAME);
  tellOtherTabsOfSession();
}

export function tellOtherTabsOfSession() {
  channel.postMessage(null);
}

/** Call `react` when another tab has signed in or out. @param {() => void} react */
export function onSessionOfAnotherTab(react) {
  channel.onmessage = react;
}

/** An access token to call with. Throws SignedOut, NoConnection and ApiError. */
export async function accessToken() {
  const tokens = await readTokens();
  if (!tokens) throw new SignedOut();
  const isFresh = Date.now() < tokens.expires_at - EARLY_MILLISECONDS;
  return isFresh ? tokens.access_token : refreshTokens(tokens.access_token);
}

/** A newer access token than the refused one. @param {string} refused @returns {Promise<string>} */
export function refreshTokens(refused) {
  refreshing ??= inOneTab(() => refresh(refused)).finally(() => (refreshing = null));
  return refreshing;
}

/** Forget the tokens if they are still those that the server refused. @param {string} refused the access token */
export async function forgetRefused(refused) {
  if ((await readTokens())?.access_token === refused) await forgetTokens();
}

/** @param {string} refused @returns {Promise<string>} */
async function refresh(refused) {
  const tokens = await readTokens();
  if (!tokens) throw new SignedOut();
  if (tokens.access_token !== refused) return tokens.access_token; // another tab was first
  const answer = await reach("/api/v1/auth/refresh", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ refresh_token: tokens.refresh_token }),
  });
  if (answer.ok) {
    const body = await received(answer.json());
    await keepTokens(body);
    return body.access_token;
  }
  if (answer.status !== 401) throw await errorOf(answer);
  await forgetRefused(refused);
  throw new SignedOut();
}

/**
 * Run `work` while no other tab does. Without https browsers have no locks: then two tabs can refresh at the same
 * time, which the server answers with the same tokens.
 * @template T @param {() => Promise<T>} work @returns {Promise<T>}
 */
function inOneTab(work) {
  return navigator.locks ? navigator.locks.request("edgechat.refresh", work) : work();
}
