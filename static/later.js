/**
 * The messages of a chat that wait at the service until the reply before them has ended: handed over, shown in their
 * order, taken back. Knows the service alone; whoever shows them hears by `onchange(what)` of "turns" (others wait) and
 * "unsent" (some go back to the person, see `handBack`).
 */

import { newRunId } from "./ids.js";
import { insist } from "./insist.js";

export class Later {
  items = []; // [{run_id, message, files, isKept}], in the order in which they are sent; kept: the service has it
  #back = []; // messages on their way back to the person
  #api;
  #onchange;

  constructor(api, onchange) {
    this.#api = api;
    this.#onchange = onchange;
  }

  get isEmpty() {
    return this.items.length === 0;
  }

  /** What the service does not have yet. */
  get unkept() {
    return this.items.filter(({ isKept }) => !isKept).map(({ message: text, files }) => ({ text, files }));
  }

  /** What waits, as the service knows it; what is on its way there stands behind. */
  learn(queued = []) {
    const onTheWay = this.#onTheWay(queued);
    this.items = [...queued.map((item) => ({ ...item, isKept: true })), ...onTheWay];
  }

  /**
   * Hands a message over; true when it waits, false when it has begun at once. One that is not taken goes back to the
   * person; rejects with `Problem` then.
   */
  async add(chatId, question, files = []) {
    const item = { run_id: newRunId(), message: question.message, files, isKept: false };
    this.#set([...this.items, item]);
    try {
      const waits = await insist(() => this.#api.queue(chatId, { ...question, run_id: item.run_id }));
      if (item.isRecalled) await this.#undo(chatId, item.run_id, waits);
      item.isKept = true;
      if (!waits) this.#drop(item.run_id);
      return waits;
    } catch (problem) {
      if (item.isRecalled) return true; // it is back already
      this.#drop(item.run_id);
      this.handBack([item]);
      throw problem;
    }
  }

  /** Takes one out: {message, files}, or null when its reply has begun. Rejects with `Problem`. */
  async take(chatId, runId) {
    try {
      const taken = await insist(() => this.#api.unqueue(chatId, runId));
      this.#drop(runId);
      return taken;
    } catch (problem) {
      if (problem.status !== 404) throw problem;
      this.#drop(runId);
      return null;
    }
  }

  /** Takes one back to the person. Rejects with `Problem`. */
  async takeBack(chatId, runId) {
    const taken = await this.take(chatId, runId);
    if (taken) this.handBack([taken]);
  }

  /** After a stop nothing waits any more: what it has handed back goes to the person, and what was on its way. */
  recall(unsent = []) {
    const onTheWay = this.#onTheWay(unsent);
    for (const item of onTheWay) item.isRecalled = true;
    this.#set([]);
    this.handBack([...unsent, ...onTheWay]);
  }

  /** `messages`: [{message, files}] */
  handBack(messages) {
    if (messages.length === 0) return;
    this.#back.push(...messages.map(({ message: text, files }) => ({ text, files })));
    this.#onchange("unsent");
  }

  /** What goes back to the person, once: {text, files}. */
  collect() {
    return together(this.#back.splice(0));
  }

  #onTheWay(known) {
    const ids = new Set(known.map(({ run_id: id }) => id));
    return this.items.filter(({ run_id: id, isKept }) => !isKept && !ids.has(id));
  }

  /** It reached the service after it had been recalled. */
  #undo(chatId, runId, waits) {
    return waits ? this.take(chatId, runId) : this.#api.stop(chatId, runId, 0);
  }

  #drop(runId) {
    this.#set(this.items.filter(({ run_id: id }) => id !== runId));
  }

  #set(items) {
    this.items = items;
    this.#onchange("turns");
  }
}

/** Several messages as one: {text, files}. */
export const together = (messages) => ({
  text: messages
    .map(({ text }) => text)
    .filter(Boolean)
    .join("\n\n"),
  files: messages.flatMap(({ files }) => files ?? []),
});
