/**
 * How much of the longest message has been written: silent until it matters. Part of the view.
 */

import { t } from "../language.js";
import { $, announce } from "./dom.js";

const NEAR = 0.8; // of the limit

export class Counter {
  #box;
  #most = 0; // characters the server takes; 0: it has not said

  constructor(box) {
    this.#box = box;
  }

  limit(most) {
    this.#most = most || 0;
    this.show();
  }

  show() {
    const n = this.#length();
    const isNear = this.#most > 0 && n > this.#most * NEAR;
    $("count").hidden = !isNear;
    $("count").classList.toggle("over", n > this.#most);
    if (isNear) $("count").textContent = this.#words(n);
  }

  /** True when the message may go; else says why not. */
  check() {
    const n = this.#length();
    if (!this.#most || n <= this.#most) return true;
    announce(this.#words(n));
    this.#box.focus();
    return false;
  }

  /** As the server counts: whole characters, not halves. */
  #length() {
    const { value } = this.#box;
    return value.length <= this.#most * NEAR ? value.length : [...value].length;
  }

  #words(n) {
    const most = this.#most;
    if (n <= most) return t("{n} of {most} characters", { n, most });
    return t("{n} character too many|{n} characters too many", { n: n - most });
  }
}
