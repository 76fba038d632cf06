// Connectionist temporal classification in plain numbers: the computations of the CTC explorer, in natural logarithms.
//
// A frame is an array of V log probabilities, class 0 is the blank, a label is an array of classes. The functions
// agree with lessons.ctc (forward_backward, ctc_loss, greedy_decode, beam_search_decode) to 1e-9; the tests
// compare them. Source: Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal classification", 2006.

const NEVER = -Infinity; // log 0

/** log(sum of exp(x)) of an array; log 0 for an empty one. */
export function logSumExp(x) {
  let top = NEVER, sum = 0;
  for (const value of x) top = Math.max(top, value);
  if (top === NEVER) return NEVER;
  for (const value of x) sum += Math.exp(value - top);
  return top + Math.log(sum);
}

/** The label that a path spells: merge equal neighbors, then drop the blanks. */
export function collapse(path) {
  return path.filter((k, t) => k !== 0 && k !== path[t - 1]);
}

/** The fewest frames that can spell a label: its length, and a blank between each equal pair. */
export function minFrames(label) {
  return label.length + label.filter((k, i) => k === label[i - 1]).length;
}

/** The extended label, S = 2L+1 states: a blank before, between and after the labels. */
export function extend(label) {
  return [0, ...label.flatMap((k) => [k, 0])];
}

/** Whether a path may move from state `from` to state `to` (stay, step, or jump over a blank). */
export function mayMove(states, from, to) {
  return to === from || to === from + 1 || (to === from + 2 && states[to] !== 0 && states[to] !== states[from]);
}

/** Throw a RangeError unless the frames hold log probabilities and the label fits their classes. */
export function check(frames, label = []) {
  if (!frames.length) throw new RangeError("frames is empty: expected at least one frame");
  const classes = frames[0].length;
  frames.forEach((frame, t) => {
    const sum = frame.reduce((total, x) => total + Math.exp(x), 0);
    if (frame.length !== classes || !(Math.abs(sum - 1) <= 0.01))
      throw new RangeError(`frame ${t}: expected ${classes} log probabilities that sum to 1, found a sum of ${sum}`);
  });
  label.forEach((k, i) => {
    if (!Number.isInteger(k) || k < 1 || k >= classes)
      throw new RangeError(`label ${k} at position ${i}: expected a class from 1 to ${classes - 1}`);
  });
}

/**
 * The forward-backward algorithm for one label.
 *
 * Returns {states (S), alpha (T, S), beta (T, S), logLikelihood, loss, posteriors (T, S), occupancy (T, V),
 * gradient (T, V), flow}. alpha counts its frame, beta does not. The gradient is that of the loss at the logits:
 * softmax minus occupancy, and 0 where the loss is infinite. flow[t] lists the moves from frame t to t+1 as
 * {from, to, p}, p the probability of the move given the label.
 */
export function forwardBackward(frames, label) {
  check(frames, label);
  const states = extend(label), last = frames.length - 1, S = states.length;
  const row = (fill) => states.map((_, s) => fill(s));
  const alpha = [row((s) => (s < 2 ? frames[0][states[s]] : NEVER))];
  for (let t = 1; t <= last; t++)
    alpha.push(row((s) => {
      const before = [s - 2, s - 1, s].filter((from) => from >= 0 && mayMove(states, from, s));
      return logSumExp(before.map((from) => alpha[t - 1][from])) + frames[t][states[s]];
    }));
  const beta = Array(last + 1);
  beta[last] = row((s) => (s >= S - 2 ? 0 : NEVER));
  for (let t = last - 1; t >= 0; t--)
    beta[t] = row((s) => {
      const after = [s, s + 1, s + 2].filter((to) => to < S && mayMove(states, s, to));
      return logSumExp(after.map((to) => frames[t + 1][states[to]] + beta[t + 1][to]));
    });
  const logLikelihood = logSumExp(alpha[last].slice(-2));
  const possible = logLikelihood > NEVER;
  const given = (x) => (possible ? Math.exp(x - logLikelihood) : 0);
  const posteriors = frames.map((_, t) => row((s) => given(alpha[t][s] + beta[t][s])));
  const occupancy = frames.map((frame, t) =>
    frame.map((_, k) => states.reduce((sum, state, s) => (state === k ? sum + posteriors[t][s] : sum), 0)));
  const gradient = frames.map((frame, t) => frame.map((x, k) => (possible ? Math.exp(x) - occupancy[t][k] : 0)));
  const flow = frames.slice(1).map((frame, t) => {
    const moves = [];
    for (let from = 0; from < S; from++)
      for (let to = from; to < Math.min(from + 3, S); to++)
        if (mayMove(states, from, to))
          moves.push({ from, to, p: given(alpha[t][from] + frame[states[to]] + beta[t + 1][to]) });
    return moves;
  });
  const loss = possible ? -logLikelihood : Infinity;
  return { states, alpha, beta, logLikelihood, loss, posteriors, occupancy, gradient, flow };
}

