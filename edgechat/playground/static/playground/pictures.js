/** Pictures: those that wait to be sent, and those of messages, which need a token to be fetched. */

import { signal } from "./vendor/signals-core/signals-core.js";
import { call, callJson, newKey } from "./api.js";
import { received } from "./connection.js";
import { ApiError, sentenceOf } from "./errors.js";
import { notify } from "./notices.js";
import { patiently } from "./patience.js";

const MAX_PICTURES = 5;
const TYPES = /^image\//;
const UNREADABLE = "This is not a JPEG, PNG, WebP, GIF or HEIC picture.";

/**
 * @typedef {{key: string, name: string, preview: string|null, state: "uploading"|"ready"|"failed", error: string|null,
 *   canRetry: boolean, file: File, attachmentId: string|null}} Picture
 */

/** The pictures beside the message that is being written. @type {{value: Picture[]}} */
export const pictures = signal([]);
/** Whether files are being dragged over the page. */
export const isDropping = signal(false);
/** Addresses of fetched pictures, by attachment and size. @type {{value: Map<string, string|null>}} */
const fetched = signal(new Map());

/** Add pictures that were dropped, pasted, chosen or taken, and upload them. @param {Iterable<File>} files */
export function addPictures(files) {
  for (const file of files) {
    if (!TYPES.test(file.type) && !/\.(heic|heif)$/i.test(file.name)) {
      notify(`${file.name} is not a picture.`, true);
    } else if (pictures.value.length >= MAX_PICTURES) {
      notify(`A message can have ${MAX_PICTURES} pictures.`, true);
      return;
    } else {
      const picture = {
        key: newKey(), name: file.name, preview: URL.createObjectURL(file), state: /** @type {"uploading"} */ ("uploading"),
        error: null, canRetry: false, file, attachmentId: null,
      };
      pictures.value = [...pictures.value, picture];
      upload(picture);
    }
  }
}

/** @param {Picture} picture */
export async function upload(picture) {
  change(picture.key, { state: "uploading", error: null });
  const form = new FormData();
  form.set("file", picture.file, picture.name || "picture");
  try {
    const headers = { "Idempotency-Key": picture.key };
    const attachment = await patiently(() => callJson("POST", "chat/attachments", { form, headers }));
    change(picture.key, { state: "ready", attachmentId: attachment.id });
  } catch (error) {
    const isRefused = error instanceof ApiError && error.status < 500;
    const sentence = isRefused && error.code === "unsupported_type" ? UNREADABLE : sentenceOf(error);
    change(picture.key, { state: "failed", error: sentence, canRetry: !isRefused });
    notify(`${picture.name}: ${sentence}`, true);
  }
}

/** @param {string} key */
export function removePicture(key) {
  const removed = pictures.value.find((picture) => picture.key === key);
  if (removed?.preview) URL.revokeObjectURL(removed.preview);
  pictures.value = pictures.value.filter((picture) => picture.key !== key);
}

/** The browser cannot show the file. @param {string} key */
export function forgetPreview(key) {
  change(key, { preview: null });
}

export function removeAllPictures() {
  for (const { key } of pictures.value) removePicture(key);
}

/**
 * The address of a message's picture once it has been fetched; "" before, null when that failed.
 * @param {string} id @param {"thumb"|"full"} size
 */
export function pictureAddress(id, size) {
  const name = `${id}?size=${size}`;
  const address = fetched.value.get(name);
  if (address === undefined) queueMicrotask(() => fetchPicture(name));
  return address === undefined ? "" : address;
}

/** @type {Set<string>} */
const fetching = new Set();

/** @param {string} name */
async function fetchPicture(name) {
  if (fetching.has(name)) return;
  fetching.add(name);
  const address = await patiently(async () => {
    const answer = await call("GET", `chat/attachments/${name}`);
    return URL.createObjectURL(await received(answer.blob()));
  }).catch(() => null);
  fetched.value = new Map(fetched.value).set(name, address);
}

/** @param {string} key @param {Partial<Picture>} values */
function change(key, values) {
  pictures.value = pictures.value.map((picture) => (picture.key === key ? { ...picture, ...values } : picture));
}
