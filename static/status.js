/**
 * Who is at work: the state of all backends, read while it is shown, and the stop of any run.
 *
 * Knows the service and what to hand to the view.
 */

import { t } from "./language.js";
import { sentence } from "./trouble.js";

export class Status {
  #api;
  #view;
  #shown;

  /** `shown`: where the state is shown. */
  constructor(api, view, shown) {
    this.#api = api;
    this.#view = view;
    this.#shown = shown;
  }

  async read() {
    try {
      this.#shown.show(await this.#api.status());
    } catch (problem) {
      this.#shown.showProblem(problem);
    }
  }

  async stop({ chat_id: id, run_id: runId }) {
    try {
      const { stop_ms: ms, backend } = await this.#api.stop(id, runId);
      this.#view.toast(ms == null ? t("It had already ended.") : t("Stopped in {n} ms on {backend}", { n: Math.round(ms), backend }));
    } catch (problem) {
      this.#view.toast(sentence(problem));
    }
    await this.read();
  }
}