/** The number of paths of `frames` frames that spell the label. */
export function countPaths(frames, label) {
  const states = extend(label);
  let ways = states.map((_, s) => (s < 2 ? 1 : 0));
  for (let t = 1; t < frames; t++)
    ways = states.map((_, s) => ways.reduce((sum, n, from) => (mayMove(states, from, s) ? sum + n : sum), 0));
  return ways.slice(-2).reduce((sum, n) => sum + n, 0);
}

// The more probable first; equal ones (to 1e-12) by their classes, the smaller first, a prefix before what follows it.
function byScore(name) {
  return (a, b) => {
    if (Math.abs(a.score - b.score) > 1e-12) return b.score - a.score;
    const [x, y] = [a[name], b[name]];
    const i = x.findIndex((k, at) => k !== y[at]);
    return i < 0 ? x.length - y.length : i >= y.length ? 1 : x[i] - y[i];
  };
}

/** The `count` most probable paths that spell the label: {path, score}, score its log probability, best first. */
export function pathsOf(frames, label, count) {
  check(frames, label);
  const states = extend(label);
  const best = (paths) => paths.filter(({ score }) => score > NEVER).sort(byScore("path")).slice(0, count);
  let found = states.map((k, s) => best(s < 2 ? [{ path: [k], score: frames[0][k] }] : [])); // for each state
  for (const frame of frames.slice(1))
    found = states.map((k, s) =>
      best(
        [s, s - 1, s - 2]
          .filter((from) => from >= 0 && mayMove(states, from, s))
          .flatMap((from) => found[from])
          .map(({ path, score }) => ({ path: [...path, k], score: score + frame[k] })),
      ));
  return best(found.slice(-2).flat());
}

/** The `count` most probable of all paths: {path, score}, best first. Exact, since the frames are independent. */
export function likeliestPaths(frames, count) {
  check(frames);
  let best = [{ path: [], score: 0 }];
  for (const frame of frames)
    best = best
      .flatMap(({ path, score }) => frame.map((x, k) => ({ path: [...path, k], score: score + x })))
      .filter(({ score }) => score > NEVER)
      .sort(byScore("path"))
      .slice(0, count);
  return best;
}

/** Best path decoding: {path, label}. Of equal classes in a frame the first is taken, as torch's argmax does. */
export function greedy(frames) {
  check(frames);
  const path = frames.map((frame) => frame.indexOf(Math.max(...frame)));
  return { path, label: collapse(path) };
}

/**
 * Prefix beam search: the beam after each frame, each a list of {label, score}, best first.
 *
 * score is the log probability of the prefix's paths that the beam kept. Of equal scores (to 1e-12) the label with
 * the smaller classes comes first, and a prefix before what follows it; lessons.ctc may keep another of them when
 * they tie for the last place in the beam.
 */
export function beamSearch(frames, width) {
  check(frames);
  if (!Number.isInteger(width) || width < 1) throw new RangeError(`width is ${width}: expected an integer from 1`);
  let beam = [{ label: [], afterBlank: 0, afterLabel: NEVER }];
  return frames.map((frame) => {
    const found = new Map();
    const add = (label, part, score) => {
      const key = label.join();
      if (!found.has(key)) found.set(key, { label, afterBlank: NEVER, afterLabel: NEVER });
      found.get(key)[part] = logSumExp([found.get(key)[part], score]);
    };
    for (const { label, afterBlank, afterLabel } of beam) {
      const held = label.at(-1), both = logSumExp([afterBlank, afterLabel]);
      add(label, "afterBlank", both + frame[0]);
      if (label.length) add(label, "afterLabel", afterLabel + frame[held]);
      for (let k = 1; k < frame.length; k++) // the same label again is a new one only after a blank
        add([...label, k], "afterLabel", (k === held ? afterBlank : both) + frame[k]);
    }
    beam = [...found.values()]
      .map((prefix) => ({ ...prefix, score: logSumExp([prefix.afterBlank, prefix.afterLabel]) }))
      .filter(({ score }) => score > NEVER)
      .sort(byScore("label"))
      .slice(0, width);
    return beam.map(({ label, score }) => ({ label, score }));
  });
}

/** The frames after one step of gradient descent on their logits; `rate` is the learning rate. */
export function descend(frames, gradient, rate) {
  return frames.map((frame, t) => {
    const logits = frame.map((x, k) => x - rate * gradient[t][k]);
    const total = logSumExp(logits);
    return logits.map((x) => x - total);
  });
}
