// OpenCV's frontal-face detector (Viola and Jones, CVPR 2001), rewritten: the same boxes and hits as
// CascadeClassifier.detectMultiScale2 on a gray picture. FaceTracker follows one face, as lessons/data/grid/faces.py.

import { resizeArea } from "./crop.js";
import { roundHalfEven as round } from "./resample.js";

const SCALE_FACTOR = 1.1; // from one size of a face to the next
const MIN_NEIGHBORS = 5; // hits of nearly the same box that a face has at least, and one more
const GROUP_EPS = 0.2; // boxes are the same face when their edges differ by less, in widths
const DETECTION_SIDE = 288; // pixels of the shorter side, at most, of the picture that is searched
const SMALLEST_FACE = 4; // a face is at least the shorter side divided by this
const SIZE_RANGE = 1.6; // a known face is looked for up to this factor smaller or larger, before all sizes
const MIN_HITS = 0.25; // of the hits of the best face
const MAX_STEP = 0.75; // face widths from one look to the next
const PATIENCE = 5; // looks without the face; after them it may be another one, or elsewhere

export class Haar {
  /**
   * cascade: {size: [w, h], stages: [[threshold, stumps], ...], stumps: [[feature, threshold, below, above],
   * ...], features: [[x, y, w, h, weight, ...] of two or three rectangles, ...]}
   */
  constructor({ size, stages, stumps, features }) {
    [this.width, this.height] = size;
    this.stages = stages.map(([threshold, count]) => [Math.fround(threshold) - Math.fround(1e-5), count]);
    this.features = stumps.map(([feature]) => features[feature]);
    this.thresholds = Float32Array.from(stumps, (stump) => stump[1]);
    this.below = Float32Array.from(stumps, (stump) => stump[2]);
    this.above = Float32Array.from(stumps, (stump) => stump[3]);
    this.weights = new Float32Array(3 * stumps.length);
    this.features.forEach((rectangles, i) => {
      for (let k = 0; 5 * k < rectangles.length; k++) this.weights[3 * i + k] = rectangles[5 * k + 4];
    });
    this.stride = 0;
    this.offsets = new Int32Array(12 * stumps.length); // four corners of each rectangle in the table of sums
  }

  /** Faces from least to most pixels wide in a gray picture: [{x, y, width, height, hits}]. */
  detect(gray, width, height, least, most) {
    const scales = this.scales(width, height, least, most);
    if (!scales.length) return [];
    this.setStride(round(width / scales[0]) + 1);
    const hits = [];
    for (const scale of scales) this.scan(gray, width, height, scale, hits);
    return group(hits);
  }

  scales(width, height, least, most) {
    const all = [];
    for (let factor = 1; ; factor *= SCALE_FACTOR) {
      if (round(this.width * factor) > width || round(this.height * factor) > height) break;
      all.push(Math.fround(factor));
    }
    const window = (scale) => round(this.width * scale);
    const fit = all.filter((scale) => window(scale) >= least && window(scale) <= most);
    if (fit.length || !all.length) return fit;
    const distance = (scale) => (least - window(scale)) ** 2;
    return [all.reduce((best, scale) => (distance(scale) < distance(best) ? scale : best))];
  }

  setStride(stride) {
    if (stride === this.stride) return;
    this.stride = stride;
    this.features.forEach((rectangles, i) => {
      for (let k = 0; 5 * k < rectangles.length; k++) {
        const [x, y, w, h] = rectangles.slice(5 * k, 5 * k + 4);
        const at = 12 * i + 4 * k;
        this.offsets[at] = y * stride + x;
        this.offsets[at + 1] = y * stride + x + w;
        this.offsets[at + 2] = (y + h) * stride + x;
        this.offsets[at + 3] = (y + h) * stride + x + w;
      }
    });
  }

