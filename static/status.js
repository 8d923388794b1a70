/**
 * Who is at work: the state of all backends, read while it is shown, and the stop of any run.
 *
 * Knows the service and what to hand to the view.
 */

import { sentence } from "./words.js";

export class Status {
  #api;
  #view;

  constructor(api, view) {
    this.#api = api;
    this.#view = view;
  }

  async read() {
    try {
      this.#view.status.show(await this.#api.status());
    } catch (problem) {
      this.#view.status.showProblem(problem);
    }
  }

  async stop({ chat_id: id, run_id: runId }) {
    try {
      const { stop_ms: ms, backend } = await this.#api.stop(id, runId);
      this.#view.toast(ms == null ? "It had already ended." : `Stopped in ${Math.round(ms)} ms on ${backend}`);
    } catch (problem) {
      this.#view.toast(sentence(problem));
    }
    await this.read();
  }
}
