/**
 * One open chat: its turns, the run that is going, and the four states idle, running, stopping, resuming.
 *
 * A run is asked for with an id made here, so asking again after a lost connection never starts a second one; a cut
 * stream goes on after the last event seen. Knows the service (`api`) and the turns, never the document: whoever
 * shows the chat gives `onchange(what)`, what being "turns", "text" (the live reply grew), "state" or "news" (for the list).
 */

import { Problem } from "./api.js";
import { newRunId } from "./ids.js";
import { events } from "./stream.js";
import { apply, freeze, merged, question, questionIndex, reply, thaw, turnsOf } from "./turns.js";

const SILENCE_MS = 40_000; // the service sends a comment every 15 s
const STEP_MS = 300;
const LONGEST_STEP_MS = 5_000;
const STOP_TRIES = 3;
const STOP_SETTLES_MS = 4_000;

export class Chat {
  state = "idle";
  turns = [];
  title = "";
  agent = "general";
  isNew = true;
  queued = null; // a message to send as soon as the running reply has ended
  refused = null; // {message, options, problem}: what the service would not take
  stopProblem = null;
  cutAt = 0; // when the connection broke, in ms since 1970
  #api;
  #onchange;
  #run = null; // {id, message, options, reply, last, accepted, cut}
  #wake = () => {};
  #loading = null;

  constructor(id, api, onchange) {
    this.id = id;
    this.#api = api;
    this.#onchange = onchange;
  }

  get live() {
    return this.#run?.reply ?? null;
  }

  /** Whether the service has taken the running question: then the answer is safe, else only the question is. */
  get isAccepted() {
    return this.#run?.accepted ?? false;
  }

