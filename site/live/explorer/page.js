// The CTC explorer's page: what the reader sets on one side, all that follows from it on the other.
import * as ctc from "./ctc.js";

const MAX_FRAMES = 8, LISTED = 6, RATE = 1, STEPS = 10; // paths listed; learning rate and steps of the button
const BLANK = "-";

// What the reader may set. probs is (T, V): per frame the probabilities of the blank and of each letter.
let state;
let result;

const panel = (name) => document.getElementById(`ctc-${name}`);
const symbol = (k) => (k === 0 ? BLANK : state.letters[k - 1]);
const said = (k) => (k === 0 ? "blank" : symbol(k));
const spell = (classes) => classes.map(symbol).join("");
const quoted = (label) => (label.length ? `“${spell(label)}”` : "the empty text");
const encode = (text) => [...text].map((letter) => state.letters.indexOf(letter) + 1);
const logs = (probs) => probs.map((row) => row.map(Math.log));

/** A probability in few digits. */
function digits(p) {
  return p === 0 ? "0" : p < 0.0005 ? p.toExponential(1) : p.toFixed(3);
}

/** An element from its HTML, which holds only letters a to z and numbers of ours. */
function html(text) {
  const template = document.createElement("template");
  template.innerHTML = text.trim();
  return template.content.firstElementChild;
}

// Presets: one lesson each. The last two are one training, before and after it.

const even = (rows, letters) => rows.map(() => Array(letters.length + 1).fill(1 / (letters.length + 1)));

function plateau() {
  return Array.from({ length: MAX_FRAMES }, (_, t) => {
    const [a, b] = [t === 2 ? 0.12 : 0.08, t === 5 ? 0.12 : 0.08];
    return [1 - a - b, a, b];
  });
}

function trained(probs, target, steps) {
  let frames = logs(probs);
  for (let i = 0; i < steps; i++) frames = ctc.descend(frames, ctc.forwardBackward(frames, target).gradient, RATE);
  return frames.map((row) => row.map(Math.exp));
}

const PRESETS = {
  "Greedy is wrong": {
    letters: "ab", target: "a", width: 4,
    probs: () => [[0.5, 0.4, 0.1], [0.5, 0.4, 0.1]],
    lesson: "The most probable path is two blanks, but three paths spell “a”, and together they have more than " +
      "twice its probability. Set the beam width to 1: beam search is now wrong, too.",
  },
  "A repeated letter": {
    letters: "ab", target: "aa", width: 4,
    probs: () => Array(5).fill([0.1, 0.85, 0.05]),
    lesson: "Every frame says “a”, so both decoders answer “a”. Only a blank between two letters makes them “aa”, " +
      "and the gradient raises the blank in the middle frames.",
  },
  "An impossible target": {
    letters: "ab", target: "aab", width: 4,
    probs: () => even(Array(3).fill(0), "ab"),
    lesson: "“aab” has three letters, but needs four frames: one for the blank between the equal letters. No path " +
      "leads from the start to the end, so the probability is 0, the loss infinite, and the gradient set to 0. " +
      "Add a frame.",
  },
  "The blank plateau": {
    letters: "ab", target: "ab", width: 4, probs: plateau,
    lesson: "Early in a training the blank wins in every frame. The occupancy still spreads over many paths. Take " +
      "gradient steps with the button under the gradient, and watch peaks form.",
  },
  "Peaks after training": {
    letters: "ab", target: "ab", width: 4, probs: () => trained(plateau(), [1, 2], 100),
    lesson: "The blank plateau after 100 gradient steps. A letter has a few frames, the blank has the rest. " +
      "One path has most of the probability, and the gradient is almost 0.",
  },
};

// Setting

/** The probabilities of one frame with that of class k set to p; the others keep their ratios. */
function withProbability(row, k, p) {
  const rest = row.reduce((sum, x, i) => (i === k ? sum : sum + x), 0);
  return row.map((x, i) => (i === k ? p : rest > 0 ? (x / rest) * (1 - p) : (1 - p) / (row.length - 1)));
}

/** What is wrong with letters and a target, or "". */
function fault(letters, target) {
  if (!/^[a-z]{2,4}$/.test(letters) || new Set(letters).size < letters.length)
    return `Letters: found “${letters}”, expected 2 to 4 different letters from a to z.`;
  const strange = [...target].find((letter) => !letters.includes(letter));
  return strange ? `Target: “${strange}” is not among the letters “${letters}”.` : "";
}

function set(changes) {
  const before = state;
  state = { ...state, ...changes };
  if (before && changes.letters && changes.letters.length !== before.letters.length) {
    const classes = changes.letters.length + 1;
    state.probs = state.probs.map((row) => {
      const kept = Array.from({ length: classes }, (_, k) => row[k] ?? 1 / classes);
      const total = kept.reduce((sum, p) => sum + p, 0);
      return kept.map((p) => (total > 0 ? p / total : 1 / classes));
    });
  }
  draw();
}

