// The live page: three ways in, one reading.

import { BRIGHT, DARK } from "../reader/reader.js";
import { cameraFrames, closeCamera, fileFrames, grab, hasTaker, LONGEST, openCamera, openVideo } from "./capture.js";
import { DROPPED, ReaderClient } from "./client.js";
import { fetchAbout, showCard, showLicenses, showSlots } from "./figures.js";
import { fetchSaliency, sampleButtons } from "./samples.js";
import { ReadingView } from "./view.js";
import { align, randomSentence, split, warned } from "./words.js";

const DATA = new URL("../data/", import.meta.url);
const SENTENCE = 3; // seconds that are recorded
const LOOK = 250; // milliseconds from one look at the camera's preview to the next
const LOADING = "Loading the reader …";
const PARTIAL = 400; // milliseconds from one reading on the way to the next
const SLOW = 10; // milliseconds per frame of a reading: above, a camera's clip is not read on the way

const root = document.getElementById("live");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const ways = ["sample", "file", "camera"];

let client = null;
let about = null; // the worker's answer "ready"
let view = null;
let loading = null;
let looking = null; // the timer of the camera's preview
let recording = null; // ends the recording
let looks = []; // the answers to looks for the face, of one clip
let looked = null; // the preview's clip whose answer is awaited
let clipKnown = 0; // when the clip that is read was there: a file at its choice, a recording at its end
let pace = 0; // milliseconds per frame that the last reading took
let turn = 0; // counts clips; what an older one still does is void

// What the page does: idle, loading, ready, reading, recording, done. For style, and for tests.
function state(name) {
  root.dataset.state = name;
}

function say(text, kind = "note") {
  const status = part("status");
  status.textContent = text;
  status.dataset.kind = text ? kind : "";
}

const fail = (error) => {
  if (error.message === DROPPED) return; // the visitor chose another clip
  say(error.message, "problem");
  state(about ? "ready" : "idle");
};

// The reader is loaded when somebody first wants to read.
function load() {
  loading ??= (async () => {
    say(LOADING);
    state("loading");
    client = new ReaderClient(seen);
    about = await client.load(DATA);
    about = { ...about, ...about.about };
    view = new ReadingView(part("result"), ["", ...about.alphabet]);
    root.dataset.loaded = about.seconds;
    prompt();
    if (part("status").textContent === LOADING) say(""); // else a problem is told there
    state("ready");
  })().catch((error) => {
    loading = null;
    throw new Error(`The reader could not be loaded: ${error.message}. Reload the page to try again.`);
  });
  return loading;
}

function open(way) {
  turn += 1;
  quit();
  for (const name of ways) {
    part(`way-${name}`).setAttribute("aria-expanded", String(name === way));
    part(`panel-${name}`).hidden = name !== way;
  }
  root.dataset.way = way;
  view?.clear();
  warn([]);
  say("");
  load().catch(fail);
}

// Stop whatever runs: camera, recording, a file that plays.
function quit() {
  clearInterval(looking);
  recording?.stop();
  recording = null;
  closeCamera(part("camera-video"));
  for (const way of ["sample", "file"]) part(`${way}-video`).pause();
  part("camera-on").hidden = true;
  part("camera-off").hidden = false;
}

// An answer to a look for the face: its boxes over the video, and what can be told of it at once.
function seen(answer) {
  looked = null;
  looks.push(answer);
  drawBoxes(answer);
  if (part("panel-camera").hidden || recording || root.dataset.state !== "ready") return;
  const { faces, light } = answer;
  const code = !faces ? "no face" : faces > 1 ? "two faces"
    : light < DARK ? "dark" : light > BRIGHT ? "bright" : null;
  const text = code ? warned(code) : "Face found. Press the round button and read the sentence aloud.";
  if (part("status").textContent !== text) say(text, code ? "warning" : "note");
}

function drawBoxes({ face, mouth }) {
  const way = ways.find((name) => !part(`panel-${name}`).hidden);
  const canvas = part(`${way}-boxes`);
  [canvas.width, canvas.height] = client.frame;
  const context = canvas.getContext("2d");
  const style = getComputedStyle(root);
  for (const [box, name, dash] of [[face, "--live-face", [6, 4]], [mouth, "--live-path", []]])
    if (box) {
      context.strokeStyle = style.getPropertyValue(name);
      context.lineWidth = Math.max(2, canvas.width / 180);
      context.setLineDash(dash);
      context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    }
}

