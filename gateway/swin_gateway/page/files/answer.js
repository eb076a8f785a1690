// The API's answer -> elements: rows of labels with bars, and where the time went.

const STAGES = { queue: "queue", batch_wait: "batch wait", decode: "decode", inference: "inference" };

export const percent = (score) => `${(100 * score).toFixed(1)} %`;
const milliseconds = (seconds) => `${(1000 * seconds).toFixed(1)} ms`;

/** One row a prediction; radio buttons where there are maps to choose from. */
export function rows(predictions) {
  return predictions.map((prediction, index) => {
    const choosable = prediction.class_activation_map !== undefined;
    const row = element(choosable ? "label" : "div", { className: "row" });
    if (choosable) row.append(element("input", { type: "radio", name: "label", value: index, checked: index === 0 }));
    const bar = element("span", { className: "bar", ariaHidden: "true" }, element("span"));
    bar.firstChild.style.setProperty("--share", percent(prediction.score).replace(" ", ""));
    row.append(
      element("span", { className: "name" }, prediction.label),
      element("span", { className: "score" }, percent(prediction.score)),
      bar,
    );
    return row;
  });
}

/** {bar, list}: the stages as parts of a bar, and with their numbers. `seconds` is all of it, as seen from here. */
export function times(timing, seconds) {
  const known = Object.entries(STAGES).map(([stage, words]) => [stage, words, timing[stage]]);
  const inside = known.reduce((sum, [, , each]) => sum + each, 0);
  const all = [...known, ["around", "on the way", Math.max(0, seconds - inside)]];
  return {
    bar: all.map(([stage, , each]) => {
      const part = element("span", { className: stage });
      part.style.setProperty("--seconds", 1000 * each);
      return part;
    }),
    list: [
      ...all.map(([stage, words, each]) => entry(words, milliseconds(each), stage)),
      entry("in all", milliseconds(Math.max(seconds, inside))),
    ],
  };
}

/** One name and its value, for a <dl>. */
export function entry(name, value, className = "") {
  return element("div", {}, element("dt", { className }, name), element("dd", {}, value));
}

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
