/**
 * Replies that were left while they were being made stay wanted: a run without any reader is stopped after a while, so
 * each of them is looked at for a moment now and then. No stream stays open for it.
 */

const EVERY_MS = 20_000;
const LOOK_MS = 1_500; // the service counts readers every second

export class Warm {
  #api;
  #left = new Map(); // chat id -> {run, due}

  constructor(api) {
    this.#api = api;
  }

  /** The page turns away from a chat; its run, if one is going, is to go on. */
  leave(chatId, run) {
    if (run) this.#left.set(chatId, { run, due: Date.now() + EVERY_MS });
  }

  /** The chat is visible again: it reads for itself. */
  forget(chatId) {
    this.#left.delete(chatId);
  }

  /** Looks at what is due, among the chats of the list that are still running. */
  touch(entries) {
    for (const [chatId, left] of this.#left) {
      const isRunning = entries.some((entry) => entry.chat_id === chatId && entry.status === "running");
      if (!isRunning) this.#left.delete(chatId);
      else if (Date.now() >= left.due) void this.#look(chatId, left);
    }
  }

  async #look(chatId, left) {
    left.due = Date.now() + EVERY_MS;
    const cut = new AbortController();
    setTimeout(() => cut.abort(), LOOK_MS);
    await this.#api.attach(chatId, left.run.last, cut.signal).catch(() => {});
  }
}
