/**
 * The API key of this device: kept, and asked for when the service wants one.
 */

import { recall, remember } from "./device.js";

export class Key {
  #ask;
  #asking = null;

  /** `ask(wasWrong, mayCancel)` resolves with what the person typed, or "". */
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

  /** Another key, because the person wants it; giving none changes nothing. */
  async change() {
    const key = await this.#ask(false, true);
    if (key) remember("key", key);
  }
}
