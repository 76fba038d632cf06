// From the model's output to text: best path, beam search in GRID's grammar, alignment, words.
// The same algorithms, in the same order of operations, as lessons/ctc/decode.py, language_models.py and
// forward_backward.py; tests/live/test_decode.py compares the two.
//
// Shapes: logProbs is a Float32Array of T rows of V classes, row by row; class 0 is the blank.

export const BLANK = 0;
const NEVER = -Infinity;
const BEAM = 50; // prefixes kept, as beam_search_decode

/** (T * V) logits -> (T * V) log-probabilities of the classes. */
export function logSoftmax(logits, V) {
  const out = new Float32Array(logits.length);
  for (let row = 0; row < logits.length; row += V) {
    let most = NEVER;
    for (let c = 0; c < V; c++) most = Math.max(most, logits[row + c]);
    let sum = 0;
    for (let c = 0; c < V; c++) sum += Math.exp(logits[row + c] - most);
    const total = most + Math.log(sum);
    for (let c = 0; c < V; c++) out[row + c] = logits[row + c] - total;
  }
  return out;
}

/** The best class of each of T rows: the CTC path that greedy decoding collapses. */
export function bestPath(logProbs, V) {
  const path = [];
  for (let row = 0; row < logProbs.length; row += V) {
    let best = 0;
    for (let c = 1; c < V; c++) if (logProbs[row + c] > logProbs[row + best]) best = c;
    path.push(best);
  }
  return path;
}

/** Merge equal neighbors, then drop blanks. */
export function collapse(path) {
  return path.filter((label, t) => label !== BLANK && label !== path[t - 1]);
}

/** Labels -> text; symbols is the alphabet without the blank. */
export function spell(labels, symbols) {
  return labels.map((label) => symbols[label - 1]).join("");
}

/**
 * GRID's sentences as an automaton: a state is a slot and the letters of its word that were read.
 * Every sentence has the same probability; a letter's is the fraction of the slot's words that go on with it.
 */
export class Grammar {
  /** slots: lists of words, one per word of a sentence; symbols: the alphabet without the blank. */
  constructor(slots, symbols) {
    this.slots = slots;
    this.symbols = symbols;
    this.counts = slots.map((words) => {
      const count = new Map(); // beginning of a word -> how many words of the slot begin so
      for (const word of words) {
        for (let n = 0; n <= word.length; n++) {
          const start = word.slice(0, n);
          count.set(start, (count.get(start) ?? 0) + 1);
        }
      }
      return count;
    });
    this.states = []; // {slot, read, arcs, end}
    this.numbers = new Map();
    this.number(0, "");
  }

  number(slot, read) {
    const key = `${slot} ${read}`;
    if (!this.numbers.has(key)) {
      this.numbers.set(key, this.states.length);
      this.states.push({ slot, read, arcs: null });
    }
    return this.numbers.get(key);
  }

  /** [label, log p, the state after it] of each label that is allowed in a state, in the order of labels. */
  arcs(state) {
    const { slot, read, arcs } = this.states[state];
    if (arcs) return arcs;
    const count = this.counts[slot];
    const found = [];
    for (let i = 0; i < this.symbols.length; i++) {
      const character = this.symbols[i];
      if (character === " " && this.slots[slot].includes(read) && slot + 1 < this.slots.length) {
        found.push([i + 1, -Math.log(count.get(read)), this.number(slot + 1, "")]);
      } else if (count.has(read + character)) {
        const logProb = Math.log(count.get(read + character) / count.get(read));
        found.push([i + 1, logProb, this.number(slot, read + character)]);
      }
    }
    return (this.states[state].arcs = found);
  }

  /** log p(the sentence ends here). */
  end(state) {
    const { slot, read } = this.states[state];
    const last = slot + 1 === this.slots.length && this.slots[slot].includes(read);
    return last ? -Math.log(this.counts[slot].get(read)) : NEVER;
  }

  /** Whether a text is a sentence of the grammar. */
  accepts(text) {
    const words = text.split(" ");
    return words.length === this.slots.length && words.every((word, i) => this.slots[i].includes(word));
  }
}

/**
 * The labels of the most probable sentence of a grammar, by prefix beam search; where no kept prefix may end,
 * of the most probable path that the grammar allows. null where no sentence fits into T rows.
 */
