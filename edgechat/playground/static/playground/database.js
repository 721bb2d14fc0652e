/**
 * Values that all tabs share, in IndexedDB: unlike localStorage, a tab never reads an older value than another tab has
 * written.
 */

const STORE = "values";

/** @type {Promise<IDBDatabase>|null} */
let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("edgechat", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/** @param {string} name @returns {Promise<any>} undefined if there is none */
export async function readValue(name) {
  return perform("readonly", (store) => store.get(name));
}

/** @param {string} name @param {any} value */
export async function keepValue(name, value) {
  await perform("readwrite", (store) => store.put(value, name));
}

/** @param {string} name */
export async function forgetValue(name) {
  await perform("readwrite", (store) => store.delete(name));
}

/** @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest} work @returns {Promise<any>} */
async function perform(mode, work) {
  try {
    return await performOnce(mode, work);
  } catch {
    // Safari on a phone ends the connections of pages that were in the background for long.
    opened = null;
    return performOnce(mode, work);
  }
}

/** @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest} work @returns {Promise<any>} */
async function performOnce(mode, work) {
  const transaction = (await open()).transaction(STORE, mode);
  const request = work(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}
