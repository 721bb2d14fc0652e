/** Trying again what failed for a moment: without a connection, over a limit, or while a store is away. */

import { pause, whenReachable } from "./connection.js";
import { ApiError, isPassing } from "./errors.js";

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
      const seconds = (error instanceof ApiError && error.retryAfter) || 1;
      await pause(seconds * 1000);
    }
  }
}