function choose(name) {
  const { letters, target, width, probs, lesson } = PRESETS[name];
  set({ letters, target, width, probs: probs() });
  panel("letters").value = letters;
  panel("target").value = target;
  panel("width").value = width;
  panel("frames").value = state.probs.length;
  panel("lesson").textContent = lesson;
  panel("fault").textContent = "";
  for (const button of panel("presets").children) button.setAttribute("aria-pressed", button.textContent === name);
}

function setUp() {
  panel("setup").append(
    html(`<div id="ctc-presets" role="group" aria-label="Examples"></div>`),
    html(`<p id="ctc-lesson" role="status"></p>`),
    html(`<div class="ctc-fields">
      <label>letters <input id="ctc-letters" size="4" maxlength="4" autocapitalize="off" autocomplete="off"></label>
      <label>target <input id="ctc-target" size="8" maxlength="8" autocapitalize="off" autocomplete="off"></label>
      <label>frames <input id="ctc-frames" type="number" min="1" max="${MAX_FRAMES}"></label>
      <label>beam width <input id="ctc-width" type="number" min="1" max="8"></label>
    </div>`),
    html(`<p id="ctc-fault" role="alert"></p>`),
  );
  for (const name of Object.keys(PRESETS)) {
    const button = html(`<button type="button"></button>`);
    button.textContent = name;
    button.onclick = () => choose(name);
    panel("presets").append(button);
  }
  const words = () => {
    const [letters, target] = [panel("letters").value, panel("target").value];
    const wrong = fault(letters, target);
    panel("fault").textContent = wrong;
    if (!wrong) set({ letters, target });
  };
  panel("letters").oninput = panel("target").oninput = words;
  const integer = (field, use) => {
    field.oninput = () => {
      if (field.value !== "" && field.validity.valid) use(Number(field.value));
    };
    field.onblur = () => {
      panel("frames").value = state.probs.length;
      panel("width").value = state.width;
    };
  };
  integer(panel("width"), (width) => set({ width }));
  integer(panel("frames"), (count) => {
    const more = even(Array(Math.max(0, count - state.probs.length)).fill(0), state.letters);
    set({ probs: [...state.probs.slice(0, count), ...more] });
  });
}

// The probabilities: bars to draw on, and a field for each

/** Rows of classes, columns of frames; cell(t, k) gives the HTML of a cell. */
function grid(cell) {
  const head = state.probs.map((_, t) => `<span class="ctc-head">${t}</span>`).join("");
  const row = (k) => `<span class="ctc-name">${symbol(k)}</span>` + state.probs.map((_, t) => cell(t, k)).join("");
  return `<div class="ctc-grid" style="--frames: ${state.probs.length}">
    <span class="ctc-head">frame</span>${head}${state.probs[0].map((_, k) => row(k)).join("")}</div>`;
}

function drawProbabilities() {
  const shape = `${state.probs.length} ${state.letters}`;
  const here = panel("probabilities");
  if (here.dataset.shape !== shape) {
    here.dataset.shape = shape;
    here.replaceChildren(html(grid((t, k) => `<span class="ctc-cell" data-frame="${t}" data-class="${k}">
      <span class="ctc-bar"><span></span></span>
      <input type="number" min="0" max="1" step="0.05" aria-label="probability of ${said(k)} in frame ${t}">
    </span>`)));
  }
  for (const cell of here.querySelectorAll(".ctc-cell")) {
    const row = state.probs[cell.dataset.frame], k = Number(cell.dataset.class);
    cell.firstElementChild.firstElementChild.style.height = `${100 * row[k]}%`;
    cell.classList.toggle("ctc-most", result.greedy.path[cell.dataset.frame] === k);
    const field = cell.lastElementChild;
    if (field !== document.activeElement) field.value = row[k].toFixed(2);
  }
}

