// Which samples suit a model: digits for one that reads digits, photographs for any other.

const DIGITS = {
  note: "Digits: E. Alpaydin and C. Kaynak, CC BY 4.0; redrawn.",
  files: {
    "seven-dark-on-light-128.jpg": "a dark seven",
    "eight-cyan-on-purple-160.jpg": "a cyan eight",
    "four-red-on-white-256.jpg": "a red four",
    "nine-light-on-dark-256.jpg": "a light nine",
  },
};
const PHOTOGRAPHS = {
  note: "Photographs: danielbuechele and vultilion on Flickr, CC BY 2.0; made smaller.",
  files: { "china.jpg": "a temple", "flower.jpg": "a flower" },
};

/** {note, files: {file name: what it shows}} */
export function samplesFor(model) {
  return ["zero", "seven", "nine"].every((label) => model.labels.includes(label)) ? DIGITS : PHOTOGRAPHS;
}

export const sampleUrl = (name) => `page/samples/${name}`;
