/**
 * The turns of the visible chat, in step with the plain data, painted at most every 60 ms.
 *
 * Part of the view.
 */

import { plural, sentence, troubleTitle, wordCount } from "../words.js";
import { textOf } from "../turns.js";
import { $, announce, h } from "./dom.js";
import { Follow } from "./follow.js";
import { QuestionView, ReplyView, trouble } from "./turn.js";

const PAINT_MS = 60;
const SHARE = 5; // painting takes at most a fifth of the time

export class Transcript {
  #log = $("log");
  #tail = $("tail");
  #views = new Map(); // turn -> its view
  #follow = new Follow($("scroller"), $("latest"));
  #next = 0; // time before which nothing is painted
  #frame = 0;
  #chat = null;
  #wasLive = false;

  constructor(actions) {
    this.actions = actions;
  }

  /** Shows another chat, from its end. */
  open(chat) {
    this.#chat = chat;
    this.#views.clear();
    this.#log.replaceChildren();
    this.#wasLive = false;
    this.#follow.isFollowing = true;
  }

  /** The turns are others than before: one came, one went, one ended. */
  sync() {
    const { turns, live } = this.#chat;
    const views = turns.map((turn) => this.#views.get(turn) ?? this.#make(turn));
    this.#views = new Map(turns.map((turn, index) => [turn, views[index]]));
    const elements = views.map(({ element }) => element);
    for (const child of [...this.#log.children]) if (!elements.includes(child)) child.remove();
    elements.forEach((element, index) => {
      if (this.#log.children[index] !== element) this.#log.insertBefore(element, this.#log.children[index] ?? null);
    });
    for (const view of views) view.update();
    this.#log.setAttribute("aria-busy", String(Boolean(live)));
    this.#showTail();
    this.#tell();
    this.#follow.keep();
  }

  /** The live reply has grown: it is painted with the next frame that is free for it. */
  grow() {
    this.#frame ||= requestAnimationFrame((now) => {
      this.#frame = 0;
      if (now < this.#next) return this.grow();
      const begun = performance.now();
      const { live } = this.#chat;
      if (live) this.#views.get(live)?.update();
      this.#follow.keep();
      this.#next = now + Math.max(PAINT_MS, SHARE * (performance.now() - begun));
    });
  }

  toEnd() {
    this.#follow.toEnd();
  }

  /** The room has changed its size. */
  keep() {
    this.#follow.keep();
  }

  editLast() {
    const last = this.#chat.turns.findLast(({ role }) => role === "user");
    this.#views.get(last)?.edit();
    return Boolean(last);
  }

  #make(turn) {
    return turn.role === "user" ? new QuestionView(turn, this.actions) : new ReplyView(turn, this.actions);
  }

  /** After the last turn: a question that waits, a message that was not taken, a stop that did not get through. */
  #showTail() {
    const { queued, refused, stopProblem } = this.#chat;
    this.#tail.replaceChildren();
    if (queued !== null) this.#tail.append(waitingQuestion(queued, this.actions.unqueue));
    if (refused) this.#tail.append(...this.#refusal(refused));
    if (stopProblem) {
      const words = "The stop did not get through; the reply goes on.";
      this.#tail.append(trouble("Not stopped", words, button("Stop again", this.actions.stop), stopProblem.requestId));
    }
  }

  #refusal({ message, problem, options }) {
    const asked = options.replaces
      ? []
      : [h("article", { class: "question unsent" }, h("div", { class: "bubble" }, message))];
    const action = this.#wayOn(problem.code);
    return [
      ...asked,
      trouble(
        troubleTitle(problem.code),
        sentence(problem),
        action,
        problem.requestId && `request ${problem.requestId}`,
      ),
    ];
  }

  #wayOn(code) {
    if (code === "chat_busy") return button("Stop that one and send", this.actions.replace);
    if (code === "invalid" || code === "too_large") return button("Change it", this.actions.takeBack);
    return button("Try again", this.actions.again);
  }

  /** Screen readers hear the borders of a reply, never its tokens. */
  #tell() {
    const { live, turns } = this.#chat;
    if (live && !this.#wasLive) announce("Answering");
    if (!live && this.#wasLive) {
      const last = turns.at(-1);
      if (last?.outcome === "done") announce(`Done, ${plural(wordCount(textOf(last)), "word")}`);
      if (last?.outcome === "stopped") announce("Stopped");
    }
    this.#wasLive = Boolean(live);
  }
}

const button = (words, onclick) => h("button", { type: "button", class: "plain", onclick }, words);

const waitingQuestion = (text, onclick) =>
  h(
    "article",
    { class: "question unsent" },
    h("div", { class: "bubble" }, text),
    h("p", { class: "hint" }, "Sent when the reply is done. ", button("Take back", onclick)),
  );
