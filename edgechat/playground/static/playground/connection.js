/** Whether the server is within reach. After a failed call it is asked again until it answers. */

import { effect } from "./vendor/signals-core/signals-core.js";
import { isReachable } from "./state.js";
import { NoConnection } from "./errors.js";

const PROBE_MILLISECONDS = 2000;
let isProbing = false;

/** `fetch`, with its failures as NoConnection. @param {string} path @param {RequestInit} options */
export async function reach(path, options) {
  try {
    const answer = await fetch(path, options);
    isReachable.value = true;
    return answer;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    lostConnection();
    throw new NoConnection();
  }
}

/** The body of an answer; a connection that breaks in its middle is NoConnection. @template T @param {Promise<T>} body @returns {Promise<T>} */
export async function received(body) {
  try {
    return await body;
  } catch (error) {
    throw error instanceof TypeError ? new NoConnection() : error;
  }
}

/** Note that the server cannot be reached, and look for it until it can. */
async function lostConnection() {
  isReachable.value = false;
  if (isProbing) return;
  isProbing = true;
  while (!(await answers())) await pause(PROBE_MILLISECONDS);
  isProbing = false;
  isReachable.value = true;
}

/** Resolves once the server is within reach. @returns {Promise<void>} */
export function whenReachable() {
  return new Promise((resolve) => {
    const stop = effect(() => {
      if (isReachable.value) queueMicrotask(() => (stop(), resolve()));
    });
  });
}

/** @param {number} milliseconds @returns {Promise<void>} */
export function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** The health check is the one call without a rate limit. */
async function answers() {
  return fetch("/api/v1/health", { cache: "no-store" }).then((answer) => answer.ok, () => false);
}

addEventListener("offline", lostConnection);
addEventListener("online", lostConnection); // the device says so; the server has to confirm it
if (!isReachable.value) lostConnection();
