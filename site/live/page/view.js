// A reading on the page: the crop, the heat map with the CTC path, the words, and one time for all of them.

import { align, place, split } from "./words.js";

const AXIS = 75; // frames: a shorter clip does not fill the width
const GUTTER = 18; // pixels left of the map, for its labels
const ROW = 10; // pixels per class
const TOP = 20; // pixels above the map, for the letters that are emitted

const BLANK = "–";
const shown = (label) => ({ "": BLANK, " ": "␣" })[label] ?? label;
const spoken = (label) => ({ "": "blank", " ": "space" })[label] ?? label;
const percent = (p) => `${Math.round(100 * p)} %`;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// A color of the theme as [red, green, blue].
function color(root, variable) {
  const probe = element("i", { style: `color: var(${variable})` });
  root.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
  probe.remove();
  return parts.slice(0, 3);
}

// A canvas in device pixels, drawn in CSS pixels.
function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

export class ReadingView {
  // labels: the text of each class, the blank's first and "".
  constructor(root, labels) {
    this.root = root;
    this.labels = labels;
    this.rows = [...labels.keys()].slice(2).concat(1, 0); // letters on top, then space, the blank at the foot
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.time = 0;
    this.why = null; // the word whose saliency is shown
    this.slider = this.part("time");
    this.slider.addEventListener("input", () => {
      this.stop();
      this.go(Number(this.slider.value));
    });
    this.part("play").addEventListener("click", () => {
      if (!this.playing) return this.play();
      this.stop();
      return this.go(this.time);
    });
    const map = this.part("map");
    const drag = (event) => {
      if (!this.reading || (event.type === "pointermove" && !event.buttons)) return;
      this.stop();
      const box = map.getBoundingClientRect();
      this.go(((event.clientX - box.left - GUTTER) / (box.width - GUTTER)) * this.axis);
    };
    map.addEventListener("pointerdown", drag);
    map.addEventListener("pointermove", drag);
    new ResizeObserver(() => this.reading && this.redraw()).observe(this.part("map-box"));
    new MutationObserver(() => this.reading && this.redraw()).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
  }

  get axis() {
    return Math.max(AXIS, this.reading.frames);
  }

  // Show a reading. options: saliency (of each word), play (at once, from the start), follow (a video that
  // shows the same time: {video, start: where in it the clip starts, moved: called with each time in seconds}).
  show(reading, { saliency = null, play = false, follow = null } = {}) {
    this.stop();
    Object.assign(this, { reading, saliency, follow, why: null });
    this.steps = reading.steps ?? reading.logProbs.length / this.labels.length;
    const count = this.labels.length;
    this.path = Array.from({ length: this.steps }, (_, t) => {
      let best = 0;
      for (let c = 1; c < count; c += 1)
        if (reading.logProbs[t * count + c] > reading.logProbs[t * count + best]) best = c;
      return best;
    });
    this.runs = []; // of one letter of the path, without the blank: {label, first, last}
    for (let t = 0; t < this.steps; t += 1)
      if (this.path[t] && this.path[t] === this.path[t - 1]) this.runs.at(-1).last = t + 1;
      else if (this.path[t]) this.runs.push({ label: this.path[t], first: t, last: t + 1 });
    this.root.hidden = false;
    this.slider.max = reading.frames;
    this.part("play").disabled = this.slider.disabled = !reading.last;
    this.redraw();
    this.go(reading.frames);
    if (play && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.go(0);
      this.play();
    }
  }

  clear() {
    this.stop();
    this.reading = null;
    this.root.hidden = true;
  }

  // Time, in frames from the start: what lies before it is shown.
  go(time) {
    this.time = Math.min(Math.max(time, 0), this.reading.frames);
    this.slider.value = Math.round(this.time);
    const frame = Math.max(0, Math.ceil(this.time) - 1);
    const step = Math.min(this.steps, Math.round((this.time / this.reading.frames) * this.steps));
    this.drawCrop(frame);
    this.drawMap(step);
    this.drawNow(Math.max(0, step - 1));
    this.drawSentence(step);
    if (this.follow && !this.playing) this.follow.video.currentTime = this.videoTime;
    this.follow?.moved(this.time / this.reading.fps);
  }

  get videoTime() {
    return this.follow.start + Math.max(0, this.time - 0.5) / this.reading.fps;
  }

