/** Taking a picture with the device's camera, and looking at one. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { signal } from "../vendor/signals-core/signals-core.js";
import { addPictures, pictureAddress } from "../pictures.js";
import { dialog } from "../state.js";

/** The camera's live picture. @type {{value: MediaStream|null}} */
const stream = signal(null);
const failure = signal("");
/** Whether the camera has sent its first picture. */
const isSeeing = signal(false);

/** Start the camera. Browsers allow it with https, and on this machine. */
export async function openCamera() {
  failure.value = "";
  isSeeing.value = false;
  try {
    const opened = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    if (dialog.value?.name === "camera") stream.value = opened;
    else stopTracks(opened);
  } catch {
    failure.value = "The page cannot use the camera.";
  }
}

export function closeCamera() {
  if (stream.value) stopTracks(stream.value);
  stream.value = null;
}

export function cameraView() {
  return html`
    ${failure.value ? html`<p role="alert">${failure.value}</p>` : nothing}
    ${stream.value
      ? // Without `live` each rendering would set the same stream again, and the camera would start again.
        html`<video id="viewfinder" autoplay playsinline muted .srcObject=${live(stream.value)} aria-label="What the camera sees"
            @loadeddata=${() => (isSeeing.value = true)}></video>
          <div class="buttons"><button class="primary" ?disabled=${!isSeeing.value} @click=${take}>Take the picture</button></div>`
      : nothing}
    <label class="button">Use the device's camera app or a file
      <input class="visually-hidden" type="file" accept="image/*" capture="environment" @change=${choose}></label>`;
}

/** @param {{id: string}} about */
export function pictureView({ id }) {
  const address = pictureAddress(id, "full");
  if (address === null) return html`<p>This picture is not there any more.</p>`;
  return address ? html`<img class="whole" src=${address} alt="The picture">` : html`<p role="status">Loading …</p>`;
}

function take() {
  const video = /** @type {HTMLVideoElement} */ (document.getElementById("viewfinder"));
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    if (!blob) return void (failure.value = "The camera sent no picture. Please try again.");
    addPictures([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
    dialog.value = null;
  }, "image/jpeg", 0.9);
}

/** @param {Event} event */
function choose(event) {
  addPictures(/** @type {HTMLInputElement} */ (event.target).files ?? []);
  dialog.value = null;
}

/** @param {MediaStream} opened */
function stopTracks(opened) {
  for (const track of opened.getTracks()) track.stop();
}
