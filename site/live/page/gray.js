// Pictures as gray levels, on the page and in a worker.

import { toGray } from "../reader/crop.js";

const SHORTER_SIDE = 720; // pixels: larger frames are shrunk to it here, and by the reader to half of it

let canvas = null;
let context = null;

// What can be drawn on a canvas, and its size -> {width, height, gray}.
export function grayOf(picture, wide, high) {
  const scale = Math.min(1, SHORTER_SIDE / Math.min(wide, high));
  const width = Math.round(wide * scale);
  const height = Math.round(high * scale);
  if (canvas?.width !== width || canvas.height !== height) {
    canvas = new OffscreenCanvas(width, height);
    context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
  }
  context.drawImage(picture, 0, 0, width, height);
  return { width, height, gray: toGray(context.getImageData(0, 0, width, height).data) };
}
