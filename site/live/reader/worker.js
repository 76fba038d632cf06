// The lip reader in a worker: new Worker(new URL("../reader/worker.js", import.meta.url), {type: "module"}).
//
// to it                                     from it
// {type: "load", data}                      {type: "ready", seconds, about}
// {type: "start", id, found?, model?}       nothing; what belongs to another clip is dropped
// {type: "frame", id, time, width, height,  {type: "seen", id, time, faces, face, mouth, light}
//  gray}                                      for each frame in which the face was looked for
// {type: "read", id, last}                  {type: "reading", id, last, frames, distinct, fps, crops, size,
//                                             logProbs, steps, upsample, greedy, grammar, warnings,
//                                             milliseconds, stages}
// and {type: "error", id?, message} when something goes wrong.
//
// data: URL of the data folder. time: seconds. gray: Uint8Array (H, W), luma, best transferred. found: mouth
// boxes known beforehand. model: "people", or "talker" for the course's drawn talker. Boxes are [x0, y0, x1,
// y1] in pixels of the frame, or null. light: mean gray of the face's middle, 0 to 1. crops: (T, H, W) bytes,
// 25 per second. distinct: how many of the frames do not repeat the one before. logProbs: (steps, V), steps =
// frames * upsample. greedy, grammar: {text, words: [{text, first, last, confidence}]}, first and last step of the
// word's letters, both included; grammar is null where nothing is read. warnings: "no face", "two faces", "dark",
// "bright", "outside grammar", "too short", "too long", "few frames".

import { Reader } from "./reader.js";

let reader = null;
let current = null; // id of the clip
const waiting = [];
let busy = false;

const handle = {
  async load({ data }) {
    const began = performance.now();
    reader = await Reader.load(new URL(data, self.location.href));
    await reader.warmUp();
    return { type: "ready", seconds: (performance.now() - began) / 1000, about: reader.about };
  },
  start({ id, found, model }) {
    current = id;
    reader.start({ found, model });
  },
  frame({ id, time, width, height, gray }) {
    if (id !== current) return null;
    const seen = reader.frame(time, width, height, gray);
    return seen && { type: "seen", id, ...seen };
  },
  async read({ id, last }) {
    if (id !== current) return null;
    return { type: "reading", id, ...(await reader.read(last)) };
  },
};

/** Messages one after the other, in their order: a reading waits for the frames before it. */
async function work() {
  if (busy) return;
  busy = true;
  while (waiting.length) {
    const message = waiting.shift();
    try {
      if (!(message.type in handle)) throw new Error(`message of type ${message.type}`);
      if (!reader && message.type !== "load") throw new Error(`${message.type} before "load"`);
      const answer = await handle[message.type](message);
      if (answer && (message.id === undefined || message.id === current)) {
        self.postMessage(answer, answer.crops ? [answer.crops.buffer, answer.logProbs.buffer] : []);
      }
    } catch (error) {
      self.postMessage({ type: "error", id: message.id, message: String(error.message ?? error) });
    }
  }
  busy = false;
}

self.onmessage = ({ data }) => {
  // A new clip makes everything else that waits for an older one pointless.
  if (data.type === "start") waiting.splice(0, Infinity, ...waiting.filter(({ type }) => type === "load"));
  waiting.push(data);
  work();
};