// The boxes at a time of the clip, between those of the looks around it.
function boxesAt(seconds) {
  const after = looks.findIndex(({ time }) => time - looks[0].time >= seconds);
  const [one, other] = after === 0 ? [looks[0], looks[0]] : [looks.at(after - 1), looks.at(after)];
  if (!one) return;
  const step = other.time - one.time;
  const share = step > 0 ? Math.min(1, (seconds - one.time + looks[0].time) / step) : 0;
  const between = (name) =>
    one[name] && other[name] && one[name].map((value, i) => value + share * (other[name][i] - value));
  drawBoxes({ face: between("face"), mouth: between("mouth") });
}

function push(frame) {
  client.frame = [frame.width, frame.height];
  client.push(frame.time, frame.width, frame.height, frame.gray);
}

// facts: of the reading, where there is one.
function warn(codes, facts = {}) {
  part("warnings").replaceChildren(
    ...codes.map((code) => {
      const line = document.createElement("li");
      line.textContent = warned(code, { ...facts, camera: !part("panel-camera").hidden });
      line.dataset.code = code;
      return line;
    }),
  );
}

// How long a visitor waits for the first word: from the choice of a file, or from the end of a recording.
function firstWord({ greedy }) {
  if (greedy.words.length) root.dataset.firstWord ??= Math.max(0, Math.round(performance.now() - clipKnown));
}

function clocked(reading) {
  if (reading?.frames) pace = (reading.stages.crop + reading.stages.model) / reading.frames;
}

// Read on the way, while the worker has time for it.
async function partial(mine) {
  if (!client.free || performance.now() - (partial.last ?? 0) < PARTIAL) return;
  partial.last = performance.now();
  const reading = await client.read(false).catch(() => null);
  clocked(reading);
  if (!reading?.frames || mine !== turn || root.dataset.state === "done") return;
  firstWord(reading);
  view.show(reading);
}

// The last reading of a clip, whose frames have all been pushed.
async function finish(mine, ended, options = {}, captured = 0) {
  state("reading");
  say("Reading …");
  const reading = await client.read(true);
  clocked(reading);
  if (mine !== turn) return;
  state("done");
  say(reading.greedy.text || reading.warnings.length ? "" : "No letter was read: the lips hardly moved.");
  warn(reading.warnings, reading);
  part("heard").textContent = "";
  if (reading.frames && !reading.warnings.includes("no face")) {
    view.show(reading, options);
    intoSight(part("result"));
    if (options.said) compare(options.said, reading);
  } else view.clear();
  const waited = performance.now() - ended;
  if (captured) root.dataset.captured = captured;
  part("facts").textContent =
    `${reading.frames} frames at ${reading.fps} per second; the sentence came ${(waited / 1000).toFixed(1)} s ` +
    `after the clip, of which the network took ${Math.round(reading.milliseconds)} ms.`;
  Object.assign(root.dataset, { waited: Math.round(waited), queue: client.longest, frames: reading.frames });
  firstWord(reading);
  root.dispatchEvent(new CustomEvent("live:read", { detail: reading }));
}

