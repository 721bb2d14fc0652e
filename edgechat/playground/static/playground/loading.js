/** What a dialog loads when it is opened: its state and its answer. */

import { signal } from "./vendor/signals-core/signals-core.js";
import { sentenceOf } from "./errors.js";

/**
 * @template T
 * @typedef {{state: "idle"|"loading"|"ready"|"failed", value: T|null, error: string}} Loaded
 */

/**
 * A signal with what `load` answers, and the functions to start it and to forget it.
 * @template T @param {(...given: any[]) => Promise<T>} load
 */
export function loader(load) {
  /** @type {{value: Loaded<T>}} */
  const loaded = signal({ state: "idle", value: null, error: "" });
  let latest = 0;

  /** @param {...any} given */
  async function start(...given) {
    const mine = ++latest;
    loaded.value = { ...loaded.value, state: "loading", error: "" };
    try {
      const value = await load(...given);
      if (mine === latest) loaded.value = { state: "ready", value, error: "" };
    } catch (error) {
      if (mine === latest) loaded.value = { state: "failed", value: null, error: sentenceOf(error) };
    }
  }

  function forget() {
    latest++;
    loaded.value = { state: "idle", value: null, error: "" };
  }

  return { loaded, start, forget };
}
