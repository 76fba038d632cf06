// Takes the camera's frames in a worker of its own: a page that is busy then loses none. See cameraFrames in capture.js.
//
// to it                                    from it
// {stream}  of a MediaStreamTrackProcessor  {size: [width, height]} of its first frame
// {clip}    a number: send the frames;      {clip, frame: {time, width, height, gray}} for each, time in seconds
//           null: drop them

import { grayOf } from "./gray.js";

let clip = null;

async function take(stream) {
  const frames = stream.getReader();
  let told = false;
  for (;;) {
    const { done, value: frame } = await frames.read();
    if (done) return;
    const { displayWidth: width, displayHeight: height, timestamp } = frame;
    if (clip !== null) {
      const picture = grayOf(frame, width, height);
      self.postMessage({ clip, frame: { time: timestamp / 1e6, ...picture } }, [picture.gray.buffer]);
    }
    frame.close();
    if (!told) self.postMessage({ size: [width, height] });
    told = true;
  }
}

self.onmessage = ({ data }) => {
  if (data.stream) take(data.stream);
  else clip = data.clip;
};
