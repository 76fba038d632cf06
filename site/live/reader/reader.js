// A lip reader on frames that arrive one by one: find the face, follow the mouth, read it. As `python -m lessons
// read` does for a file of up to 4 s. Runs in a worker (worker.js), on a page and in node.

import { brokenFrames, cropBox, cutMouth, isMouthCrop, mouthBox, mouthPath, resizeArea, shrinkTo } from "./crop.js";
import { Grammar, bestPath, collapse, findWords, grammarDecode, logSoftmax } from "./decode.js";
import { FaceTracker, Haar } from "./haar.js";
import { Model, fetchBytes } from "./model.js";
import { Clock, FPS, Resampler, median } from "./resample.js";

const LOOK_EVERY = 10; // frames from one look for the face to the next
const SHORTER_SIDE = 360; // pixels: larger frames are shrunk to it
const MAX_UNSEEN = 50; // frames without a face nearby in time, 2 s: beyond them only blanks are read
const PATIENCE = 60; // milliseconds that the grammar's reading may take while frames still come
const SHORTEST = 25; // frames, 1 s: no sentence is said faster
const WINDOW = 100; // frames, 4 s: the model was trained on clips of 3 s
const LONGEST = 400; // frames, 16 s, that are kept of a clip
const ENOUGH = 0.9; // of the frames that 25 per second give: with fewer, words are lost
const NEVER = -1e4; // the log-probability of what cannot be
// Mean gray of the face's middle, 0 to 1, outside of which the light is called bad.
export const [DARK, BRIGHT] = [0.18, 0.85];
// Of 53 clips of GRID none had more than 0.08; of 27 each, cut in half, in swapped halves, and played backwards, 24,
// 25 and 20 had more than 0.15.
const STRANGE = 0.15; // edits per letter between the two readings, above which a sentence is no sentence of GRID

export class Reader {
  /**
   * data: URL of the data folder that tools/live.py writes, ending in a slash. readFile: URL -> Uint8Array.
   * Only the reader for people is opened; the one for the drawn talker follows when it is asked for.
   */
  static async load(data, readFile = fetchBytes) {
    const parse = async (name) => JSON.parse(new TextDecoder().decode(await readFile(new URL(name, data))));
    const about = await parse("about.json");
    const [model, cascade] = await Promise.all([Model.load(data, about, "people", readFile), parse("haar.json")]);
    return new Reader(about, { people: model }, new Haar(cascade), (name) =>
      Model.load(data, about, name, readFile),
    );
  }

  constructor(about, models, haar, loadModel) {
    this.about = about;
    this.models = models;
    this.haar = haar;
    this.loadModel = loadModel;
    this.grammar = new Grammar(about.slots, about.alphabet);
    this.classes = about.alphabet.length + 1;
    this.decoding = 0; // milliseconds that the last search in the grammar took
    this.start();
  }

  /** Read an empty clip: the first run of a session is slow. */
  async warmUp() {
    const [height, width] = this.about.size;
    await this.models.people.logits(new Uint8Array(SHORTEST * height * width));
  }

  /**
   * Begin a new clip.
   *
   * found: mouth boxes [x0, y0, x1, y1] known beforehand, one per frame at 25 per second or one for all of
   * them; without, they are looked for. model: "people" or "talker".
   */
  start({ found = null, model = "people" } = {}) {
    if (!(model in this.about.models)) {
      throw new Error(`model ${model}: expected ${Object.keys(this.about.models).join(" or ")}`);
    }
    this.model = model;
    this.known = found;
    this.clock = new Clock();
    this.resampler = new Resampler();
    this.tracker = new FaceTracker(this.haar);
    this.frames = []; // 25 per second
    this.at = []; // frames that show the face, and where
    this.faces = [];
    this.light = [];
    this.seen = 0; // frames, those that were not kept included
    this.distinct = 0; // of them, without repetitions of the one before
    this.before = null;
    this.ended = false;
  }

