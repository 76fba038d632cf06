// Frames that arrive at any rate -> 25 per second, by their times; as lessons/data/video_times.py.

export const FPS = 25;
const MAX_GAP = 10; // seconds: a longer step between two frames is a jump of the clock, not a stall

/** Times that always rise, by at most 10 s: where the clock jumps, a frame follows its predecessor by `usual`. */
export class Clock {
  constructor(usual = 1 / FPS) {
    this.usual = usual;
    this.now = null;
    this.offset = 0;
  }

  /** The next frame's time in seconds, or null where it has none -> its time on this clock. */
  time(time) {
    const expected = this.now === null ? 0 : this.now + this.usual;
    if (time === null || !Number.isFinite(time)) return (this.now = expected);
    const step = this.now === null ? NaN : time + this.offset - this.now;
    if (!(step > 0 && step <= MAX_GAP)) this.offset = expected - time;
    return (this.now = time + this.offset);
  }
}

/** For each 1/25 s the frame whose time is nearest; a frame is known once the next one has arrived. */
export class Resampler {
  constructor() {
    this.start = null;
    this.before = 0;
    this.shown = null;
    this.gaps = [];
    this.n = 0; // frames given
  }

  /** The next frame, any value, and its time, which rises -> the frames at 25 per second known by it. */
  push(time, frame) {
    const given = [];
    if (this.start === null) {
      this.start = time;
    } else {
      this.gaps.push(time - this.before);
      if (this.gaps.length > FPS) this.gaps.shift();
      // Halfway between two, the earlier one.
      while (this.n / FPS <= (this.before + time) / 2 - this.start + 1e-6) {
        given.push(this.shown);
        this.n++;
      }
    }
    this.before = time;
    this.shown = frame;
    return given;
  }

  /** The frames that remain after the last one, which lasts as long as frames usually do. */
  end() {
    if (this.start === null) return [];
    const lasts = this.gaps.length ? median(this.gaps) : 1 / FPS;
    const frames = Math.max(1, roundHalfEven((this.before - this.start + lasts) * FPS));
    const given = [];
    for (; this.n < frames; this.n++) given.push(this.shown);
    return given;
  }
}

/** The middle of the values, or the mean of the two in the middle. */
export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** The nearest integer, a half to the even one, as Python and NumPy round. */
export function roundHalfEven(x) {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 ? down + 1 : down;
}
