// Sentences: drawn at random, compared, and laid out under the frames that they were read from.

export const randomSentence = (slots) =>
  slots.map((slot) => slot[Math.floor(Math.random() * slot.length)]).join(" ");

export const split = (text) => text.split(" ").filter(Boolean);

// By edit distance: for each word of `said` the word of `read` that stands for it, or null.
export function align(said, read) {
  const cost = said.concat(null).map(() => new Array(read.length + 1).fill(0));
  for (let i = 0; i <= said.length; i += 1)
    for (let j = 0; j <= read.length; j += 1)
      cost[i][j] = !i || !j ? i + j
        : Math.min(cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (said[i - 1] !== read[j - 1]));
  const pairs = new Array(said.length).fill(null);
  for (let i = said.length, j = read.length; i && j; )
    if (cost[i][j] === cost[i - 1][j - 1] + (said[i - 1] !== read[j - 1])) pairs[(i -= 1)] = (j -= 1);
    else if (cost[i][j] === cost[i - 1][j] + 1) i -= 1;
    else j -= 1;
  return { pairs, errors: cost[said.length][read.length] };
}

// Left edges of labels of these widths, each as near to its center as the others let it, all within `total`.
export function place(centers, widths, total, gap) {
  const left = centers.map((center, i) => center - widths[i] / 2);
  for (let i = 0; i < left.length; i += 1)
    left[i] = Math.max(left[i], i ? left[i - 1] + widths[i - 1] + gap : 0);
  for (let i = left.length - 1; i >= 0; i -= 1)
    left[i] = Math.min(left[i], i + 1 < left.length ? left[i + 1] - widths[i] - gap : total - widths[i]);
  return left;
}

// What a warning means and what to do, by its code; as a function where that depends on the reading.
export const WARNINGS = {
  "no face":
    "No face was found. Turn straight to the camera, with the whole face in the picture and light from the front.",
  "two faces": "More than one face is in the picture. The largest is read; be alone in the picture to be sure.",
  dark: "The face is dark. Turn to a window or a lamp.",
  bright: "The face is too bright to show its lips. Turn away from the lamp, or close a curtain.",
  "outside grammar":
    "The letters and the grammar disagree: probably this was none of the 64,000 sentences. Do not believe the reading.",
  "too short": "The clip is too short for a sentence of six words, which takes about three seconds.",
  "too long": "The clip is longer than 4 seconds. The network was trained on clips of 3 seconds with one sentence.",
  "few frames": ({ distinct, frames, fps, camera }) =>
    camera
      ? `Only ${distinct} of ${frames} frames arrived: the computer or the camera was too slow, and the reading ` +
        "suffers. Close other programs and tabs and put more light on your face, or record a video with another " +
        "program and choose it as a file."
      : `The video has only ${Math.round((fps * distinct) / frames)} frames per second, and the reading suffers: the ` +
        `network was trained on ${fps}.`,
};

// facts: {distinct, frames, fps} of the reading, and whether it came from the camera.
export function warned(code, facts) {
  const text = WARNINGS[code] ?? code;
  return typeof text === "function" ? text(facts) : text;
}