  /**
   * The next frame: its time in seconds, and gray bytes (H, W). Returns what was seen if the face was looked
   * for: {time, faces, face, mouth, light}; boxes are [x0, y0, x1, y1] in pixels of the frame, or null.
   */
  frame(time, width, height, gray) {
    if (gray.length !== width * height) {
      throw new Error(`gray has ${gray.length} bytes: expected ${height} x ${width}`);
    }
    if (this.ended) throw new Error("frame: the clip has ended; call start() first");
    const scale = Math.min(1, SHORTER_SIDE / Math.min(width, height));
    const frame = scale < 1 ? resizeArea(gray, width, height, scale) : { gray, width, height };
    Object.assign(frame, { time, scale });
    return this.take(this.resampler.push(this.clock.time(time), frame));
  }

  /** No more frames come. */
  end() {
    if (this.ended) return;
    this.ended = true;
    this.take(this.resampler.end());
  }

  /** Keep frames at 25 per second, and look for the face in each tenth. */
  take(frames) {
    let seen = null;
    for (const frame of frames) {
      if (this.seen % LOOK_EVERY === 0) seen = this.look(frame);
      this.seen++;
      this.distinct += frame !== this.before;
      this.before = frame;
      if (this.frames.length < LONGEST) this.frames.push(frame);
    }
    return seen;
  }

  look(frame) {
    const { time, scale, width, height } = frame;
    if (this.known || isMouthCrop(frame)) {
      const mouth = this.known ? scaled(boxOf(this.known, this.seen), scale) : [0, 0, width, height];
      return { time, faces: 1, face: null, mouth: scaled(mouth, 1 / scale), light: meanGray(frame, mouth) };
    }
    const { face, faces } = this.tracker.look(frame.gray, width, height);
    if (!face) return { time, faces, face: null, mouth: null, light: null };
    this.at.push(this.seen);
    this.faces.push(face);
    const { x, y, width: size } = face;
    const middle = [x - size / 4, y - size / 4, x + size / 4, y + size / 4];
    const light = meanGray(frame, middle);
    this.light.push(light);
    const path = mouthPath(this.at, this.faces, this.seen + 1);
    const mouth = mouthBox(path.x.at(-1), path.y.at(-1), path.width);
    const box = [x - size / 2, y - size / 2, x + size / 2, y + size / 2];
    return { time, faces, face: scaled(box, 1 / scale), mouth: scaled(mouth, 1 / scale), light };
  }

  /** The mouths of all kept frames, (T, H, W) bytes of the model's size, and which frames show nobody. */
  crops() {
    const [height, width] = this.about.size;
    const T = this.frames.length;
    const out = new Uint8Array(T * height * width);
    const hidden = new Array(T).fill(false);
    const set = (t, gray) => out.set(gray, t * height * width);
    let path = null;
    this.frames.forEach((frame, t) => {
      if (this.known) {
        set(t, cropBox(frame, scaled(boxOf(this.known, t), frame.scale), [height, width]));
      } else if (isMouthCrop(frame)) {
        set(t, shrinkTo(frame, [height, width]));
      } else if (this.at.length) {
        path ??= mouthPath(this.at, this.faces, T);
        const gray = cutMouth(frame, path.x[t], path.y[t], path.width);
        set(t, shrinkTo({ gray, width: 128, height: 64 }, [height, width]));
        hidden[t] = this.at.every((at) => Math.abs(at - t) > MAX_UNSEEN);
      } else {
        hidden[t] = true;
      }
    });
    this.mend(out, hidden);
    return { crops: out, hidden };
  }

  /** Instead of a damaged frame the nearest good one is read; where most are damaged, only blanks. */
  mend(crops, hidden) {
    const pixels = this.about.size[0] * this.about.size[1];
    const broken = brokenFrames(crops, this.about.size);
    const good = broken.flatMap((isBroken, t) => (isBroken ? [] : [t]));
    if (good.length === broken.length) return;
    const copy = crops.slice();
    broken.forEach((isBroken, t) => {
      if (!isBroken) return;
      if (2 * good.length < broken.length) {
        hidden[t] = true;
        return;
      }
      const near = good.reduce((best, other) => (Math.abs(other - t) < Math.abs(best - t) ? other : best));
      crops.set(copy.subarray(near * pixels, (near + 1) * pixels), t * pixels);
    });
  }

