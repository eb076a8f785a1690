// A class activation map over its image: float32 in base64 -> smooth colours on a canvas.

// The colour map "inferno" of matplotlib (CC0), every 28th of its 256 colours; evenly brighter, also to the colour-blind.
const INFERNO = [
  [0, 0, 4], [27, 12, 65], [74, 12, 107], [120, 28, 109], [165, 44, 96],
  [207, 68, 70], [237, 105, 37], [251, 155, 6], [247, 209, 61], [252, 255, 164],
];
const LONG_SIDE = 640; // pixels of the canvas, which CSS then fits to the image

/** {rows, columns, values, low, high} of the API's tensor {shape, data} */
export function read({ shape: [rows, columns], data }) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = Float32Array.from({ length: rows * columns }, (_, index) => view.getFloat32(4 * index, true));
  return { rows, columns, values, low: Math.min(...values), high: Math.max(...values) };
}

/** Draws `map` where `region` (fractions of the image) says; what lies beside it the model did not see, and stays clear. */
export function draw(canvas, map, region, ratio) {
  canvas.width = Math.round(LONG_SIDE * Math.min(1, ratio));
  canvas.height = Math.round(LONG_SIDE / Math.max(1, ratio));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(
    smooth(map),
    region.left * canvas.width,
    region.top * canvas.height,
    (region.right - region.left) * canvas.width,
    (region.bottom - region.top) * canvas.height,
  );
}

/** The map enlarged: between the middles of its places bilinear, at its rim constant. */
function smooth({ rows, columns, values, low, high }) {
  const scale = Math.ceil(256 / Math.max(rows, columns));
  const picture = new ImageData(columns * scale, rows * scale);
  for (let y = 0; y < picture.height; y++) {
    const [top, bottom, down] = between((y + 0.5) / scale - 0.5, rows);
    for (let x = 0; x < picture.width; x++) {
      const [left, right, across] = between((x + 0.5) / scale - 0.5, columns);
      const at = (row, column) => values[row * columns + column];
      const value = mix(mix(at(top, left), at(top, right), across), mix(at(bottom, left), at(bottom, right), across), down);
      picture.data.set(colour(high > low ? (value - low) / (high - low) : 0.5), 4 * (y * picture.width + x));
    }
  }
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

/** [index, next index, how far between them] */
function between(place, count) {
  const inside = Math.min(Math.max(place, 0), count - 1);
  const index = Math.floor(inside);
  return [index, Math.min(index + 1, count - 1), inside - index];
}

function colour(share) {
  const [index, next, part] = between(share * (INFERNO.length - 1), INFERNO.length);
  return [...INFERNO[index].map((channel, each) => mix(channel, INFERNO[next][each], part)), 255];
}

function mix(from, to, part) {
  return from + (to - from) * part;
}
