/**
 * Words looked for in the titles and texts of all chats: asked of the service a moment after the last letter.
 *
 * Knows the service; whoever shows what is found gives `onchange()`.
 */

const PAUSE_MS = 200;
const MOST = 50;

export class Search {
  words = "";
  hits = null; // chats as the list has them, with `excerpt`; null: the service has not answered yet
  isComplete = true; // all chats were read
  problem = null; // why there is no answer
  #api;
  #onchange;
  #timer = 0;

  constructor(api, onchange) {
    this.#api = api;
    this.#onchange = onchange;
  }

  /** Looks for these words; none ends the search. */
  look(words) {
    const wanted = words.trim();
    if (wanted === this.words) return;
    Object.assign(this, { words: wanted, hits: null, isComplete: true, problem: null });
    clearTimeout(this.#timer);
    if (wanted) this.#timer = setTimeout(() => this.#ask(wanted), PAUSE_MS);
    this.#onchange();
  }

  async #ask(words) {
    const found = await this.#api.find(words.slice(0, 200), MOST).catch((problem) => ({ problem }));
    if (words !== this.words) return;
    const { chats = null, complete = true, count = 0, problem = null } = found;
    Object.assign(this, { hits: chats, isComplete: complete && count <= MOST, problem });
    this.#onchange();
  }
}
