/**
 * The API key of this device: kept, and asked for when the service wants one.
 */

import { recall, remember } from "./device.js";

export class Key {
  #ask;
  #asking = null;

  /** `ask(wasWrong)` resolves with what the person typed. */
  constructor(ask) {
    this.#ask = ask;
  }

  get value() {
    return recall("key");
  }

  /** Resolves when there is another key than `tried`; many refused requests lead to one question. */
  renew(tried) {
    if (this.value !== tried) return Promise.resolve();
    this.#asking ??= this.#ask(Boolean(tried))
      .then((key) => remember("key", key))
      .finally(() => (this.#asking = null));
    return this.#asking;
  }
}
