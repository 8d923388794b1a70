/**
 * One turn on the page: a question that can be edited, or a reply with its parts, its ending and its facts.
 *
 * Part of the view. Shows the plain turns of `turns.js`; what the buttons do is given as `actions`.
 */

import { textOf } from "../turns.js";
import { duration, hue, plural, sentence, stopLine, troubleTitle } from "../words.js";
import { copyButton, h, icon, iconButton, isPlainEnter } from "./dom.js";
import { viewOf } from "./parts.js";

export class QuestionView {
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.element = h("article", { class: "question", "aria-label": "You" });
    this.#read();
  }

  update() {}

  edit() {
    const box = h("textarea", { "aria-label": "Edit your question", rows: "3" });
    box.value = this.turn.text;
    const send = () => {
      const text = box.value.trim();
      if (text) this.actions.edit(this.turn, text);
    };
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return (event.stopPropagation(), this.#read(true));
      if (isPlainEnter(event)) (event.preventDefault(), send());
    });
    this.element.replaceChildren(
      h(
        "form",
        { class: "edit", onsubmit: (event) => (event.preventDefault(), send()) },
        box,
        h("p", { class: "hint" }, "Sending replaces this question and everything after it."),
        h(
          "div",
          { class: "row" },
          h("button", { class: "primary" }, "Send"),
          cancelButton(() => this.#read(true)),
        ),
      ),
    );
    box.focus();
  }

  #read(focus = false) {
    const edit = iconButton("edit", "Edit and send again", () => this.edit(), { class: "quiet settled" });
    this.element.replaceChildren(
      h("div", { class: "bubble", dir: "auto" }, this.turn.text),
      h(
        "div",
        { class: "tools-row" },
        copyButton("Copy question", () => this.turn.text),
        edit,
      ),
    );
    if (focus) edit.focus();
  }
}

const cancelButton = (onclick) => h("button", { type: "button", class: "plain", onclick }, "Cancel");

export class ReplyView {
  #source = null;
  #parts = []; // views of #source, in step with it
  #ending = null;
  #waiting = h("p", { class: "waiting", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
  #body = h("div", { class: "parts" });
  #foot = h("footer", {});

  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.element = h("article", { class: "reply", "aria-label": "Reply" }, this.#body, this.#waiting, this.#foot);
    this.update();
  }

  /** Brings the parts that have grown up to date. */
  update() {
    const { parts, outcome, held } = this.turn;
    const isFinished = outcome !== null || held !== null;
    if (parts !== this.#source) this.#restart(parts);
    parts.forEach((part, index) => {
      const view = (this.#parts[index] ??= this.#add(part));
      view.show(part, isFinished || index < parts.length - 1);
    });
    this.#waiting.hidden = isFinished || parts.length > 0;
    this.element.classList.toggle("live", outcome === null);
    this.element.classList.toggle("frozen", held !== null);
    this.#showEnding();
  }

  /** Other parts altogether: the service knew better than the broken stream. */
  #restart(parts) {
    this.#source = parts;
    this.#parts = [];
    this.#body.replaceChildren();
  }

  #add(part) {
    const view = viewOf(part);
    this.#body.append(view.element);
    return view;
  }

  /** The foot changes only when the reply has come one step further. */
  #showEnding() {
    const { outcome, stop, facts, error } = this.turn;
    const ending = JSON.stringify([outcome, stop, error, facts]);
    if (this.#ending === ending) return;
    this.#ending = ending;
    this.#foot.replaceChildren();
    if (stop || outcome === "stopped") this.#foot.append(h("p", { class: "stopped" }, stopLine(stop ?? {})));
    if (outcome === "failed") this.#foot.append(this.#trouble(error ?? { code: "model_error" }));
    this.#foot.append(h("div", { class: "foot-row" }, factsLine(facts), outcome === null ? null : this.#actions()));
  }

  #trouble(error) {
    const { code } = error;
    const again = code === "backend_lost" || code === "run_lost" || code === "draining";
    const action =
      again && textOf(this.turn)
        ? h("button", { type: "button", class: "plain", onclick: () => this.actions.goOn(this.turn) }, "Continue")
        : h(
            "button",
            { type: "button", class: "plain", onclick: () => this.actions.regenerate(this.turn) },
            "Try again",
          );
    return trouble(troubleTitle(code), sentence(error), action, this.turn.runId && `run ${this.turn.runId}`);
  }

  #actions() {
    const { outcome } = this.turn;
    const row = h(
      "div",
      { class: "tools-row" },
      copyButton("Copy reply", () => textOf(this.turn)),
    );
    row.append(
      iconButton("again", "Write this reply again", () => this.actions.regenerate(this.turn), {
        class: "quiet settled",
      }),
    );
    if (outcome === "stopped" && textOf(this.turn))
      row.append(
        h(
          "button",
          { type: "button", class: "quiet settled words", onclick: () => this.actions.goOn(this.turn) },
          "Continue",
        ),
      );
    return row;
  }
}

/** What went wrong, in one sentence, with one action and an id to copy. */
export function trouble(title, words, action, id) {
  return h(
    "div",
    { class: "trouble", role: "alert" },
    icon("alert"),
    h("div", {}, h("strong", {}, title), h("p", {}, words), id ? idLine(id) : null),
    action,
  );
}

const idLine = (id) =>
  h(
    "p",
    { class: "id" },
    h("code", {}, id),
    copyButton("Copy the id", () => id.split(" ").pop()),
  );

function factsLine({ agent, provider, model, backend, first_token_ms: first, duration_ms: total, usage }) {
  const tokens = usage?.output_tokens;
  const words = [
    agent,
    model ?? provider,
    first != null && `first token ${duration(first)}`,
    total != null && `total ${duration(total)}`,
    tokens > 0 && `${usage.exact === false ? "about " : ""}${plural(tokens, "token")}`,
  ].filter(Boolean);
  return h("p", { class: "facts" }, h("span", {}, words.join(" · ")), backend ? badge(backend) : null);
}

export const badge = (backend) => h("span", { class: `badge hue-${hue(backend)}` }, backend);