export function grammarDecode(logProbs, V, grammar) {
  const T = logProbs.length / V;
  const root = { parent: null, label: BLANK, children: new Map() };
  let beam = [{ node: root, state: 0, last: BLANK, blank: 0, label: NEVER, bonus: 0 }];
  for (let t = 0; t < T && beam.length; t++) {
    const at = t * V;
    const row = new Map(beam.map((prefix, i) => [prefix.node, i]));
    const stays = beam.map((prefix) => {
      const both = logAdd(prefix.blank, prefix.label);
      return {
        ...prefix,
        both,
        blank: both + logProbs[at + BLANK],
        label: prefix.label + logProbs[at + prefix.last],
        before: prefix.blank,
      };
    });
    const merged = new Set(); // grown prefixes that are in the beam already
    for (const prefix of stays) {
      const i = row.get(prefix.node.parent);
      if (i === undefined) continue;
      const mother = stays[i];
      const start = prefix.last === mother.last ? mother.before : mother.both;
      prefix.label = logAdd(prefix.label, start + logProbs[at + prefix.last]);
      merged.add(i * V + prefix.last);
    }
    const next = [];
    for (const prefix of stays) {
      next.push({ score: logAdd(prefix.blank, prefix.label) + prefix.bonus, prefix });
    }
    stays.forEach((prefix, i) => {
      for (const [label, logProb, after] of grammar.arcs(prefix.state)) {
        if (merged.has(i * V + label)) continue;
        const start = label === prefix.last ? prefix.before : prefix.both;
        const grown = start + logProbs[at + label];
        next.push({ score: grown + logProb + prefix.bonus, prefix, label, grown, logProb, after });
      }
    });
    const kept = next.filter(({ score }) => score > NEVER);
    if (kept.length > BEAM) {
      kept.sort((a, b) => b.score - a.score);
      kept.length = BEAM;
    }
    beam = kept.map(({ prefix, label, grown, logProb, after }) => {
      if (label === undefined) {
        const { node, state, last, blank, label: held, bonus } = prefix;
        return { node, state, last, blank, label: held, bonus };
      }
      let node = prefix.node.children.get(label);
      if (!node) {
        node = { parent: prefix.node, label, children: new Map() };
        prefix.node.children.set(label, node);
      }
      return { node, state: after, last: label, blank: NEVER, label: grown, bonus: prefix.bonus + logProb };
    });
  }
  let best = null;
  for (const prefix of beam) {
    const score = logAdd(prefix.blank, prefix.label) + prefix.bonus + grammar.end(prefix.state);
    if (score > NEVER && (best === null || score > best.score)) best = { score, node: prefix.node };
  }
  if (best === null) return bestAllowedPath(logProbs, V, grammar);
  const labels = [];
  for (let node = best.node; node.parent; node = node.parent) labels.push(node.label);
  return labels.reverse();
}

/** Viterbi over pairs (state of the grammar, class of the row): the labels of the best path that may end. */
function bestAllowedPath(logProbs, V, grammar) {
  let best = new Map([[BLANK, { state: 0, held: BLANK, score: 0, chain: null }]]);
  for (let at = 0; at < logProbs.length; at += V) {
    const next = new Map();
    const move = (state, held, score, chain) => {
      const key = state * V + held;
      const known = next.get(key);
      if (score > (known ? known.score : NEVER)) next.set(key, { state, held, score, chain });
    };
    for (const { state, held, score, chain } of best.values()) {
      move(state, BLANK, score + logProbs[at + BLANK], chain);
      if (held !== BLANK) move(state, held, score + logProbs[at + held], chain);
      for (const [label, logProb, after] of grammar.arcs(state)) {
        if (label === held) continue;
        move(after, label, score + logProbs[at + label] + logProb, { before: chain, label });
      }
    }
    best = next;
  }
  let found = { score: NEVER, chain: null };
  for (const { state, score, chain } of best.values()) {
    if (score + grammar.end(state) > found.score) found = { score: score + grammar.end(state), chain };
  }
  if (found.score === NEVER) return null;
  const labels = [];
  for (let chain = found.chain; chain; chain = chain.before) labels.push(chain.label);
  return labels.reverse();
}

/** log(exp(a) + exp(b)). */
function logAdd(a, b) {
  if (a === b) return a + Math.LN2;
  return a > b ? a + Math.log1p(Math.exp(b - a)) : b + Math.log1p(Math.exp(a - b));
}

/**
 * The rows [first, one past the last] of each label on the most probable path that spells them (Viterbi, in
 * float32 as torch does it).
 */
export function align(logProbs, V, labels) {
  const T = logProbs.length / V;
  const S = 2 * labels.length + 1;
  const states = Array.from({ length: S }, (_, s) => (s % 2 ? labels[(s - 1) / 2] : BLANK));
  let best = new Float32Array(S).fill(NEVER);
  for (let s = 0; s < Math.min(2, S); s++) best[s] = logProbs[states[s]];
  const back = new Uint8Array(T * S);
  for (let t = 1; t < T; t++) {
    const next = new Float32Array(S);
    for (let s = 0; s < S; s++) {
      let most = best[s];
      let step = 0;
      if (s >= 1 && best[s - 1] > most) [most, step] = [best[s - 1], 1];
      if (s >= 2 && states[s] !== states[s - 2] && best[s - 2] > most) [most, step] = [best[s - 2], 2];
      next[s] = most + logProbs[t * V + states[s]];
      back[t * S + s] = step;
    }
    best = next;
  }
  let s = S - 1;
  if (s > 0 && best[s - 1] >= best[s]) s--;
  if (best[s] === NEVER) throw new Error("align: no path of these rows spells the labels");
  const spans = labels.map(() => [T, 0]);
  for (let t = T - 1; t >= 0; t--) {
    if (s % 2) {
      const span = spans[(s - 1) / 2];
      span[0] = t;
      span[1] = Math.max(span[1], t + 1);
    }
    s -= back[t * S + s];
  }
  return spans;
}

/**
 * The words of labels, where each is spoken and how sure it is.
 *
 * Returns {text, words: [{text, first, last, confidence}]}: first and last row of its letters, both included;
 * confidence is the mean over its letters of the probability each has in its best row, 0 to 1.
 */
export function findWords(logProbs, V, labels, symbols) {
  const text = spell(labels, symbols);
  if (!labels.length) return { text, words: [] };
  const spans = align(logProbs, V, labels);
  const words = [];
  let first = 0;
  for (const word of text.split(" ")) {
    if (word) {
      let sum = 0;
      for (let i = first; i < first + word.length; i++) {
        let best = NEVER;
        for (let t = spans[i][0]; t < spans[i][1]; t++) best = Math.max(best, logProbs[t * V + labels[i]]);
        sum += Math.exp(best);
      }
      const last = spans[first + word.length - 1][1] - 1;
      words.push({ text: word, first: spans[first][0], last, confidence: sum / word.length });
    }
    first += word.length + 1; // the space
  }
  return { text, words };
}
