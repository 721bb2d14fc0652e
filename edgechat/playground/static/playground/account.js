/** Signing up, in and out, and the sessions of the account. */

import { callJson, callOpenly } from "./api.js";
import { SignedOut } from "./errors.js";
import { user } from "./state.js";
import { forgetTokens, keepTokens, onSessionOfAnotherTab, readTokens, tellOtherTabsOfSession } from "./tokens.js";

/** Sign in with the kept session, if there is one. Throws NoConnection and ApiError. */
export async function resumeSession() {
  if (!(await readTokens())) return;
  try {
    user.value = await callJson("GET", "users/me");
  } catch (error) {
    if (!(error instanceof SignedOut)) throw error;
  }
}

/** @param {"login"|"register"} how @param {{email: string, password: string, full_name?: string}} form */
export async function signIn(how, form) {
  await keepTokens(await callOpenly(`auth/${how}`, { ...form, device_name: deviceName() }));
  tellOtherTabsOfSession();
  user.value = await callJson("GET", "users/me");
}

export async function signOut() {
  await callJson("POST", "auth/logout");
  await leave();
}

/** End all sessions, this one too. */
export async function signOutEverywhere() {
  await callJson("POST", "auth/logout-all");
  await leave();
}

/** Tabs share the session: when another one changes its user, this one starts again. */
export function followOtherTabs() {
  onSessionOfAnotherTab(() => location.reload());
}

/** A new page forgets all that this one has loaded. */
async function leave() {
  await forgetTokens();
  history.replaceState(null, "", location.pathname);
  location.reload();
}

/** What browsers say of themselves, and their names: each says the names of those behind it too. */
const BROWSERS = [
  ["Edg", "Edge"], ["OPR/", "Opera"], ["FxiOS/", "Firefox"], ["Firefox/", "Firefox"], ["CriOS/", "Chrome"], ["Chrome/", "Chrome"],
  ["Safari/", "Safari"], ["", "Browser"],
];
const SYSTEMS = ["Android", "iPhone", "iPad", "Windows", "Mac", "Linux"];

/** What the list of sessions calls this browser, for example "Chrome on Linux". */
export function deviceName(agent = navigator.userAgent) {
  const browser = BROWSERS.find(([word]) => agent.includes(word))?.[1];
  const system = SYSTEMS.find((name) => agent.includes(name));
  return system ? `${browser} on ${system}` : browser;
}
