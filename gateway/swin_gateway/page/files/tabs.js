// The tabs with the same call for curl, Python and grpcurl, and the button that copies what is shown.

const part = (id) => document.getElementById(id);

export class Tabs {
  #texts = {};
  #tabs = [...part("tabs").children];

  constructor() {
    for (const tab of this.#tabs) tab.addEventListener("click", () => this.#select(tab));
    part("tabs").addEventListener("keydown", (event) => this.#move(event));
    part("copy").addEventListener("click", () => this.#copy());
  }

  /** texts: {curl, python, grpcurl} */
  show(texts) {
    this.#texts = texts;
    this.#select(this.#selected);
  }

  get #selected() {
    return this.#tabs.find((tab) => tab.ariaSelected === "true");
  }

  #select(chosen) {
    for (const tab of this.#tabs) {
      tab.ariaSelected = String(tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
    }
    part("code").setAttribute("aria-labelledby", chosen.id);
    part("code").textContent = this.#texts[chosen.id.replace("tab-", "")] ?? "";
  }

  #move(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    if (!(event.key in steps)) return;
    const at = this.#tabs.indexOf(this.#selected) + steps[event.key];
    const tab = this.#tabs.at(at % this.#tabs.length);
    this.#select(tab);
    tab.focus();
    event.preventDefault();
  }

  async #copy() {
    const done = await copy(part("code"));
    part("copy").textContent = part("copied").textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => {
      part("copy").textContent = "Copy";
      part("copied").textContent = "";
    }, 2000);
  }
}

/** Whether it is in the clipboard; else it is selected. */
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    // Over plain HTTP from elsewhere there is no clipboard to write to.
    getSelection().selectAllChildren(element);
    return false;
  }
}
