/**
 * The turns of the visible chat, in step with the plain data, painted at most every 60 ms. A long one is there from its
 * end on: the newest turns at once, those before them a few at a time.
 *
 * Part of the view.
 */

import { t } from "../language.js";
import { part } from "../part.js";
import { textOf } from "../turns.js";
import { wordCount } from "../words.js";
import { $, announce, arrange } from "./dom.js";
import { Follow } from "./follow.js";
import { QuestionView } from "./question.js";
import { Tail } from "./tail.js";

const REPLIES = ["view/turn.js", "view/dress.js", "markdown.js"]; // what shows replies
const SIGNS = ["pointermove", "touchstart", "keydown"]; // of somebody who will soon ask something
const PATIENT = 5; // tries to fetch, before a word is said about it
const LONGEST_MS = 5_000; // between two of them
const AT_ONCE = 12; // turns that are shown in one go
const PAINT_MS = 60;
const SHARE = 5; // painting takes at most a fifth of the time

export class Transcript {
  #log = $("log");
  #tail;
  #views = new Map(); // turn -> its view
  #follow = new Follow($("scroller"), $("latest"));
  #next = 0; // time before which nothing is painted
  #frame = 0;
  #room = AT_ONCE; // so many turns are shown by now
  #filling = 0;
  #chat = null;
  #ReplyView = null;
  #fetching = null;
  #wasLive = false;

  constructor(actions) {
    this.actions = actions;
    this.#tail = new Tail(actions);
    for (const sign of SIGNS) addEventListener(sign, () => this.#fetchReplies(), { once: true });
  }

  /** Shows another chat, from its end. */
  open(chat) {
    this.#chat = chat;
    this.#views.clear();
    this.#log.replaceChildren();
    this.#wasLive = false;
    this.#room = AT_ONCE;
    this.#follow.begin();
  }

  /** The turns are others than before: one came, one went, one ended. */
  sync() {
    const { live } = this.#chat;
    const turns = this.#newest(this.#showable());
    const views = turns.map((turn) => this.#views.get(turn) ?? this.#make(turn));
    this.#views = new Map(turns.map((turn, index) => [turn, views[index]]));
    arrange(
      this.#log,
      views.map(({ element }) => element),
    );
    for (const view of views) view.update();
    this.#log.setAttribute("aria-busy", String(Boolean(live)));
    this.#tail.show(this.#chat);
    this.#tell();
    this.#follow.keep();
  }

  #newest(turns) {
    if (turns.length > this.#room) this.#filling ||= setTimeout(() => this.#showMore(), PAINT_MS / 4);
    return turns.slice(-this.#room);
  }

  #showMore() {
    this.#filling = 0;
    this.#room += AT_ONCE;
    this.sync();
  }

  /** The turns that can be shown now: what shows replies, and reads Markdown, is fetched with the first of them. */
  #showable() {
    const { turns } = this.#chat;
    if (this.#ReplyView || turns.length === 0) return turns;
    void this.#fetchReplies().then(() => this.sync());
    return turns.filter(({ role }) => role === "user");
  }

  #fetchReplies() {
    this.#fetching ??= arrived(() => Promise.all(REPLIES.map(part))).then(([turn, dress]) => {
      dress.wearables(this.#log);
      this.#ReplyView = turn.ReplyView;
    });
    return this.#fetching;
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
    return turn.role === "user" ? new QuestionView(turn, this.actions) : new this.#ReplyView(turn, this.actions);
  }

  /** Screen readers hear the borders of a reply, never its tokens. */
  #tell() {
    const { live, turns } = this.#chat;
    if (live && !this.#wasLive) announce(t("Answering"));
    if (!live && this.#wasLive) {
      const last = turns.at(-1);
      if (last?.outcome === "done") announce(t("Done, {n} word|Done, {n} words", { n: wordCount(textOf(last)) }));
      if (last?.outcome === "stopped") announce(t("Stopped"));
    }
    this.#wasLive = Boolean(live);
  }
}

/** What `fetch` brings, however often it has to be tried: the server may be away for a while. */
async function arrived(fetch) {
  for (let tries = 1; ; tries += 1) {
    try {
      const brought = await fetch();
      $("missing").hidden = true;
      return brought;
    } catch {
      if (tries === PATIENT) globalThis.pageMissing(); // first.js
      await new Promise((resolve) => setTimeout(resolve, Math.min(300 * 2 ** tries, LONGEST_MS)));
    }
  }
}