  /** Read what has come so far; `last`: no more frames come. See worker.js for what is returned. */
  async read(last = false) {
    const began = performance.now();
    if (last) this.end();
    const { crops, hidden } = this.crops();
    const cropped = performance.now();
    const logits = this.frames.length ? await this.logits(crops) : new Float32Array(0);
    const logProbs = logSoftmax(logits, this.classes);
    const upsample = this.frames.length ? logProbs.length / this.classes / this.frames.length : 1;
    hidden.forEach((nobody, t) => {
      if (!nobody) return;
      logProbs.fill(NEVER, t * upsample * this.classes, (t + 1) * upsample * this.classes);
      for (let k = 0; k < upsample; k++) logProbs[(t * upsample + k) * this.classes] = 0;
    });
    const modeled = performance.now();
    const { greedy, grammar } = this.decode(logProbs, last);
    const now = performance.now();
    return {
      last,
      frames: this.frames.length,
      distinct: this.distinct,
      fps: FPS,
      crops,
      size: this.about.size,
      logProbs,
      steps: logProbs.length / this.classes,
      upsample,
      greedy,
      grammar,
      warnings: this.warnings(greedy, grammar, last),
      milliseconds: now - began,
      stages: { crop: cropped - began, model: modeled - cropped, decode: now - modeled },
    };
  }

  /** (T, H, W) bytes of mouths -> (T * upsample, V) logits. */
  async logits(crops) {
    this.models[this.model] ??= await this.loadModel(this.model);
    return this.models[this.model].logits(crops);
  }

  /** Log-probabilities -> the greedy reading, and the grammar's: null where nothing is read, or no time is. */
  decode(logProbs, last = true) {
    const { alphabet } = this.about;
    const words = (labels) => findWords(logProbs, this.classes, labels, alphabet);
    const greedy = words(collapse(bestPath(logProbs, this.classes)));
    if (!last && this.decoding > PATIENCE) {
      this.decoding *= 0.8; // it may have been slow by chance
      return { greedy, grammar: null };
    }
    const began = performance.now();
    const labels = greedy.text ? grammarDecode(logProbs, this.classes, this.grammar) : null;
    this.decoding = performance.now() - began;
    return { greedy, grammar: labels && words(labels) };
  }

  warnings(greedy, grammar, last) {
    const found = [];
    const { looks, found: hits, crowded } = this.tracker;
    const short = this.seen <= 150;
    if (looks && (!hits || (short && 2 * hits < looks))) found.push("no face");
    if (4 * crowded > looks) found.push("two faces");
    if (this.light.length && median(this.light) < DARK) found.push("dark");
    if (this.light.length && median(this.light) > BRIGHT) found.push("bright");
    if (last && this.seen < SHORTEST) found.push("too short");
    if (this.seen > WINDOW) found.push("too long");
    if (last && this.seen >= SHORTEST && this.distinct < ENOUGH * this.seen) found.push("few frames");
    if (last && grammar && edits(greedy.text, grammar.text) > STRANGE * grammar.text.length) {
      found.push("outside grammar");
    }
    return found;
  }
}

/** The t-th of boxes, or the only one. */
function boxOf(boxes, t) {
  return typeof boxes[0] === "number" ? boxes : boxes[Math.min(t, boxes.length - 1)];
}

function scaled(box, factor) {
  return box.map((value) => value * factor);
}

/** Mean gray within a box of a frame, 0 to 1. */
function meanGray({ gray, width, height }, box) {
  const clip = (value, size) => Math.min(size, Math.max(0, Math.round(value)));
  const [x0, y0, x1, y1] = box.map((value, i) => clip(value, i % 2 ? height : width));
  let sum = 0;
  for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) sum += gray[y * width + x];
  return sum / Math.max(1, (x1 - x0) * (y1 - y0)) / 255;
}

/** Letters to insert, delete or replace between two texts (Levenshtein). */
export function edits(one, other) {
  let row = Array.from({ length: other.length + 1 }, (_, j) => j);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const replaced = row[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[other.length];
}
