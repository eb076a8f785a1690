// The chosen image on the page, and the map over it.

import { draw, read } from "./heatmap.js";
import { percent } from "./answer.js";

const part = (id) => document.getElementById(id);
const WHOLE = { left: 0, top: 0, right: 1, bottom: 1 };

export class Picture {
  #url = "";
  #ratio = 1;
  #seen = false;

  constructor() {
    part("opacity").addEventListener("input", () => this.#fade());
    this.#fade();
  }

  /** Shows `file` as far as the browser can; `model` is for the shape of one that it cannot. */
  async show(file, model) {
    URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(file);
    this.clearMap();
    const image = part("image");
    image.src = this.#url;
    image.alt = `The image to classify: ${file.name}`;
    part("file-name").textContent = file.name;
    part("figure").hidden = false;
    part("drop").classList.add("filled");
    this.#seen = await image.decode().then(() => true, () => false);
    image.hidden = !this.#seen;
    part("unseen").hidden = this.#seen;
    // Browsers turn an image as its EXIF orientation says, as the service does, and tell its size accordingly.
    this.#ratio = this.#seen ? image.naturalWidth / image.naturalHeight : model.input_width / model.input_height;
    part("picture").style.setProperty("--ratio", this.#ratio);
  }

  clearMap() {
    part("map").hidden = part("map-control").hidden = true;
  }

  /** The map of one prediction. region: what part of the upright image it covers */
  showMap({ label, score, class_activation_map }, region) {
    const map = read(class_activation_map);
    draw(part("map"), map, this.#seen ? region : WHOLE, this.#ratio);
    part("map").hidden = part("map-control").hidden = false;
    part("map-note").textContent =
      `Where the score of “${label}” (${percent(score)}) comes from: ${map.low.toFixed(2)} to ${map.high.toFixed(2)}; ` +
      "the mean is the class’s logit.";
  }

  #fade() {
    const value = part("opacity").value;
    part("map").style.opacity = value / 100;
    part("opacity-value").textContent = `${value} %`;
  }
}
