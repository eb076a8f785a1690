// A Failure on the page: what happened, what to do, and a button that waits as long as the service asks for.

import { duration, passes, told } from "./failures.js";

const part = (id) => document.getElementById(id);

export class Trouble {
  #timer = 0;

  /** again(): what the button does */
  constructor(again) {
    part("again").addEventListener("click", () => {
      part("status").focus(); // the button goes, and the keyboard would start over at the top
      again();
    });
  }

  clear() {
    clearInterval(this.#timer);
    part("failure").hidden = true;
  }

  show(failure) {
    this.clear();
    const { title, advice, detail } = told(failure);
    const wait = failure.retryAfter;
    part("failure-title").textContent = title;
    part("failure-advice").textContent = wait === null ? advice : `${advice} Try again in ${duration(wait)}.`;
    part("failure-detail").textContent = detail;
    part("again").hidden = !passes(failure);
    part("failure").hidden = false;
    part("failure").scrollIntoView({ block: "nearest" }); // on a phone it lies below the image
    this.#countDown(wait ?? 0);
  }

  /** On the button alone, which lies beside the part that is read aloud whenever it changes. */
  #countDown(seconds) {
    const end = performance.now() + 1000 * seconds;
    const button = part("again");
    const tick = () => {
      const left = Math.ceil((end - performance.now()) / 1000);
      button.disabled = left > 0;
      button.textContent = left > 0 ? `Try again in ${duration(left)}` : "Try again";
      if (left <= 0) clearInterval(this.#timer);
    };
    this.#timer = setInterval(tick, 250);
    tick();
  }
}
