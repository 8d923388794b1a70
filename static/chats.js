/**
 * The list of chats: read from the service by ordinary requests, renamed, deleted with time to undo.
 *
 * Knows the service; whoever shows the list gives `onchange()`.
 */

const PAGE = 50;
const LARGEST = 200; // the most the service gives at once
const ALL = 1000;
const UNDO_MS = 8_000;
const AT_ONCE = 4; // deletions on their way at the same time

export class Chats {
  entries = [];
  total = 0;
  #api;
  #onchange;
  #limit = PAGE;
  #leaving = new Map(); // chat id -> timer of the deletion that can still be undone

  constructor(api, onchange) {
    this.#api = api;
    this.#onchange = onchange;
  }

  /** Chats as shown: newest first, without those on their way out. */
  get shown() {
    return this.entries.filter(({ chat_id: id }) => !this.#leaving.has(id));
  }

  get isComplete() {
    return this.entries.length >= this.total;
  }

  get isBusy() {
    return this.entries.some(({ status }) => status === "running");
  }

  find(id) {
    return this.entries.find((entry) => entry.chat_id === id);
  }

  async refresh() {
    const { chats, count } = await this.#api.chats(Math.min(this.#limit, LARGEST));
    for (let from = LARGEST; from < Math.min(this.#limit, count); from += LARGEST)
      chats.push(...(await this.#api.chats(LARGEST, from)).chats);
    this.entries = chats;
    this.total = count;
    this.#onchange();
  }

  /** Shows older ones as well. */
  async more() {
    this.#limit += PAGE;
    await this.refresh();
  }

  /** Reads every chat, so that a filter finds what is not shown yet. */
  async all() {
    if (this.isComplete) return;
    this.#limit = ALL;
    await this.refresh();
  }

  async rename(id, title) {
    const entry = this.find(id);
    if (entry) entry.title = title;
    this.#onchange();
    await this.#api.rename(id, title);
  }

  /** Hides the chat now and deletes it when the time to undo has passed; `onproblem` hears of a failure. */
  remove(id, onproblem) {
    this.#leaving.set(
      id,
      setTimeout(() => this.#forget(id).catch(onproblem), UNDO_MS),
    );
    this.#onchange();
    return UNDO_MS;
  }

  restore(id) {
    clearTimeout(this.#leaving.get(id));
    this.#leaving.delete(id);
    this.#onchange();
  }

  /** Deletes every chat; how many. */
  async removeAll() {
    await this.all();
    const ids = this.entries.map(({ chat_id: id }) => id);
    while (ids.length > 0) await Promise.all(ids.splice(0, AT_ONCE).map((id) => this.#delete(id)));
    const { total } = this;
    await this.refresh();
    return total;
  }

  /** The page closes: what was on its way out goes now. */
  flush() {
    for (const [id, timer] of this.#leaving) {
      clearTimeout(timer);
      this.#api.remove(id, { keepalive: true }).catch(() => {});
    }
  }

  async #forget(id) {
    try {
      await this.#delete(id);
    } finally {
      this.#leaving.delete(id);
      await this.refresh().catch(() => this.#onchange());
    }
  }

  /** One that is gone already is as good as deleted. */
  async #delete(id) {
    await this.#api.remove(id).catch((problem) => {
      if (problem.status !== 404) throw problem;
    });
  }
}
