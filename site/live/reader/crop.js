// From a frame and the faces found in a clip to small gray frames of the mouth; as lessons/data/grid/mouth_crop.py
// (the path of the mouth, the window), lessons/data/image.py (gray, areas) and lessons/data/box_crop.py.
// A gray frame is {gray: Uint8Array (H, W) row by row, width, height}.

import { median, roundHalfEven as round } from "./resample.js";

const SIGMA = 5; // frames, of the Gaussian that smooths the path of the mouth
const MOUTH_BELOW_CENTER = 0.32; // mouth below the center of the face box, in box widths
const [WIDTH, HEIGHT] = [0.6, 0.3]; // of the window, in box widths
const [ROWS, COLUMNS] = [64, 128]; // of the window
const FLAT = 0.5; // of the usual contrast
const STREAKED = 0.6; // vertical over horizontal differences; mouths have at least 0.9
const JUMP = 0.6; // of the usual correlation of a frame with the one before
const CUBIC = -0.75; // the slope of OpenCV's cubic interpolation

/** RGBA bytes -> luma (ITU-R BT.601), to the same bytes as OpenCV, whose detector depends on each gray level. */
export function toGray(rgba) {
  const gray = new Uint8Array(rgba.length / 4);
  for (let i = 0, j = 0; i < gray.length; i++, j += 4) {
    gray[i] = (9798 * rgba[j] + 19235 * rgba[j + 1] + 3735 * rgba[j + 2] + 16384) >> 15;
  }
  return gray;
}

/** A picture made smaller by a factor below 1, by averaging areas, as cv2.resize with INTER_AREA. */
export function resizeArea(gray, width, height, factor) {
  const size = [round(height * factor), round(width * factor)];
  const weights = [areas(height, size[0], 1 / factor), areas(width, size[1], 1 / factor)];
  return { gray: apply(gray, width, ...weights), width: size[1], height: size[0] };
}

/** For each of n parts of a line, the old pixels under it and their shares: [[first, shares], ...]. */
function areas(length, n, step) {
  return Array.from({ length: n }, (_, i) => {
    const begin = i * step;
    const end = Math.min(begin + step, length);
    const first = Math.floor(begin + 1e-3);
    const shares = [];
    for (let p = first; p < Math.min(length, Math.ceil(end - 1e-3)); p++) {
      shares.push((Math.min(p + 1, end) - Math.max(p, begin)) / (end - begin));
    }
    return [first, shares];
  });
}

/** rows @ picture @ columns^T, rounded to bytes. */
function apply(gray, width, rows, columns) {
  const out = new Uint8Array(rows.length * columns.length);
  const line = new Float64Array(width);
  rows.forEach(([first, shares], y) => {
    line.fill(0);
    shares.forEach((share, k) => {
      const at = (first + k) * width;
      for (let x = 0; x < width; x++) line[x] += share * gray[at + x];
    });
    columns.forEach(([left, parts], x) => {
      let sum = 0;
      for (let k = 0; k < parts.length; k++) sum += parts[k] * line[left + k];
      out[y * columns.length + x] = round(sum);
    });
  });
  return out;
}

/** Whether a frame has the shape of a mouth crop: twice as wide as high, and at most 128 rows. */
export function isMouthCrop({ width, height }) {
  return width === 2 * height && height <= 2 * ROWS;
}

/** The whole frame at another size (height, width), by averaging areas, as resize_area. */
export function shrinkTo({ gray, width, height }, [rows, columns]) {
  if (height === rows && width === columns) return gray;
  return apply(gray, width, areas(height, rows, height / rows), areas(width, columns, width / columns));
}

/**
 * The part of a frame within a box [x0, y0, x1, y1], brought to (height, width) by averaging areas; outside
 * the frame its edge goes on.
 */
export function cropBox({ gray, width, height }, [x0, y0, x1, y1], [rows, columns]) {
  if (!(x0 < x1 && y0 < y1)) throw new Error(`box ${[x0, y0, x1, y1]}: expected x0 < x1 and y0 < y1`);
  return apply(gray, width, boxShares(y0, y1, height, rows), boxShares(x0, x1, width, columns));
}

function boxShares(begin, end, length, n) {
  const step = (end - begin) / n;
  return Array.from({ length: n }, (_, i) => {
    const left = begin + i * step;
    const right = i + 1 === n ? end : begin + (i + 1) * step;
    const clip = (p) => Math.min(length - 1, Math.max(0, p));
    const first = clip(Math.floor(left));
    const shares = new Array(clip(Math.ceil(right) - 1) - first + 1).fill(0);
    for (let p = Math.floor(left); p < Math.ceil(right); p++) {
      shares[clip(p) - first] += (Math.min(right, p + 1) - Math.max(left, p)) / (right - left);
    }
    return [first, shares];
  });
}

/**
 * Faces found in some frames -> the path of the mouth in all n: {x, y (n,) center of the window, width of the
 * face}.  at: (K,) frames; faces: (K,) {x, y, width} center and width.
 */
export function mouthPath(at, faces, n) {
  const width = median(faces.map((face) => face.width));
  const path = (values) => smooth(interpolate(n, at, values));
  const x = path(faces.map((face) => face.x));
  const y = path(faces.map((face) => face.y)).map((value) => value + MOUTH_BELOW_CENTER * width);
  return { x, y, width };
}

/** The window's box [x0, y0, x1, y1] around a mouth of a face so wide. */
export function mouthBox(x, y, width) {
  const [right, down] = [(WIDTH * width) / 2, (HEIGHT * width) / 2];
  return [x - right, y - down, x + right, y + down];
}

