// Frames of a video element as gray levels, with the time of each.

import { grayOf } from "./gray.js";

export const LONGEST = 4; // seconds of a clip: one sentence takes about 3
const [FASTEST, SLOWEST] = [1 / 50, 1 / 24]; // seconds from frame to frame that are sought
const PROBE = 0.01; // seconds: how finely the second frame is looked for
const PATIENCE = 1000; // milliseconds that a frame which was sought may take to be presented
const BUFFER = 25; // frames of the camera that may wait for their worker

const hasFrameCallback = "requestVideoFrameCallback" in HTMLVideoElement.prototype;

// The picture that a video shows: {width, height, gray}.
export const grab = (video) => grayOf(video, video.videoWidth, video.videoHeight);

// Call take(seconds) for each new frame of a video that plays. Returns a function that ends it.
function onFrames(video, take) {
  let going = true;
  let before = -1;
  const wait = () => (hasFrameCallback ? video.requestVideoFrameCallback(next) : requestAnimationFrame(next));
  function next(now, metadata) {
    if (!going) return;
    const time = metadata ? metadata.mediaTime : video.currentTime;
    if (time !== before && video.readyState >= 2) take((before = time));
    wait();
  }
  wait();
  return () => {
    going = false;
  };
}

const once = (target, ...names) =>
  new Promise((resolve) => {
    for (const name of names) target.addEventListener(name, (event) => resolve(event.type), { once: true });
  });

// Open a file, or the content of one, in a video element. Rejects with a message for people.
export async function openVideo(video, blob) {
  video.pause();
  if (video.src) URL.revokeObjectURL(video.src);
  video.src = URL.createObjectURL(blob);
  video.muted = true;
  if ((await once(video, "loadeddata", "error")) === "error" || !video.videoWidth)
    throw new Error(`This browser cannot play ${blob.name ?? "the video"}. Videos in MP4 (H.264) or WebM can be read.`);
  if (video.duration === Infinity) {
    // A recording without its length in the head: the browser finds it at the end.
    video.currentTime = 1e9;
    await once(video, "seeked");
    video.currentTime = 0;
    await once(video, "seeked");
  }
}

// Show the frame of a moment. Resolves to its own time: the moment at which it begins to be shown.
async function seek(video, moment) {
  const presented = new Promise((resolve) => {
    if (!hasFrameCallback) resolve(null);
    else video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime));
  });
  const done = once(video, "seeked", "error");
  video.currentTime = moment;
  if ((await done) === "error") throw new Error("The video is damaged: it could not be decoded.");
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE, null));
  return (await Promise.race([presented, late])) ?? moment;
}

// Frames of a file from the second `start` on, at most LONGEST seconds of it.
//
// Each frame is sought, by the middle of the time that it is shown: a video that plays skips frames where the
// computer is slow. `take` is called with each: {time, width, height, gray}. It returns false to end.
export async function fileFrames(video, start, take) {
  video.pause();
  let before = await seek(video, start);
  const end = Math.min(before + LONGEST, video.duration);
  if (take({ time: before, ...grab(video) }) === false) return;
  let step = SLOWEST; // from one frame to the next
  for (let moment = before + PROBE; moment < end; ) {
    const time = await seek(video, moment);
    if (time > before + 1e-4) {
      step = Math.min(step, Math.max(FASTEST, time - before));
      before = time;
      if (take({ time, ...grab(video) }) === false) return;
      moment = before + 1.5 * step;
    } else moment += step === SLOWEST ? PROBE : step;
  }
}

// The camera in a video element. Rejects with a message for people.
export async function openCamera(video) {
  if (!navigator.mediaDevices?.getUserMedia)
    throw new Error("Browsers give a page the camera only over https. A sample or a file can still be read.");
  try {
    const wish = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: "user" };
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wish, audio: false });
  } catch (error) {
    throw new Error(REFUSED[error.name] ?? `The camera did not start (${error.name}).`, { cause: error });
  }
  await video.play();
  taker = startTaker(video);
}

const REFUSED = {
  NotAllowedError:
    "The camera was refused. To use it, allow it for this page beside the address bar and press the button again. " +
    "A sample or a file can be read without it.",
  NotFoundError: "No camera was found. A sample or a file can be read without one.",
  NotReadableError: "The camera is in use by another program. Close that program and try again.",
};

export function closeCamera(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  taker?.worker.terminate();
  taker = null;
}

// The worker that takes the camera's frames: {worker, fits, clip}; null where the browser has no such thing.
let taker = null;

function startTaker(video) {
  if (!("MediaStreamTrackProcessor" in globalThis)) return null;
  const worker = new Worker(new URL("taker.js", import.meta.url), { type: "module" });
  const started = { worker, fits: false, clip: 0 };
  try {
    const [track] = video.srcObject.getVideoTracks();
    const { readable } = new MediaStreamTrackProcessor({ track, maxBufferSize: BUFFER });
    worker.postMessage({ stream: readable }, [readable]);
  } catch {
    worker.terminate();
    return null;
  }
  // A telephone may turn its pictures only when they are shown.
  worker.onmessage = ({ data: { size } }) => {
    started.fits = size?.[0] === video.videoWidth && size[1] === video.videoHeight;
  };
  return started;
}

// Whether a worker takes the camera's frames.
export const hasTaker = () => Boolean(taker?.fits);

// Call take({time, width, height, gray}) for each frame of the camera. Returns a function that ends it.
export function cameraFrames(video, take) {
  if (!hasTaker()) return onFrames(video, (time) => take({ time, ...grab(video) }));
  const { worker } = taker;
  const clip = (taker.clip += 1);
  let going = true;
  worker.onmessage = ({ data }) => {
    if (going && data.clip === clip) take(data.frame);
  };
  worker.postMessage({ clip });
  return () => {
    going = false;
    worker.postMessage({ clip: null });
  };
}
