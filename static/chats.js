/**
 * The list of chats: read from the service by ordinary requests, renamed, deleted and brought back.
 *
 * Knows the service; whoever shows the list gives `onchange()`.
 */

import { remove, restore } from "./trash.js";

const PAGE = 50;
const LARGEST = 200; // the most the service gives at once
const ALL = 1000;
const AT_ONCE = 4; // deletions on their way at the same time

export class Chats {
  entries = [];
  total = 0;
  #api;
  #onchange;
  #limit = PAGE;
  #leaving = new Set(); // ids of chats that are being deleted

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
      chats.push(...(await this.#api.chats(Math.min(this.#limit - from, LARGEST), from)).chats);
    this.entries = chats;
    this.total = count;
    this.#onchange();
  }

  /** Shows older ones as well. */
  async more() {
    this.#limit += PAGE;
    await this.refresh();
  }

  async rename(id, title) {
    const entry = this.find(id);
    if (entry) entry.title = title;
    this.#onchange();
    await this.#api.change(id, { title });
  }

  /** Deletes a chat now; resolves with what brings it back, or null where nothing does. Rejects with `Problem`. */
  async remove(id) {
    this.#leaving.add(id);
    this.#onchange();
    try {
      return await remove(this.#api, id);
    } finally {
      await this.refresh().catch(() => {});
      this.#leaving.delete(id);
      this.#onchange();
    }
  }

  /** Brings a deleted chat back; its id now. */
  async restore(trace) {
    const id = await restore(this.#api, trace);
    await this.refresh().catch(() => {});
    return id;
  }

  /** Deletes every chat; how many. */
  async removeAll() {
    this.#limit = ALL;
    await this.refresh();
    const ids = this.entries.map(({ chat_id: id }) => id);
    while (ids.length > 0) await Promise.all(ids.splice(0, AT_ONCE).map((id) => this.#delete(id)));
    const { total } = this;
    await this.refresh();
    return total;
  }

  /** One that is gone already is as good as deleted. */
  async #delete(id) {
    await this.#api.remove(id).catch((problem) => {
      if (problem.status !== 404) throw problem;
    });
  }
}