  /** Append the hits at one size: [x, y, width, height]. */
  scan(gray, width, height, scale, hits) {
    const w = round(width / scale);
    const h = round(height / scale);
    const small = resizeLinear(gray, width, height, w, h);
    const { stride } = this;
    const sums = new Int32Array(stride * (h + 1));
    const squares = new Float64Array(stride * (h + 1));
    for (let y = 0; y < h; y++) {
      let sum = 0;
      let square = 0;
      for (let x = 0; x < w; x++) {
        const value = small[y * w + x];
        sum += value;
        square += value * value;
        const at = (y + 1) * stride + x + 1;
        sums[at] = sums[at - stride] + sum;
        squares[at] = squares[at - stride] + square;
      }
    }
    const step = scale >= 2 ? 1 : 2;
    const box = [round(this.width * scale), round(this.height * scale)];
    for (let y = 0; y + this.height <= h; y += step) {
      for (let x = 0; x + this.width <= w; x += step) {
        const rejected = this.firstRejection(sums, squares, y * stride + x);
        if (rejected < 0) hits.push([round(x * scale), round(y * scale), ...box]);
        if (rejected === 0) x += step; // nothing alike is beside it
      }
    }
  }

  /** The stage that rejects the window at an offset of the tables; -1 for a face, NaN for a flat window. */
  firstRejection(sums, squares, at) {
    const { stride, offsets, weights, thresholds, below, above } = this;
    const a = at + stride + 1;
    const b = a + this.width - 2;
    const c = a + (this.height - 2) * stride;
    const d = c + this.width - 2;
    const area = (this.width - 2) * (this.height - 2);
    const sum = sums[a] - sums[b] - sums[c] + sums[d];
    const variance = area * (squares[a] - squares[b] - squares[c] + squares[d]) - sum * sum;
    if (!(variance > 0)) return NaN;
    const scale = Math.fround(1 / Math.sqrt(variance));
    if (!(area * scale < 0.1)) return NaN;
    let i = 0;
    for (let stage = 0; stage < this.stages.length; stage++) {
      const [threshold, count] = this.stages[stage];
      let total = 0;
      for (const end = i + count; i < end; i++) {
        let value = 0;
        for (let k = 3 * i; k < 3 * i + 3; k++) {
          if (weights[k] === 0) continue;
          const o = 4 * k;
          value +=
            weights[k] *
            (sums[at + offsets[o]] - sums[at + offsets[o + 1]] - sums[at + offsets[o + 2]] + sums[at + offsets[o + 3]]);
        }
        total += Math.fround(value * scale) < thresholds[i] ? below[i] : above[i];
      }
      if (total < threshold) return stage;
    }
    return -1;
  }
}

/** Hits -> faces: the mean of hits that chain together; none inside another with more hits. */
function group(hits) {
  const parents = hits.map((_, i) => i);
  const root = (i) => {
    while (parents[i] !== i) i = parents[i] = parents[parents[i]];
    return i;
  };
  for (let i = 0; i < hits.length; i++) {
    for (let j = 0; j < i; j++) if (similar(hits[i], hits[j])) parents[root(i)] = root(j);
  }
  const classes = new Map();
  hits.forEach((hit, i) => {
    const sums = classes.get(root(i)) ?? [0, 0, 0, 0, 0];
    hit.forEach((value, k) => (sums[k] += value));
    sums[4]++;
    classes.set(root(i), sums);
  });
  const faces = [...classes.values()]
    .filter((sums) => sums[4] > MIN_NEIGHBORS)
    .map(([x, y, width, height, n]) => {
      const mean = (sum) => round(Math.fround(sum * Math.fround(1 / n)));
      return { x: mean(x), y: mean(y), width: mean(width), height: mean(height), hits: n };
    });
  return faces.filter((a) => !faces.some((b) => b !== a && isInside(a, b) && b.hits > Math.max(3, a.hits)));
}

function similar(a, b) {
  const delta = GROUP_EPS * (Math.min(a[2], b[2]) + Math.min(a[3], b[3])) * 0.5;
  return (
    Math.abs(a[0] - b[0]) <= delta &&
    Math.abs(a[1] - b[1]) <= delta &&
    Math.abs(a[0] + a[2] - b[0] - b[2]) <= delta &&
    Math.abs(a[1] + a[3] - b[1] - b[3]) <= delta
  );
}

function isInside(a, b) {
  const dx = round(b.width * GROUP_EPS);
  const dy = round(b.height * GROUP_EPS);
  return (
    a.x >= b.x - dx &&
    a.y >= b.y - dy &&
    a.x + a.width <= b.x + b.width + dx &&
    a.y + a.height <= b.y + b.height + dy
  );
}

