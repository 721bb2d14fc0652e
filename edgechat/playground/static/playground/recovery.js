/**
 * Links in e-mails: /reset-password#token=… and /verify-email#token=… show this page. The token stands after the #, so
 * no server logs it, and it leaves the address at once.
 */

import { callJson, callOpenly } from "./api.js";
import { notify } from "./notices.js";
import { user } from "./state.js";

const purpose = /\/(reset-password|verify-email)\/?$/.exec(location.pathname)?.[1];
const token = purpose ? new URLSearchParams(location.hash.slice(1)).get("token") ?? "" : "";
if (purpose) history.replaceState(null, "", "/playground");

/** The token of a link to choose a new password, or "". */
export const resetToken = purpose === "reset-password" ? token : "";

/** Verify the address, if the page was opened by the link for it. Throws NoConnection and ApiError. */
export async function verifyByLink() {
  if (purpose === "verify-email" && token) await verifyEmail(token);
}

/** @param {string} code from the e-mail */
export async function verifyEmail(code) {
  await callOpenly("auth/email/verify", { token: code });
  if (user.value) user.value = await callJson("GET", "users/me");
  notify("Your e-mail address is verified.");
}

/** @param {string} email */
export async function askForReset(email) {
  await callOpenly("auth/password/forgot", { email });
}

/** Choose a new password. It ends all sessions. @param {string} code from the e-mail @param {string} password */
export async function resetPassword(code, password) {
  await callOpenly("auth/password/reset", { token: code, password });
}
