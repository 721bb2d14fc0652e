/** Trying again what failed for a moment: without a connection, over a limit, or while a store is away. */

import { pause, whenReachable } from "./connection.js";
import { ApiError, isPassing } from "./errors.js";
import { waiting } from "./state.js";

/** A wait of so many seconds is explained. */
const EXPLAINED_SECONDS = 3;
const clock = new Intl.DateTimeFormat("en", { timeStyle: "medium" });

/**
 * What `work` returns. It is tried until it succeeds or fails for good; then this throws its error.
 * @template T @param {() => Promise<T>} work @returns {Promise<T>}
 */
export async function patiently(work) {
  for (;;) {
    try {
      await whenReachable();
      return await work();
    } catch (error) {
      if (!isPassing(error)) throw error;
      await waitAfter(error);
    }
  }
}

/** @param {unknown} error */
async function waitAfter(error) {
  const seconds = (error instanceof ApiError && error.retryAfter) || 1;
  const until = Date.now() + seconds * 1000;
  if (error instanceof ApiError && seconds >= EXPLAINED_SECONDS && until > (waiting.value?.until ?? 0)) {
    const sentence = error.message.replace(/\.?$/, ".");
    waiting.value = { sentence: `${sentence} The page goes on by itself at ${clock.format(until)}.`, until };
  }
  await pause(seconds * 1000);
  if ((waiting.value?.until ?? 0) <= Date.now()) waiting.value = null;
}
