/**
 * One open chat: its turns, the run that is going, and the four states idle, running, stopping, resuming.
 *
 * Knows the service (`api`), the run it reads and the turns, never the document: whoever shows the chat gives
 * `onchange(what)`, what being "turns", "text" (the live reply grew), "state", "news" (for the list) or "unsent" (a message
 * goes back to the person).
 */

import { Run } from "./run.js";
import { askToStop } from "./stopping.js";
import { apply, conclude, freeze, merged, question, questionIndex, reply, thaw, turnsOf } from "./turns.js";

const STOP_SETTLES_MS = 4_000;

export class Chat {
  state = "idle";
  turns = [];
  title = "";
  agent = "general";
  isNew = true; // the service knows nothing of it
  isUnread = true; // it has not been read yet
  isGone = false; // it knew it, and has forgotten it since
  expiresAt = "";
  waiting = []; // messages that wait at the service, [{run_id, message}]
  queued = null; // a message to send as soon as the running reply has ended
  refused = null; // {message, options, problem}: what the service would not take
  stopProblem = null; // why the stop did not get through
  run = null;
  #api;
  #onchange;
  #loading = null;

  constructor(id, api, onchange) {
    this.id = id;
    this.#api = api;
    this.#onchange = onchange;
  }

  /** The reply that is being made, or null. */
  get live() {
    return this.run?.reply ?? null;
  }

  /** What the service has not taken yet. */
  get unsent() {
    const asked = this.run && !this.run.isAccepted ? this.run.question.message : this.refused?.message;
    return [asked, this.queued].filter(Boolean).join("\n\n");
  }

  /** Reads the chat from the service and follows the run that is going, if any. Rejects with `Problem`. */
  load() {
    this.#loading ??= this.#load().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #load() {
    const kept = await this.#api.chat(this.id);
    if (this.run) return;
    this.isUnread = false;
    if (kept.status === "new" && !this.isNew) return this.#lose();
    this.isNew = kept.status === "new";
    this.expiresAt = kept.expires_at ?? "";
    this.waiting = kept.queued ?? [];
    this.title = kept.title ?? "";
    if (!this.isNew && kept.agent) this.agent = kept.agent;
    this.turns = merged(this.turns, turnsOf(kept));
    if (kept.run) this.#begin(new Run(this.#api, this.id, { id: kept.run.run_id }), this.turns.at(-1));
    else this.#set("idle");
  }