  play() {
    if (this.time >= this.reading.frames) this.go(0);
    this.part("play").textContent = "Pause";
    if (this.follow) {
      this.follow.video.currentTime = this.videoTime;
      this.follow.video.play().catch(() => {}); // a browser may refuse to play; the rest goes on
    }
    let before = null;
    const next = (now) => {
      if (!this.playing) return;
      const moved = before === null ? 0 : ((now - before) / 1000) * this.reading.fps;
      before = now;
      this.go(this.time + moved);
      if (this.time >= this.reading.frames) {
        this.stop();
        this.go(this.time);
      } else this.playing = requestAnimationFrame(next);
    };
    this.playing = requestAnimationFrame(next);
  }

  stop() {
    cancelAnimationFrame(this.playing ?? 0);
    this.playing = null;
    this.follow?.video.pause();
    this.part("play").textContent = "Play";
  }

  redraw() {
    this.paintMap();
    this.drawWords("greedy");
    this.drawWords("grammar");
    this.go(this.time);
  }

  drawCrop(frame) {
    const { crops, size } = this.reading;
    const [height, width] = size;
    const canvas = this.part("crop");
    canvas.width = width;
    canvas.height = height;
    const image = new ImageData(width, height);
    const map = this.why !== null ? this.saliency?.[this.why]?.frame(frame, size) : null; // (H, W) 0..255
    const mark = map && color(this.root, "--live-mark");
    for (let i = 0; i < width * height; i += 1) {
      const gray = crops[frame * width * height + i];
      const weight = map ? map[i] / 255 : 0;
      for (let c = 0; c < 3; c += 1)
        image.data[4 * i + c] = map ? 0.75 * gray * (1 - weight) + mark[c] * weight : gray;
      image.data[4 * i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // The whole heat map, one pixel per step and class, to be shown from the left.
  paintMap() {
    const count = this.labels.length;
    this.pixels = new OffscreenCanvas(Math.max(1, this.steps), count);
    const image = new ImageData(Math.max(1, this.steps), count);
    const low = color(this.root, "--live-low");
    const high = color(this.root, "--live-high");
    for (let t = 0; t < this.steps; t += 1)
      this.rows.forEach((label, row) => {
        const p = Math.sqrt(Math.exp(this.reading.logProbs[t * count + label])); // the root shows small ones
        const at = 4 * (row * this.steps + t);
        for (let c = 0; c < 3; c += 1) image.data[at + c] = low[c] + (high[c] - low[c]) * p;
        image.data[at + 3] = 255;
      });
    this.pixels.getContext("2d").putImageData(image, 0, 0);
    this.ink = `rgb(${color(this.root, "--live-ink")})`;
    this.line = `rgb(${color(this.root, "--live-path")})`;
    this.ground = `rgb(${low})`;
  }

  drawMap(step) {
    const canvas = this.part("map");
    const count = this.labels.length;
    const width = this.part("map-box").clientWidth;
    const context = prepare(canvas, width, TOP + count * ROW);
    const wide = width - GUTTER;
    const unit = (wide * this.reading.frames) / this.axis / Math.max(1, this.steps); // pixels per step
    const x = (t) => GUTTER + t * unit;
    const y = (label) => TOP + (this.rows.indexOf(label) + 0.5) * ROW;
    context.fillStyle = this.ground;
    context.fillRect(GUTTER, TOP, wide, count * ROW);
    context.imageSmoothingEnabled = false;
    if (step) context.drawImage(this.pixels, 0, 0, step, count, GUTTER, TOP, step * unit, count * ROW);
    context.fillStyle = this.ink;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = "10px ui-monospace, monospace";
    this.rows.forEach((label) => context.fillText(shown(this.labels[label]), GUTTER / 2, y(label)));
    context.strokeStyle = context.fillStyle = this.line;
    context.lineWidth = 1.25;
    context.beginPath();
    for (let t = 0; t < step; t += 1) context.lineTo(x(t + 0.5), y(this.path[t]));
    context.globalAlpha = 0.55;
    context.stroke();
    context.globalAlpha = 1;
    for (let t = 0; t < step; t += 1)
      if (this.path[t]) {
        context.beginPath();
        context.arc(x(t + 0.5), y(this.path[t]), 2.5, 0, 7);
        context.fill();
      }
    context.fillStyle = this.ink;
    context.font = `${wide > 500 ? 14 : 11}px ui-monospace, monospace`;
    const emitted = this.runs.filter((run) => run.first < step);
    const space = wide > 500 ? 9 : 7;
    const left = place(emitted.map((run) => x((run.first + run.last) / 2)), emitted.map(() => space), width, 0);
    emitted.forEach((run, i) => context.fillText(shown(this.labels[run.label]), left[i] + space / 2, TOP / 2));
    context.fillStyle = this.line;
    context.fillRect(x(step) - 0.75, TOP - 2, 1.5, count * ROW + 2);
    canvas.setAttribute("aria-label", this.described(step));
    this.slider.style.marginLeft = `${GUTTER - 8}px`;
    this.slider.style.width = `${(wide * this.reading.frames) / this.axis + 16}px`;
  }

  described(step) {
    const path = this.runs.filter((run) => run.first < step).map((run) => this.labels[run.label]).join("");
    const letters = path.trim() || "none";
    return `Probability of ${this.labels.length} characters over ${this.steps} steps. Letters so far: ${letters}.`;
  }

  // The classes of one step, most probable first.
  top(step, n = 5) {
    const count = this.labels.length;
    const all = Array.from({ length: count }, (_, c) => [Math.exp(this.reading.logProbs[step * count + c]), c]);
    return all.sort((a, b) => b[0] - a[0]).slice(0, n);
  }

  drawNow(step) {
    const best = this.steps ? this.top(step) : [];
    this.part("now").replaceChildren(
      ...best.map(([p, c]) => {
        const bar = element("i", { className: "live-bar" });
        bar.style.setProperty("--p", p);
        return element("li", {}, element("b", { textContent: shown(this.labels[c]) }), bar,
          element("span", { textContent: percent(p) }));
      }),
    );
    const seconds = (this.time / this.reading.fps).toFixed(2);
    this.part("clock").textContent = `${seconds} s`;
    const text = best.length ? `: ${spoken(this.labels[best[0][1]])}, ${percent(best[0][0])}` : "";
    this.slider.setAttribute("aria-valuetext", `${seconds} seconds${text}`);
  }

  drawSentence(step) {
    const letters = this.runs.filter((run) => run.first < step).map((run) => this.labels[run.label]).join("");
    const whole = step >= this.steps && this.reading.last;
    const text = whole ? (this.reading.grammar ?? this.reading.greedy).text : letters.trim();
    if (this.part("so-far").textContent !== text) this.part("so-far").textContent = text || "…";
    // Words appear while it plays. Else all are there, to be chosen.
    for (const word of this.root.querySelectorAll(".live-word"))
      word.classList.toggle("live-later", Boolean(this.playing) && Number(word.dataset.last) >= step);
  }

  // The words of one decoder under the frames that they were read from.
  drawWords(decoder) {
    const row = this.part(decoder);
    const reading = this.reading[decoder];
    row.parentElement.hidden = !reading;
    if (!reading) return row.replaceChildren();
    const other = this.reading[decoder === "greedy" ? "grammar" : "greedy"];
    const { pairs } = align(split(reading.text), split(other?.text ?? reading.text));
    const wide = this.part("map-box").clientWidth - GUTTER;
    const unit = (wide * this.reading.frames) / this.axis / Math.max(1, this.steps);
    const words = reading.words.map((word, i) => {
      const same = pairs[i] !== null && other ? split(other.text)[pairs[i]] === word.text : !other;
      const explained = Boolean(this.saliency?.[i]) && decoder === "greedy";
      const made = element(explained ? "button" : "span", { className: "live-word" },
        element("b", { textContent: word.text }), element("small", { textContent: percent(word.confidence) }));
      made.style.setProperty("--p", word.confidence);
      made.dataset.last = word.last;
      made.classList.toggle("live-differs", !same);
      if (explained) {
        made.type = "button";
        made.setAttribute("aria-pressed", String(this.why === i));
        made.title = `Why did it read “${word.text}”?`;
        made.addEventListener("click", () => this.explain(i));
      }
      return made;
    });
    const spans = reading.words.map((word) => {
      const made = element("i", { className: "live-span" });
      made.style.left = `${GUTTER + word.first * unit}px`;
      made.style.width = `${(word.last + 1 - word.first) * unit}px`;
      return made;
    });
    row.replaceChildren(...spans, ...words);
    const left = place(
      reading.words.map((word) => ((word.first + word.last + 1) / 2) * unit),
      words.map((word) => word.offsetWidth), wide, 3,
    );
    words.forEach((word, i) => (word.style.left = `${GUTTER + left[i]}px`));
    return undefined;
  }

  // Show the saliency of a word of the greedy reading, or no longer.
  explain(i) {
    this.stop();
    this.why = this.why === i ? null : i;
    const word = this.reading.greedy.words[i];
    this.root.querySelectorAll('[data-part="greedy"] button').forEach((button, k) =>
      button.setAttribute("aria-pressed", String(this.why === k)));
    this.part("why").textContent = this.why === null ? ""
      : `Why “${word.text}”? The probabilities of its letters depend most on the colored pixels. ` +
        "Move the time: the colors change.";
    const middle = ((word.first + word.last) / 2 / this.steps) * this.reading.frames;
    this.go(this.why === null ? this.time : middle);
  }
}