/** Values known in the frames `at` -> in all of n frames, by straight lines; the ends are held. */
function interpolate(n, at, values) {
  const out = new Float64Array(n);
  for (let t = 0, k = 0; t < n; t++) {
    while (k + 1 < at.length && at[k + 1] <= t) k++;
    if (t <= at[k] || k + 1 === at.length) out[t] = values[k];
    else out[t] = values[k] + ((t - at[k]) * (values[k + 1] - values[k])) / (at[k + 1] - at[k]);
  }
  return out;
}

/** Averaged over time by a Gaussian, the ends held. */
function smooth(values) {
  const reach = 4 * SIGMA;
  const weights = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-0.5 * ((i - reach) / SIGMA) ** 2));
  const total = weights.reduce((sum, weight) => sum + weight);
  return values.map((_, t) => {
    let sum = 0;
    for (let i = -reach; i <= reach; i++) {
      sum += weights[i + reach] * values[Math.min(values.length - 1, Math.max(0, t + i))];
    }
    return sum / total;
  });
}

/** The window around (x, y) of a frame: (64, 128) bytes, as OpenCV's warpAffine with cubic interpolation. */
export function cutMouth(frame, x, y, faceWidth) {
  const across = (WIDTH * faceWidth) / COLUMNS;
  const down = (HEIGHT * faceWidth) / ROWS;
  const shrink = Math.min(1, 1 / across); // a picture is shrunk by areas first, against aliasing
  const { gray, width, height } =
    shrink < 1 ? resizeArea(frame.gray, frame.width, frame.height, shrink) : frame;
  const [stepX, stepY] = [across * shrink, down * shrink];
  const columns = cubicTaps(x * shrink - (stepX * (COLUMNS - 1)) / 2, stepX, COLUMNS, width);
  const rows = cubicTaps(y * shrink - (stepY * (ROWS - 1)) / 2, stepY, ROWS, height);
  const out = new Uint8Array(ROWS * COLUMNS);
  for (let v = 0; v < ROWS; v++) {
    const [r0, r1, r2, r3] = [0, 1, 2, 3].map((k) => rows.at[4 * v + k] * width);
    const [a0, a1, a2, a3] = rows.weights.subarray(4 * v, 4 * v + 4);
    for (let u = 0; u < COLUMNS; u++) {
      let sum = 0;
      for (let k = 4 * u; k < 4 * u + 4; k++) {
        const c = columns.at[k];
        sum += columns.weights[k] * (a0 * gray[r0 + c] + a1 * gray[r1 + c] + a2 * gray[r2 + c] + a3 * gray[r3 + c]);
      }
      out[v * COLUMNS + u] = Math.min(255, Math.max(0, round(sum)));
    }
  }
  return out;
}

/** Pixels and weights, four for each of n places begin + i * step; places are rounded to 1/32 pixel. */
function cubicTaps(begin, step, n, size) {
  const at = new Int32Array(4 * n);
  const weights = new Float64Array(4 * n);
  for (let i = 0; i < n; i++) {
    const place = (round(begin * 1024) + 16 + round(step * i * 1024)) >> 5;
    const part = (place & 31) / 32;
    for (let k = 0; k < 4; k++) at[4 * i + k] = Math.min(size - 1, Math.max(0, (place >> 5) + k - 1));
    const a = CUBIC;
    const near = (d) => ((a + 2) * d - (a + 3)) * d * d + 1;
    const far = (d) => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
    const four = [far(part + 1), near(part), near(1 - part)];
    weights.set([...four, 1 - four[0] - four[1] - four[2]], 4 * i);
  }
  return { at, weights };
}

/**
 * Which of T mouths (T, H, W) have lost their structure, as lessons/data/grid/faults.py: flat or streaked ones, and
 * after a gray start all of them until the picture is whole.
 */
export function brokenFrames(crops, [height, width]) {
  const pixels = height * width;
  const all = Array.from({ length: crops.length / pixels }, (_, t) => judge(crops, t * pixels, height, width));
  if (!all.length) return [];
  const usual = (name) => FLAT * median(all.map((frame) => frame[name]));
  const [dark, light] = [usual("dark"), usual("light")];
  const flat = all.map((frame) => frame.dark < dark && frame.light < light);
  const broken = all.map(({ down, across }, t) => flat[t] || down < STREAKED * across);
  if (flat.some((isFlat, t) => isFlat && Math.abs(all[t].mean - 128) < 64)) {
    const alike = all.slice(1).map((frame, t) => {
      const before = all[t];
      let sum = 0;
      for (let i = 0; i < pixels; i++) {
        sum += (crops[t * pixels + i] - before.mean) * (crops[(t + 1) * pixels + i] - frame.mean);
      }
      return sum / pixels / Math.max(before.std, 1) / Math.max(frame.std, 1);
    });
    const limit = JUMP * median(alike);
    const last = alike.findLastIndex((value) => value < limit);
    if (broken[0] && last >= 0) broken.fill(true, 0, last + 1);
  }
  return broken;
}

/** Mean, spread, relative contrasts, and mean differences between neighbors, of one frame. */
function judge(crops, at, height, width) {
  let [sum, squares, down, across] = [0, 0, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = crops[at + y * width + x];
      sum += value;
      squares += value * value;
      if (y + 1 < height) down += Math.abs(crops[at + (y + 1) * width + x] - value);
      if (x + 1 < width) across += Math.abs(crops[at + y * width + x + 1] - value);
    }
  }
  const mean = sum / (height * width);
  const std = Math.sqrt(Math.max(0, squares / (height * width) - mean * mean));
  return {
    mean,
    std,
    dark: std / Math.max(1, mean),
    light: std / Math.max(1, 255 - mean),
    down: down / ((height - 1) * width),
    across: across / (height * (width - 1)),
  };
}
