// The reader in its worker. Frames wait here: no more are under way than the worker takes.

// Frames under way. Each look for the face is answered, and they are 0.4 s apart: 24 frames at 60 per second.
const AHEAD = 40;

export const DROPPED = "another clip was started";

export class ReaderClient {
  constructor(seen = () => {}) {
    this.seen = seen; // called with each answer to a look for the face
    this.longest = 0; // frames that waited here at once, since start()
    this.id = 0;
    this.waiting = []; // messages
    this.sent = []; // times of the frames under way
    this.asked = []; // promises of readings
    this.worker = new Worker(new URL("../reader/worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.take(data);
  }

  // Load model and data from a folder's URL. Resolves to the worker's answer "ready".
  load(data) {
    return new Promise((resolve, reject) => {
      this.loading = { resolve, reject };
      this.worker.onerror = (event) => {
        const error = new Error(event.message || "the reader's script did not load");
        reject(error);
        this.drop(error);
      };
      this.worker.postMessage({ type: "load", data: String(data) });
    });
  }

  // A new clip. All that was under way is dropped. options: what the worker's message "start" takes.
  start(options = {}) {
    this.id += 1;
    this.longest = 0;
    this.waiting = [];
    this.sent = [];
    this.drop(new Error(DROPPED));
    this.worker.postMessage({ ...options, type: "start", id: this.id });
  }

  drop(error) {
    for (const { reject } of this.asked.splice(0)) reject(error);
  }

  // One frame: seconds, pixels, and Uint8Array of width * height gray levels, which is given away.
  push(time, width, height, gray) {
    this.waiting.push({ type: "frame", id: this.id, time, width, height, gray });
    this.pump();
    this.longest = Math.max(this.longest, this.backlog);
  }

  // Read what has come. Resolves to the worker's answer "reading"; rejects when the clip is dropped.
  read(last) {
    this.waiting.push({ type: "read", id: this.id, last });
    const answer = new Promise((resolve, reject) => this.asked.push({ resolve, reject }));
    this.pump();
    return answer;
  }

  // Frames that wait here for the worker.
  get backlog() {
    return this.waiting.filter((message) => message.type === "frame").length;
  }

  // Whether the worker has all frames, and no reading is asked for.
  get free() {
    return !this.waiting.length && !this.asked.length && this.sent.length < AHEAD;
  }

  pump() {
    while (this.waiting.length && (this.waiting[0].type !== "frame" || this.sent.length < AHEAD)) {
      const message = this.waiting.shift();
      if (message.type === "frame") {
        this.sent.push(message.time);
        this.worker.postMessage(message, [message.gray.buffer]);
      } else this.worker.postMessage(message);
    }
  }

  take(data) {
    if (data.type === "ready") return this.loading.resolve(data);
    if (data.type === "error") {
      if (data.id !== undefined && data.id !== this.id) return undefined;
      const error = new Error(data.message);
      this.loading.reject(error);
      return this.drop(error);
    }
    if (data.id !== this.id) return undefined; // of a clip that was dropped
    if (data.type === "seen") {
      this.sent = this.sent.filter((time) => time > data.time);
      this.seen(data);
    } else if (data.type === "reading") {
      this.sent = [];
      this.asked.shift()?.resolve(data);
    }
    return this.pump();
  }
}
