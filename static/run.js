/**
 * One reply being read: asked for with an id made in the browser, read on however often the connection breaks.
 *
 * Asking again with the same id never starts a second run, and a cut stream goes on after the last event seen. Knows
 * the service and the clock; what the events mean is for the chat to say.
 */

import { Problem } from "./api.js";
import { newRunId } from "./ids.js";
import { events } from "./stream.js";

const SILENCE_MS = 40_000; // the service sends a comment every 15 s
const DOUBT_MS = 1_500; // so long a connection has to show that it outlived a sleep
const STEP_MS = 300;
const LONGEST_STEP_MS = 5_000;

export class Run {
  cutAt = 0; // when the connection broke, in ms since 1970; 0 while it holds
  isConnected = false;
  last = ""; // the id of the newest event seen
  #cut = new AbortController(); // of the reading
  #link = new AbortController(); // of the connection it uses now
  #heardAt = 0;
  #isDoubted = false;
  #wake = () => {};
  #api;
  #chatId;

  /** A new run asks `question` (the body of the request without its run id); one that is `id` is only read. */
  constructor(api, chatId, { id = newRunId(), question = null }) {
    this.#api = api;
    this.#chatId = chatId;
    this.id = id;
    this.question = question;
    this.isAccepted = question === null; // whether the service has it: until then only the question is safe
  }

  /**
   * What happens, as `{type, data}`: the events of the stream, and our own "connected", "cut" (it is tried again) and
   * "gone" (the service has no more to say about this run). Rejects with the `Problem` of a refusal.
   */
  async *read() {
    for (let tries = 0; ; tries += 1) {
      try {
        const response = await this.#open();
        this.#hold();
        yield { type: "connected" };
        if (response.status === 204) yield { type: "gone" };
        for await (const event of this.#eventsOf(response)) {
          tries = 0;
          yield event;
        }
      } catch (error) {
        if (this.#cut.signal.aborted) return;
        if (error.code === "run_id_used") this.isAccepted = true;
        else if (error instanceof Problem && !this.#mayPass(error)) throw error;
      }
      this.isConnected = false;
      this.cutAt ||= Date.now();
      yield { type: "cut" };
      await this.#pause(tries);
    }
  }

  get isLeft() {
    return this.#cut.signal.aborted;
  }

  /** The number of the newest event seen. */
  get seen() {
    return Number(this.last.split(":").pop()) || 0;
  }

  /** Tries again now instead of at the next turn of the clock. */
  hurry() {
    this.#wake();
  }

  /** The device woke or changed its network: a connection that stays silent is taken for dead and made anew. */
  doubt() {
    this.#wake();
    const woken = Date.now();
    setTimeout(() => {
      if (!this.isAccepted || this.#heardAt >= woken || this.cutAt) return;
      this.#isDoubted = true;
      this.#link.abort();
    }, DOUBT_MS);
  }

  /** Lets go; the run goes on without us. */
  leave() {
    this.#cut.abort();
    this.#link.abort();
    this.#wake();
  }

  /** Once the run is accepted, a service that is busy or short of Redis only means: later. */
  #mayPass(problem) {
    return problem.isLost || (this.isAccepted && (problem.status >= 500 || problem.status === 429));
  }

  #open() {
    this.#link = new AbortController();
    if (this.#cut.signal.aborted) this.#link.abort();
    const { signal } = this.#link;
    if (this.isAccepted) return this.#api.attach(this.#chatId, this.last, signal);
    return this.#api.start(this.#chatId, { ...this.question, run_id: this.id }, signal);
  }

  #hold() {
    this.isAccepted = this.isConnected = true;
    this.cutAt = 0;
    this.#heardAt = Date.now();
  }

  async *#eventsOf({ body }) {
    if (!body) return;
    for await (const { type, data, id } of events(body, { patience: SILENCE_MS, heard: () => (this.#heardAt = Date.now()) })) {
      if (!id.startsWith(`${this.id}:`)) return yield { type: "gone" }; // another run has taken its place
      this.last = id;
      yield { type, data: JSON.parse(data) };
    }
  }

  async #pause(tries) {
    if (this.#isDoubted) return void (this.#isDoubted = false); // the network may be fine: at once
    const step = Math.min(STEP_MS * 2 ** tries, LONGEST_STEP_MS) * (0.7 + 0.6 * Math.random());
    await new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, step);
    });
  }
}
