// The drawn talker: videos with known mouth boxes, and for each word the pixels that it depends on.

// The sample's file that this browser plays.
function source(data, item) {
  const webm = document.createElement("video").canPlayType('video/webm; codecs="vp9"');
  const file = item.files.find((name) => name.endsWith(webm ? ".webm" : ".mp4"));
  return new URL(file, data).href;
}

// One button per sample, with the first frame of its video.
export function sampleButtons(data, samples, into, choose) {
  into.replaceChildren(
    ...samples.map((item, i) => {
      const button = document.createElement("button");
      const video = document.createElement("video");
      Object.assign(video, { src: source(data, item), muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
      video.setAttribute("aria-hidden", "true");
      button.type = "button";
      button.className = "live-sample";
      button.append(video, `Sample ${i + 1}`);
      button.addEventListener("click", () => {
        for (const other of into.children) other.setAttribute("aria-pressed", String(other === button));
        choose(item, source(data, item));
      });
      return button;
    }),
  );
}

// The saliency of each word: [{text, frame}]; frame(t, [H, W]) is (H, W) bytes, or null outside of the word.
export async function fetchSaliency(data, { saliency }) {
  const response = await fetch(new URL(saliency.file, data));
  const picture = await createImageBitmap(await response.blob());
  const [high, wide] = saliency.size;
  return saliency.words.map(({ text, start, end, offset }) => ({
    text,
    frame(t, [height, width]) {
      if (t < start || t >= end) return null;
      const context = new OffscreenCanvas(width, height).getContext("2d");
      context.drawImage(picture, 0, (offset + t - start) * high, wide, high, 0, 0, width, height);
      const { data: pixels } = context.getImageData(0, 0, width, height);
      return Uint8Array.from({ length: height * width }, (_, i) => pixels[4 * i]);
    },
  }));
}
