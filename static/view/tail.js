/**
 * What stands after the last turn: messages that wait their turn, one that was not taken, a stop that did not get through.
 *
 * Part of the view. A message that waits stays the same element for as long as it waits.
 */

import { t } from "../language.js";
import { sentence, troubleTitle } from "../trouble.js";
import { $, arrange, button, h } from "./dom.js";
import { filesRow } from "./card.js";
import { trouble } from "./notice.js";

export class Tail {
  #element = $("tail");
  #rows = new Map(); // run id -> the row of a message that waits
  #boxes = []; // what went wrong
  #shown = [];
  #note = h("p", { class: "hint later" }, t("Sent when the reply is done, in this order:"));

  /** `actions`: takeBack(runId), sendNow(runId), again(), replace(), giveUp(), stop(). */
  constructor(actions) {
    this.actions = actions;
  }

  show({ later, refused, stopProblem }) {
    if (this.#shown[0] !== refused || this.#shown[1] !== stopProblem) {
      this.#shown = [refused, stopProblem];
      this.#boxes = [...(refused ? this.#refusal(refused) : []), ...(stopProblem ? [this.#notStopped(stopProblem)] : [])];
    }
    const rows = later.items.map((item) => [item.run_id, this.#rows.get(item.run_id) ?? this.#row(item)]);
    this.#rows = new Map(rows);
    arrange(this.#element, [...this.#boxes, ...(rows.length > 0 ? [this.#note] : []), ...this.#rows.values()]);
  }

  #row({ run_id: id, message, files = [] }) {
    return h(
      "article",
      { class: "question unsent", "aria-label": t("Waits") },
      filesRow(files, this.actions),
      h("div", { class: "bubble", dir: "auto" }, message),
      h(
        "p",
        { class: "tools-row" },
        button(t("Send now"), () => this.actions.sendNow(id), "quiet words"),
        button(t("Take back"), () => this.actions.takeBack(id), "quiet words"),
      ),
    );
  }

  #notStopped({ requestId }) {
    const words = t("The stop did not get through; the reply goes on.");
    return trouble(t("Not stopped"), words, button(t("Stop again"), this.actions.stop), requestId);
  }

  #refusal({ message, problem, options }) {
    const bubble = h("div", { class: "bubble", dir: "auto" }, message);
    const asked = h("article", { class: "question unsent" }, filesRow(options.files, this.actions), bubble);
    const id = problem.requestId && `request ${problem.requestId}`;
    const box = trouble(troubleTitle(problem.code), sentence(problem), this.#wayOn(problem.code, options), id);
    return options.replaces || options.isGoingOn ? [box] : [asked, box];
  }

  #wayOn(code, { files }) {
    if (code === "not_open") return null; // the reply has gone on already
    if (code === "chat_busy") return button(t("Stop that one and send"), this.actions.replace);
    const isChangeable = code === "invalid" || code === "too_large" || code === "no_vision";
    if (isChangeable || (code === "not_found" && files?.length)) return button(t("Change it"), this.actions.giveUp);
    return button(t("Try again"), this.actions.again);
  }
}