// Scroll to what has just appeared, unless it is in sight.
function intoSight(element) {
  if (element.getBoundingClientRect().bottom <= innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

function compare(said, reading) {
  const words = split(said);
  const read = (reading.grammar ?? reading.greedy).text;
  const { pairs } = align(words, split(read));
  const right = words.filter((word, i) => pairs[i] !== null && split(read)[pairs[i]] === word).length;
  const told = part("panel-camera").hidden ? "It was said" : "You were asked to read";
  const rest = right === words.length ? "" : ` ${told}: ${said}.`;
  part("heard").textContent = `${right} of ${words.length} words right.${rest}`;
}

// Videos: samples and files

// Read a video frame by frame, on the way and once more as a whole.
async function readVideo(video, start, begin, options) {
  const mine = (turn += 1);
  view.clear();
  warn([]);
  state("reading");
  say("Reading …");
  clipKnown = performance.now();
  delete root.dataset.firstWord;
  looks = [];
  client.start(begin);
  await fileFrames(video, start, (frame) => {
    if (mine !== turn) return false;
    push(frame);
    partial(mine);
    return true;
  });
  if (mine !== turn) return;
  await finish(mine, performance.now(), { ...options, play: true, follow: { video, start, moved: boxesAt } });
}

async function sample(item, source) {
  const mine = (turn += 1);
  const video = part("sample-video");
  try {
    part("sample-stage").hidden = false;
    const [saliency] = await Promise.all([
      fetchSaliency(DATA, item),
      fetch(source).then((answer) => answer.blob()).then((blob) => openVideo(video, blob)), // can be sought anywhere
      load(),
    ]);
    if (mine !== turn) return;
    await readVideo(video, 0, { found: item.found, model: item.model }, { said: item.said, saliency });
  } catch (error) {
    fail(error);
  }
}

async function file(chosen) {
  if (!chosen) return;
  const mine = (turn += 1);
  const video = part("file-video");
  try {
    part("file-stage").hidden = false;
    await Promise.all([openVideo(video, chosen), load()]);
    if (mine !== turn) return;
    part("file-start").max = Math.max(0, video.duration - 1).toFixed(2);
    part("file-start").value = 0;
    part("file-length").textContent = video.duration.toFixed(1);
    part("file-long").hidden = video.duration < LONGEST + 0.05;
    await readVideo(video, 0);
  } catch (error) {
    part("file-stage").hidden = !video.videoWidth;
    fail(error);
  }
}

// The camera

async function camera() {
  const mine = (turn += 1);
  const video = part("camera-video");
  try {
    const opened = openCamera(video);
    await Promise.all([opened, load()]);
    if (mine !== turn) return closeCamera(video);
    part("camera-on").hidden = false;
    part("camera-off").hidden = true;
    part("camera-stage").style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
    state("ready");
    preview();
    part("record").focus({ preventScroll: true });
  } catch (error) {
    closeCamera(video);
    fail(error);
  }
  return undefined;
}

// Look at the camera now and then, each time as at a new clip: of two frames, as the first is known by the second.
function preview() {
  clearInterval(looking);
  looking = setInterval(() => {
    if (recording || root.dataset.state === "reading" || looked === client.id || document.hidden) return;
    const frame = grab(part("camera-video"));
    looks = [];
    client.start();
    looked = client.id;
    push({ ...frame, time: 0, gray: frame.gray.slice() });
    push({ ...frame, time: 0.04 });
  }, LOOK);
}

function ring(share) {
  part("ring").style.setProperty("--share", Math.min(1, share));
}

function record() {
  if (recording) return recording.finish();
  const mine = (turn += 1);
  const video = part("camera-video");
  const said = part("prompt").textContent;
  view.clear();
  warn([]);
  part("heard").textContent = "";
  state("recording");
  say("Read the sentence now.");
  clipKnown = performance.now() + 1000 * SENTENCE;
  delete root.dataset.firstWord;
  part("record").setAttribute("aria-label", "Stop");
  looks = [];
  client.start();
  let first = null;
  let count = 0;
  root.dataset.taken = hasTaker() ? "in a worker" : "on the page";
  const stop = cameraFrames(video, ({ time, ...frame }) => {
    first ??= time;
    if (time - first > SENTENCE - 0.02) return recording?.finish();
    count += 1;
    push({ time: time - first, ...frame });
    ring((time - first) / SENTENCE);
    // A slow computer has enough to do with the frames.
    if (pace < SLOW && count > 20 * (time - first)) partial(mine);
    return undefined;
  });
  const done = () => {
    stop();
    ring(0);
    recording = null;
    part("record").setAttribute("aria-label", "Record");
  };
  recording = {
    stop: done,
    finish() {
      done();
      finish(mine, performance.now(), { said }, count).catch(fail);
    },
  };
  return undefined;
}

function prompt() {
  part("prompt").textContent = randomSentence(about.slots);
}

// The page

for (const way of ways) part(`way-${way}`).addEventListener("click", () => open(way));
part("camera-start").addEventListener("click", camera);
part("camera-stop").addEventListener("click", () => {
  turn += 1;
  quit();
  say("The camera is off.");
});
part("record").addEventListener("click", record);
part("another").addEventListener("click", prompt);
part("file-input").addEventListener("change", (event) => file(event.target.files[0]));
part("file-start").addEventListener("change", ({ target }) => {
  target.value = Math.min(Number(target.max), Math.max(0, Number(target.value)));
  readVideo(part("file-video"), Number(target.value)).catch(fail);
});
const drop = part("panel-file");
drop.addEventListener("dragover", (event) => event.preventDefault());
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  file(event.dataTransfer.files[0]);
});
addEventListener("pagehide", quit);

state("idle");
fetchAbout(DATA)
  .then((known) => {
    sampleButtons(DATA, known.samples, part("samples"), sample);
    showSlots(known, document.getElementById("live-slots"));
    showCard(known.card, document.getElementById("live-card"));
    return showLicenses(known, DATA, document.getElementById("live-licenses"));
  })
  .catch(fail);