function listen() {
  const here = panel("probabilities");
  // Class k of frame t gets probability p; the others' ratios are those of `row`.
  const put = (t, k, p, row) =>
    set({ probs: state.probs.map((old, i) => (i === t ? withProbability(row, k, p) : old)) });
  let drag = null; // the class that is drawn, and the probabilities before: a bar at 1 must not lose the ratios
  const move = (event) => {
    if (!drag) return;
    const bars = here.querySelectorAll(`[data-class="${drag.k}"] > .ctc-bar`);
    const boxes = [...bars].map((bar) => bar.getBoundingClientRect());
    const under = boxes.findIndex((box) => event.clientX <= box.right);
    const t = under < 0 ? boxes.length - 1 : under;
    const p = Math.min(1, Math.max(0, (boxes[t].bottom - event.clientY) / boxes[t].height));
    put(t, drag.k, Math.round(100 * p) / 100, drag.before[t]);
  };
  here.addEventListener("pointerdown", (event) => {
    const bar = event.target.closest(".ctc-bar");
    if (!bar) return;
    event.preventDefault();
    here.setPointerCapture(event.pointerId);
    drag = { k: Number(bar.parentElement.dataset.class), before: state.probs };
    move(event);
  });
  here.addEventListener("pointermove", move);
  for (const end of ["pointerup", "pointercancel"]) here.addEventListener(end, () => { drag = null; });
  here.addEventListener("input", (event) => {
    const { frame, class: k } = event.target.parentElement.dataset;
    const p = Number(event.target.value);
    if (event.target.value !== "" && p >= 0 && p <= 1) put(Number(frame), Number(k), p, state.probs[frame]);
  });
  here.addEventListener("focusout", (event) => {
    const { frame, class: k } = event.target.parentElement.dataset;
    if (event.target.matches("input")) event.target.value = state.probs[frame][k].toFixed(2);
  });
}

// What follows from them

function drawLoss() {
  const { exact, label } = result;
  const count = ctc.countPaths(state.probs.length, label);
  const text = exact.loss < Infinity
    ? `p(${quoted(label)}) = <strong>${digits(Math.exp(-exact.loss))}</strong>, the sum over ${count} ` +
      `path${count === 1 ? "" : "s"}; loss −ln p = <strong>${exact.loss.toFixed(3)}</strong>`
    : `p(${quoted(label)}) = <strong>0</strong>: ` + (count
      ? "every path that spells it has a probability of 0"
      : `no path of ${state.probs.length} frames spells it, it needs ${ctc.minFrames(label)}`) +
      "; loss <strong>∞</strong>";
  panel("loss").innerHTML = `<p role="status">${text}</p>`;
}

/** What of the trellis depends on the size only: arrows, dots and names. Kept until that changes. */
function trellisBase({ structure }, width) {
  const names = 52, high = 30, top = 14; // pixels: for the names of the states, per state, above the first
  const T = state.probs.length, S = structure.states.length;
  const x = (t) => names + ((width - names) / T) * (t + 0.5), y = (s) => top + high * s;
  const line = (t, { from, to }) => {
    const [dx, dy] = [x(t + 1) - x(t), y(to) - y(from)], cut = 5 / Math.hypot(dx, dy); // ends short of the dots
    const ends = { x1: x(t) + dx * cut, y1: y(from) + dy * cut, x2: x(t + 1) - dx * cut, y2: y(to) - dy * cut };
    return Object.entries(ends).map(([name, value]) => `${name}="${value.toFixed(1)}"`).join(" ");
  };
  const arrow = (id, kind) => `<marker id="${id}" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6"
    orient="auto" markerUnits="userSpaceOnUse"><path class="${kind}" d="M0 0L6 3L0 6z"/></marker>`;
  const moves = structure.flow.flatMap((from, t) => from.map((move) => (move.p > 0
    ? `<line class="ctc-move" ${line(t, move)} marker-end="url(#ctc-arrow)"/>`
    : `<line class="ctc-dead" ${line(t, move)} marker-end="url(#ctc-arrow-dead)"/>`)));
  const rows = structure.states.map((k, s) =>
    `<text x="${names - 14}" y="${y(s) + 5}" text-anchor="end">${symbol(k)}</text>` +
    state.probs.map((_, t) => `<circle class="ctc-dot" cx="${x(t)}" cy="${y(s)}" r="2"/>`).join(""));
  panel("trellis").innerHTML = `<svg role="img" width="${width}" height="${y(S - 1) + top}"><defs>
    ${arrow("ctc-arrow", "ctc-head-on")}${arrow("ctc-arrow-dead", "ctc-head-dead")}</defs>
    <g></g><g>${moves.join("")}${rows.join("")}</g><g></g></svg>`;
  return { x, y, line };
}

let base = {}; // what trellisBase returned, and for what

function drawTrellis() {
  const { exact, label } = result, width = Math.max(280, panel("trellis").clientWidth);
  const key = [width, state.probs.length, state.letters, state.target].join();
  if (base.key !== key) base = { key, ...trellisBase(result, width) };
  const { x, y, line } = base;
  const flows = exact.flow.flatMap((moves, t) => moves
    .filter(({ p }) => p > 0.001)
    .map((move) => `<line class="ctc-flow" ${line(t, move)} stroke-width="${(1 + 7 * move.p).toFixed(2)}"/>`));
  const circles = exact.posteriors.flatMap((row, t) => row.map((p, s) => (p > 0.0001
    ? `<circle class="ctc-occupied" cx="${x(t)}" cy="${y(s)}" r="${(13 * Math.sqrt(p)).toFixed(2)}">
      <title>${digits(p)}</title></circle>` : "")));
  const most = exact.posteriors.map((row) => symbol(exact.states[row.indexOf(Math.max(...row))])).join(" ");
  const told = exact.loss < Infinity ? `The most occupied states, frame by frame: ${most}.` : "No path reaches the end.";
  const svg = panel("trellis").firstElementChild, [behind, , front] = svg.querySelectorAll("g");
  behind.innerHTML = flows.join("");
  front.innerHTML = circles.join("");
  svg.setAttribute("aria-label", `Trellis of ${quoted(label)}. ${told}`);
}