/** Bilinear resizing in integers, as cv2.resize with INTER_LINEAR_EXACT. */
export function resizeLinear(gray, width, height, w, h) {
  const columns = linear(width, w);
  const rows = linear(height, h);
  const wide = new Uint16Array(w * height); // 1/256 of a gray level
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < w; x++) {
      const at = y * width + columns.at[x];
      const part = columns.part[x];
      wide[y * w + x] = part ? gray[at] * (256 - part) + gray[at + 1] * part : gray[at] * 256;
    }
  }
  const out = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) {
    const part = rows.part[y];
    const above = rows.at[y] * w;
    const under = part ? above + w : above;
    for (let x = 0; x < w; x++) {
      out[y * w + x] = (wide[above + x] * (256 - part) + wide[under + x] * part + 32768) >>> 16;
    }
  }
  return out;
}

function linear(length, n) {
  const at = new Int32Array(n);
  const part = new Int32Array(n); // of the next pixel, in 1/256
  const step = length / n;
  for (let i = 0; i < n; i++) {
    const place = step * (i + 0.5) - 0.5;
    const first = Math.floor(place);
    if (first < 0) continue;
    at[i] = Math.min(first, length - 1);
    if (first < length - 1) part[i] = round((place - first) * 256);
  }
  return { at, part };
}

/** The face of one person, from look to look: the largest at first, then the one nearest to the last. */
export class FaceTracker {
  constructor(haar) {
    this.haar = haar;
    this.looks = 0;
    this.found = 0;
    this.crowded = 0; // looks that found other faces too
    this.last = null; // {x, y, width}: its center and width
    this.hits = 0;
    this.missed = 0;
  }

  /** The next frame looked at -> {face: {x, y, width} or null, faces: how many}. */
  look(gray, width, height) {
    const shrink = Math.min(1, DETECTION_SIDE / Math.min(width, height));
    let picture = { gray, width, height };
    if (shrink < 1) picture = resizeArea(gray, width, height, shrink);
    const { chosen, faces } = this.choose(picture, shrink);
    this.looks++;
    this.crowded += faces > 1;
    if (chosen) {
      this.found++;
      this.missed = 0;
      this.hits = chosen.hits;
      this.last = { x: chosen.x, y: chosen.y, width: chosen.width };
      return { face: this.last, faces };
    }
    this.missed++;
    if (this.missed >= PATIENCE) this.last = null;
    return { face: null, faces };
  }

  choose(picture, shrink) {
    const smallest = Math.max(24, Math.floor(Math.min(picture.width, picture.height) / SMALLEST_FACE));
    if (this.last) {
      const width = this.last.width * shrink;
      const least = Math.max(smallest, Math.floor(width / SIZE_RANGE));
      const found = this.faces(picture, least, Math.floor(width * SIZE_RANGE), shrink);
      const near = this.nearest(found);
      // A box is the mean of hits of nearly the same size: believed well within the sizes looked for.
      const ratio = near ? (near.width * shrink) / width : Infinity;
      if (Math.max(ratio, 1 / ratio) < Math.sqrt(SIZE_RANGE)) return { chosen: near, faces: found.length };
    }
    const found = this.faces(picture, smallest, Math.max(picture.width, picture.height), shrink);
    const largest = found.reduce((best, face) => (best && best.width >= face.width ? best : face), null);
    return { chosen: this.last ? this.nearest(found) : largest, faces: found.length };
  }

  nearest(found) {
    const { x, y, width } = this.last;
    const distance = (face) => Math.hypot(face.x - x, face.y - y) / width;
    return found
      .filter((face) => distance(face) <= MAX_STEP && face.hits >= MIN_HITS * this.hits)
      .reduce((best, face) => (best && distance(best) <= distance(face) ? best : face), null);
  }

  /** Boxes with many hits, none on top of a better one, in pixels of the frame. */
  faces(picture, least, most, shrink) {
    const found = this.haar.detect(picture.gray, picture.width, picture.height, least, most);
    found.sort((a, b) => b.hits - a.hits);
    const faces = [];
    for (const { x, y, width, height, hits } of found) {
      const face = { x: (x + width / 2) / shrink, y: (y + height / 2) / shrink, width: width / shrink, hits };
      const apart = faces.every(
        (other) => Math.hypot(face.x - other.x, face.y - other.y) > Math.max(face.width, other.width) / 2,
      );
      if (apart && hits >= MIN_HITS * found[0].hits) faces.push(face);
    }
    return faces;
  }
}
