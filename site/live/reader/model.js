// The lip reader as an ONNX file, run by onnxruntime-web: frames of a mouth -> logits.
// WebAssembly with one thread: more threads need headers that a plain web server does not send.

/** Read a file of the data folder; in node, which fetches no files, the tests give another function. */
export async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** (T, H, W) bytes -> float32 of mean 0 and standard deviation 1 over the clip, as lessons.data.batch.normalize. */
export function normalize(gray) {
  let sum = 0;
  for (const value of gray) sum += value;
  const mean = sum / gray.length;
  let squares = 0;
  for (const value of gray) squares += (value - mean) ** 2;
  const scale = 1 / (Math.sqrt(squares / gray.length) + 1e-5);
  const x = new Float32Array(gray.length);
  for (let i = 0; i < gray.length; i++) x[i] = (gray[i] - mean) * scale;
  return x;
}

export class Model {
  /** data: URL of the data folder, with onnxruntime-web and the models; name: one of about.models. */
  static async load(data, about, name, readFile = fetchBytes) {
    const file = readFile(new URL(about.models[name].file, data)); // meanwhile
    const address = (key) => new URL(about.runtime[key], data);
    const ort = await import(address("script").href);
    if (!ort.env.wasm.wasmPaths) {
      ort.env.wasm.numThreads = 1;
      // A browser compiles what arrives while it arrives, and keeps it for the next visit.
      ort.env.wasm.wasmPaths = { mjs: address("module").href, wasm: address("wasm").href };
      if (readFile !== fetchBytes) ort.env.wasm.wasmBinary = (await readFile(address("wasm"))).buffer;
    }
    return new Model(ort, await ort.InferenceSession.create(await file, { executionProviders: ["wasm"] }), about.size);
  }

  constructor(ort, session, size) {
    this.ort = ort;
    this.session = session;
    this.size = size;
  }

  /** (T, H, W) bytes of a mouth -> (T * upsample, V) logits, row by row. */
  async logits(gray) {
    const [height, width] = this.size;
    const frames = gray.length / (height * width);
    if (!Number.isInteger(frames) || frames < 1) {
      throw new Error(`gray has ${gray.length} bytes: expected one or more frames of ${height} x ${width}`);
    }
    const clip = new this.ort.Tensor("float32", normalize(gray), [1, 1, frames, height, width]);
    return (await this.session.run({ clip })).logits.data;
  }
}