  /** Deleted or expired elsewhere: what is shown stays, and it is said that nothing else is left. */
  #lose() {
    this.isGone = true;
    this.#set("idle");
  }

  /**
   * Asks for a reply. `replaces` is the run whose question and everything after it go; `onBusy: "replace"` stops what
   * is running first.
   */
  send(message, { replaces = null, onBusy = "reject" } = {}) {
    const before = this.turns;
    if (this.run) this.#dismiss();
    const body = { message, agent: this.agent, on_busy: onBusy, ...(replaces && { replaces }) };
    const run = new Run(this.#api, this.id, { question: body });
    const at = replaces ? questionIndex(before, replaces) : -1;
    this.turns = [...(at < 0 ? before : before.slice(0, at)), question(run.id, message), reply(run.id)];
    this.refused = this.stopProblem = null;
    this.isNew = false;
    this.#begin(run, this.turns.at(-1), () => {
      this.turns = before;
      return { message, options: { replaces, onBusy } };
    });
  }

  /** Ends the running reply now: the text freezes at once, the service is asked, the answer says how fast it was. */
  async stop() {
    const { run } = this;
    if (!run || this.state === "stopping") return;
    freeze(run.reply);
    run.seen = Number(run.last.split(":").pop()) || 0;
    this.stopProblem = null;
    this.#set("stopping");
    try {
      const { result, stop_ms: ms, backend, answered_by: answeredBy } = await askToStop(this.#api, this.id, run, () => this.run === run);
      if (result === "stopped" || result === "owner_lost") run.reply.stop = { ms, backend, answeredBy };
      this.#onchange("turns");
      setTimeout(() => this.#believe(run), STOP_SETTLES_MS);
    } catch (problem) {
      if (this.run !== run) return;
      thaw(run.reply);
      this.stopProblem = problem;
      this.#set(run.isConnected ? "running" : "resuming");
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
    const message = this.refused?.message ?? this.queued;
    if (this.refused) this.refused = null;
    else this.queued = null;
    this.#onchange("turns");
    return message;
  }

  /** Looks for the service now. */
  hurry() {
    this.run?.hurry();
  }

  /** The device woke: the stream has to show that it is alive. */
  doubt() {
    this.run?.doubt();
  }

  /** Lets go of the stream; the run goes on without us. */
  leave() {
    const { run } = this;
    this.run = null;
    run?.leave();
  }

  #begin(run, shown, undo = null) {
    this.run = Object.assign(run, { reply: shown, undo });
    this.#set("running");
    void this.#follow(run);
  }

  async #follow(run) {
    try {
      for await (const { type, data } of run.read()) {
        if (this.run !== run) return;
        if (await this.#heed(run, type, data)) break;
      }
    } catch (problem) {
      return this.#refuse(run, problem);
    }
    this.#finish(run);
  }

  /** Lets the chat live through one event; true when the run has ended. */
  async #heed(run, type, data) {
    if (type === "connected") return this.#connected(run);
    if (type === "gone") return this.#settle(run);
    if (type === "cut") return this.#set(this.state === "stopping" ? "stopping" : "resuming");
    const isOver = apply(run.reply, type, data, Date.now());
    if (!isOver) this.#onchange("text");
    return isOver;
  }

  #connected(run) {
    if (this.state === "resuming") this.#set("running");
    if (run.undo) this.#onchange("news");
    run.undo = null;
  }

  /** The stream has no more to say: what the service kept of the run is the truth; what only we saw stays shown. */
  async #settle(run) {
    const kept = await this.#api.chat(this.id).catch(() => null);
    if (!kept || this.run !== run || kept.run?.run_id === run.id) return false;
    const turns = turnsOf(kept);
    const ended = turns.find(({ role, runId }) => role === "assistant" && runId === run.id);
    conclude(run.reply, ended);
    if (ended) this.turns = merged(this.turns, turns);
    return true;
  }

  #finish(run) {
    if (this.run !== run) return;
    this.run = null;
    this.#set("idle");
    this.#onchange("news");
    if (this.queued !== null) this.#next(run.reply.outcome);
  }

  /** What was to follow follows, but for a stop: after that nothing starts by itself. */
  #next(outcome) {
    if (outcome === "stopped") return this.#onchange("unsent");
    const { queued } = this;
    this.queued = null;
    this.send(queued);
  }

  /** The service would not take it: the chat is as it was, the message waits in `refused`. */
  #refuse(run, problem) {
    if (this.run !== run) return;
    this.run = null;
    if (run.undo) this.refused = { ...run.undo(), problem };
    else apply(run.reply, "end", { outcome: "failed", error: problem }, Date.now());
    if (this.queued !== null && this.refused) this.refused.message += `\n\n${this.queued}`;
    this.queued = null;
    this.#set("idle");
  }

  /** Another message takes the place of the running reply: what is shown of it stays, marked as stopped. */
  #dismiss() {
    const { reply: shown } = this.run;
    this.leave();
    shown.held = null;
    shown.outcome = "stopped";
  }

  /** The stop was answered but the stream did not end: the answer counts. */
  #believe(run) {
    if (this.run !== run || !run.reply.stop) return;
    run.leave();
    apply(run.reply, "end", { outcome: "stopped" }, Date.now());
    this.#finish(run);
  }

  #set(state) {
    this.state = state;
    this.#onchange("turns");
    this.#onchange("state");
  }
}