function table(head, rows, name) {
  return `<div class="ctc-scroll" role="region" tabindex="0" aria-label="${name}"><table><thead><tr>
    ${head.map((cell) => `<th scope="col">${cell}</th>`).join("")}</tr></thead><tbody>
    ${rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("")}</tbody></table></div>`;
}

function drawPaths() {
  const { label, paths, likeliest, exact } = result;
  const code = (path) => `<code>${spell(path)}</code>`;
  const all = likeliest.map(({ path, score }) => {
    const text = ctc.collapse(path), same = text.join() === label.join();
    return [code(path), (text.length ? code(text) : "<em>empty</em>") + (same ? " ✓" : ""), digits(Math.exp(score))];
  });
  const ours = paths.map(({ path, score }) => [code(path), digits(Math.exp(score)),
    `${(100 * Math.exp(score - exact.logLikelihood)).toFixed(0)} %`]);
  panel("paths").innerHTML = `<div class="ctc-pair">
    <div><p><strong>Of all paths</strong></p>${table(["path", "spells", "p"], all, "The most probable paths")}</div>
    <div><p><strong>Of those that spell ${quoted(label)}</strong></p>${ours.length
      ? table(["path", "p", "of the sum"], ours, "The most probable paths of the target")
      : "<p>None has a probability above 0.</p>"}</div></div>`;
}

function drawDecoders() {
  const { greedy, beams, frames, label } = result;
  const best = beams.at(-1)[0];
  const probability = (text) => digits(Math.exp(ctc.forwardBackward(frames, text).logLikelihood));
  const answer = (text) => quoted(text) + (text.join() === label.join() ? " ✓" : "");
  const rows = [
    ["greedy", answer(greedy.label), probability(greedy.label)],
    ["beam search", answer(best.label), probability(best.label)],
  ];
  const differ = greedy.label.join() !== best.label.join();
  const column = (beam, t) => `<div><span class="ctc-head">${t}</span>${beam
    .map(({ label: text, score }) => `<span><code>${spell(text) || "∅"}</code> ${digits(Math.exp(score))}</span>`)
    .join("")}</div>`;
  panel("decoders").innerHTML = `
    <p role="status">${differ ? "The two <strong>differ</strong>." : "The two agree."} Greedy's path is
    <code>${spell(greedy.path)}</code>.</p>
    ${table(["decoder", "answer", "p(answer)"], rows, "The decoders' answers")}
    <p>The beam after each frame, best first (∅: no letter yet):</p>
    <div class="ctc-scroll" role="region" tabindex="0" aria-label="The beam after each frame">
    <div class="ctc-beams">${beams.map(column).join("")}</div></div>`;
}

function drawGradient() {
  const signed = (g) => `${g < -0.005 ? "−" : ""}${Math.abs(g).toFixed(2)}`;
  panel("gradient").innerHTML = grid((t, k) => {
    const g = result.exact.gradient[t][k], size = 50 * Math.min(1, Math.abs(g));
    return `<span class="ctc-cell"><span class="ctc-signed"><span class="${g < 0 ? "ctc-raise" : "ctc-lower"}"
      style="height: ${size}%; ${g < 0 ? "top" : "bottom"}: 50%"></span></span><span>${signed(g)}</span></span>`;
  });
}

function draw() {
  const frames = logs(state.probs), label = encode(state.target);
  result = {
    frames, label,
    exact: ctc.forwardBackward(frames, label),
    structure: ctc.forwardBackward(logs(even(state.probs, state.letters)), label), // which moves some path makes
    paths: ctc.pathsOf(frames, label, LISTED),
    likeliest: ctc.likeliestPaths(frames, LISTED),
    greedy: ctc.greedy(frames),
    beams: ctc.beamSearch(frames, state.width),
  };
  for (const part of [drawProbabilities, drawLoss, drawTrellis, drawPaths, drawDecoders, drawGradient]) part();
}

setUp();
listen();
panel("step").append(html(`<button type="button">Take ${STEPS} gradient steps</button>`));
panel("step").firstElementChild.onclick = () => set({ probs: trained(state.probs, encode(state.target), STEPS) });
choose(Object.keys(PRESETS)[0]);
new ResizeObserver(drawTrellis).observe(panel("trellis"));