  /** Reads the chat from the service and follows the run that is going, if any. Raises `Problem`. */
  load() {
    this.#loading ??= this.#load().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #load() {
    const kept = await this.#api.chat(this.id);
    if (this.#run) return;
    this.#take(kept);
    if (!kept.run) return this.#set("idle", "turns");
    this.#begin({ id: kept.run.run_id, accepted: true, reply: this.turns.at(-1) });
  }

  /**
   * Asks for a reply. `replaces` is the run whose question and everything after it go; `onBusy: "replace"` stops what
   * is running first.
   */
  send(message, { replaces = null, onBusy = "reject" } = {}) {
    const before = this.turns;
    if (this.live) this.#dismiss();
    const at = replaces ? questionIndex(this.turns, replaces) : -1;
    const run = { id: newRunId(), message, options: { replaces, onBusy }, before };
    run.reply = reply(run.id);
    this.turns = [...(at < 0 ? this.turns : this.turns.slice(0, at)), question(run.id, message), run.reply];
    this.refused = this.stopProblem = null;
    this.isNew = false;
    this.#begin(run);
  }

  /** Ends the running reply now: the text freezes at once, the service is asked, the answer says how fast it was. */
  async stop() {
    const run = this.#run;
    if (!run || this.state === "stopping") return;
    freeze(run.reply);
    this.stopProblem = null;
    this.#set("stopping", "turns");
    try {
      const answer = await this.#askToStop(run);
      if (answer.result === "stopped" || answer.result === "owner_lost")
        run.reply.stop = { ms: answer.stop_ms, backend: answer.backend, answeredBy: answer.answered_by };
      this.#onchange("turns");
      setTimeout(() => this.#giveUpOn(run), STOP_SETTLES_MS);
    } catch (problem) {
      if (this.#run !== run) return;
      thaw(run.reply);
      this.stopProblem = problem;
      this.#set(run.connected ? "running" : "resuming", "turns");
    }
  }

  /** Sends the refused message again, as it was but for `options`. */
  again(options = {}) {
    const { message, options: before, problem } = this.refused;
    const isGone = problem.code === "not_found"; // what it should replace is no longer kept
    this.send(message, { ...before, ...(isGone && { replaces: null }), ...options });
  }

  /** Gives up the refused message and hands it back. */
  takeBack() {
    const { message } = this.refused;
    this.refused = null;
    this.#onchange("turns");
    return message;
  }

  /** Looks for the service now instead of at the next turn of the clock. */
  hurry() {
    this.#wake();
  }

  /** Lets go of the stream; the run goes on without us. */
  leave() {
    this.#run?.cut.abort();
    this.#run = null;
    this.#wake();
  }

  #begin(run) {
    this.#run = { last: "", accepted: false, connected: false, cut: new AbortController(), ...run };
    this.#set("running", "turns");
    void this.#follow(this.#run);
  }

  /** Reads the run to its end, however often the connection breaks on the way. */
  async #follow(run) {
    for (let tries = 0; this.#run === run; tries += 1) {
      try {
        if (await this.#read(run, () => (tries = 0))) return this.#finish(run);
      } catch (error) {
        if (this.#run !== run) return;
        if (error.code === "run_id_used") run.accepted = true;
        else if (error instanceof Problem && !error.isLost) return this.#refuse(run, error);
      }
      if (this.#run !== run) return;
      this.#noteCut(run);
      await this.#pause(tries);
    }
  }

  /** One connection: true when the run has ended, false when the stream broke off. */
  async #read(run, onevent) {
    const response = await this.#open(run);
    if (this.#run !== run) return true;
    this.#noteConnected(run);
    if (response.status === 204) return this.#settle(run);
    for await (const event of events(response.body, { patience: SILENCE_MS })) {
      if (this.#run !== run) return true;
      if (!event.id.startsWith(`${run.id}:`)) return this.#settle(run);
      run.last = event.id;
      onevent();
      if (apply(run.reply, event.type, JSON.parse(event.data))) return true;
      this.#onchange("text");
    }
    return false;
  }

  #noteConnected(run) {
    const isNews = !run.accepted;
    run.accepted = run.connected = true;
    this.cutAt = 0;
    if (this.state === "resuming") this.#set("running");
    if (isNews) this.#onchange("news");
  }

  #noteCut(run) {
    run.connected = false;
    this.cutAt ||= Date.now();
    if (this.state !== "stopping") this.#set("resuming");
  }

  #open(run) {
    if (run.accepted) return this.#api.attach(this.id, run.last, run.cut.signal);
    const { replaces, onBusy } = run.options;
    const body = { message: run.message, agent: this.agent, run_id: run.id, on_busy: onBusy };
    return this.#api.start(this.id, replaces ? { ...body, replaces } : body, run.cut.signal);
  }

  /** The stream has no more to say: what the service kept of the run is the truth; what only we saw stays shown. */
  async #settle(run) {
    const kept = await this.#api.chat(this.id);
    if (this.#run !== run) return true;
    if (kept.run?.run_id === run.id) return false;
    const turns = turnsOf(kept);
    const ended = turns.find((turn) => turn.role === "assistant" && turn.runId === run.id);
    if (!ended) run.reply.error = { code: "run_lost", message: "" };
    Object.assign(run.reply, ended ?? { outcome: "failed" }, { held: null, stop: run.reply.stop });
    if (ended) this.turns = merged(this.turns, turns);
    return true;
  }

  #finish(run) {
    if (this.#run !== run) return;
    this.#run = null;
    this.cutAt = 0;
    this.#set("idle", "turns");
    this.#onchange("news");
    const next = this.queued;
    this.queued = null;
    if (next !== null) this.send(next);
  }

  /** The service would not take it: the chat is as it was, the message waits in `refused`. */
  #refuse(run, problem) {
    this.#run = null;
    if (!run.before) apply(run.reply, "end", { outcome: "failed", error: problem });
    else {
      this.turns = run.before;
      this.refused = { message: run.message, options: run.options, problem };
      if (this.queued !== null) this.refused.message += `\n\n${this.queued}`;
      this.queued = null;
    }
    this.#set("idle", "turns");
  }

  /** Another message takes the place of the running reply: what is shown of it stays, marked as stopped. */
  #dismiss() {
    const { reply: shown, cut } = this.#run;
    this.#run = null;
    cut.abort();
    shown.held = null;
    shown.outcome = "stopped";
  }

  async #askToStop(run) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#api.stop(this.id, run.id);
      } catch (problem) {
        if (tries === STOP_TRIES || this.#run !== run || !problem.isLost) throw problem;
        await new Promise((resolve) => setTimeout(resolve, STEP_MS * tries));
      }
    }
  }

  /** The stop was answered but the stream did not end: believe the answer. */
  #giveUpOn(run) {
    if (this.#run !== run || !run.reply.stop) return;
    run.cut.abort();
    apply(run.reply, "end", { outcome: "stopped" });
    this.#finish(run);
  }

  async #pause(tries) {
    const step = Math.min(STEP_MS * 2 ** tries, LONGEST_STEP_MS) * (0.7 + 0.6 * Math.random());
    await new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, step);
    });
  }

  #take(kept) {
    this.isNew = kept.status === "new";
    this.title = kept.title ?? "";
    if (!this.isNew && kept.agent) this.agent = kept.agent;
    this.turns = merged(this.turns, turnsOf(kept));
  }

  #set(state, what = "state") {
    this.state = state;
    this.#onchange(what);
    if (what !== "state") this.#onchange("state");
  }
}
