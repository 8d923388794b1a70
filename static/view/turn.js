/**
 * A reply on the page: its parts, its ending, its buttons and facts.
 *
 * Part of the view. Shows the plain turns of `turns.js`; what the buttons do is given as `actions`.
 */

import { t } from "../language.js";
import { sentence, troubleTitle } from "../trouble.js";
import { textOf } from "../turns.js";
import { stopLine } from "../words.js";
import { aloudButton } from "./aloud.js";
import { button, copyButton, h, iconButton } from "./dom.js";
import { factsOf } from "./facts.js";
import { timeOf, trouble } from "./notice.js";
import { PartsView } from "./parts.js";

export class ReplyView {
  #source = null;
  #ending = null;
  #aloud = null;
  #waiting = h("p", { class: "waiting" }, h("i"), h("i"), h("i"), h("span", { class: "waits" }));
  #parts;
  #foot = h("footer", {});

  /** `actions`: regenerate(turn), goOn(turn), branch(turn). */
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.#parts = new PartsView(actions);
    this.element = h("article", { class: "reply", "aria-label": t("Reply") }, this.#parts.element, this.#waiting, this.#foot);
    this.update();
  }

  /** Brings the parts that have grown up to date. */
  update() {
    const { parts, outcome, held, waits } = this.turn;
    const isFinished = outcome !== null || held !== null;
    this.#showParts(parts, isFinished);
    this.#waiting.hidden = isFinished || (parts.length > 0 && !waits);
    const words = waits ? waitWords(waits) : "";
    if (this.#waiting.lastChild.textContent !== words) this.#waiting.lastChild.textContent = words;
    this.element.classList.toggle("live", outcome === null);
    this.element.classList.toggle("frozen", held !== null);
    this.#showEnding();
  }

  /** A reply that cannot be shown as meant is shown as it came; the others never suffer. */
  #showParts(parts, isFinished) {
    try {
      if (parts !== this.#source) this.#parts.clear(); // the service knew better than the broken stream
      this.#source = parts;
      this.#parts.show(parts, isFinished);
    } catch (error) {
      console.warn("a reply is shown as it came:", error.message);
      this.#parts.clear();
      this.#source = null;
      this.#parts.element.append(h("p", { class: "raw", dir: "auto" }, textOf({ parts })));
    }
  }

  /** The foot changes only when the reply has come one step further. */
  #showEnding() {
    const { outcome, stop, facts, error } = this.turn;
    const ending = JSON.stringify([outcome, stop, error, facts]);
    if (this.#ending === ending) return;
    this.#ending = ending;
    const isShown = this.#foot.querySelector(".facts.shown") !== null;
    const { line, toggle } = factsOf(facts);
    this.#foot.replaceChildren();
    if (stop || outcome === "stopped") this.#foot.append(h("p", { class: "stopped" }, stopLine(stop ?? {})));
    if (outcome === "failed") this.#foot.append(this.#trouble(error ?? { code: "model_error" }));
    if (outcome !== null) this.#foot.append(this.#actions(toggle));
    this.#foot.append(line);
    if (isShown) toggle.click();
  }

  #trouble(error) {
    const { code } = error;
    const hasText = Boolean(textOf(this.turn));
    const words = t(hasText ? "Continue" : "Try again");
    const action = error.retry !== false || hasText ? button(words, () => this.actions.goOn(this.turn), "plain go-on") : null;
    return trouble(troubleTitle(code), sentence(error), action, this.turn.runId && `run ${this.turn.runId}`);
  }

  #actions(toggle) {
    const { outcome, at, facts } = this.turn;
    const text = () => textOf(this.turn);
    const branch = () => this.actions.branch(this.turn);
    const again = () => this.actions.regenerate(this.turn);
    const row = h("div", { class: "tools-row" });
    if (text()) row.append(copyButton(t("Copy reply"), text));
    if (outcome !== "failed" || text())
      row.append(iconButton("again", t("Write this reply again"), again, { class: "quiet settled" }));
    row.append(iconButton("branch", t("Branch: a new chat up to here"), branch, { class: "quiet settled" }));
    this.#aloud ??= aloudButton(text); // one that speaks goes on when its row is made anew
    if (text() && this.#aloud) row.append(this.#aloud);
    row.append(toggle, timeOf(at) ?? "");
    if ((outcome === "stopped" && text()) || facts.stop_reason === "max_tokens")
      row.append(button(t("Continue"), () => this.actions.goOn(this.turn), "quiet settled words go-on"));
    return row;
  }
}

/** What a reply waits for, in words. */
function waitWords({ kind, ahead, phase, share }) {
  if (kind === "queue") return ahead > 0 ? t("{n} ahead of you|{n} ahead of you", { n: ahead }) : t("You are next");
  if (phase === "loading") return t("Loading the model");
  return share === null ? t("Reading") : t("Reading, {percent} %", { percent: Math.round(share * 100) });
}
