/**
 * One open chat: its turns, the run that is going, and the states idle, running, stopping, resuming and waiting (the next
 * message is about to begin).
 *
 * Knows the service (`api`), the run it reads, the turns and what waits, never the document: whoever shows the chat gives
 * `onchange(what)`, what being "turns", "text" (the live reply grew), "state", "news" (for the list) or "unsent" (messages
 * go back to the person, see `later`).
 */

import { bodyOf } from "./ask.js";
import { follow } from "./follow.js";
import { insist } from "./insist.js";
import { Later, together } from "./later.js";
import { Run } from "./run.js";
import { apply, freeze, merged, question, questionIndex, reopen, reply, thaw, turnsOf } from "./turns.js";

const STOP_SETTLES_MS = 4_000;
const NEXT_MS = [50, 150, 300, 600, 1_000, 2_000, 3_000, 3_000, 3_000]; // looks for the message that follows

export class Chat {
  state = "idle";
  turns = [];
  title = "";
  agent = "general";
  about = {}; // what else the service keeps of it: expires_at, instructions, temperature; see ask.js
  isNew = true; // the service knows nothing of it
  isUnread = true; // it has not been read yet
  isGone = false; // it knew it, and has forgotten it since
  refused = null; // {message, options, problem}: what the service would not take
  stopProblem = null; // why the stop did not get through
  run = null;
  #api;
  #onchange;
  #loading = Promise.resolve();
  #begun = 0; // runs, so that what was read before one is known to be old
  #looks = 0; // for the message that follows
  #isLeft = false;

  constructor(id, api, onchange) {
    this.id = id;
    this.#api = api;
    this.#onchange = onchange;
    this.later = new Later(api, onchange);
  }

  /** The reply that is being made, or null. */
  get live() {
    return this.run?.reply ?? null;
  }

  /** What the service has not taken yet: {text, files}. */
  get unsent() {
    const asked = this.run && !this.run.isAccepted ? this.turns.at(-2) : null;
    const refused = this.refused && { text: this.refused.message, files: this.refused.options.files };
    return together([asked ?? refused, ...this.later.unkept].filter(Boolean));
  }

  /** Reads the chat from the service and follows the run that is going, if any. Rejects with `Problem`. */
  load() {
    return (this.#loading = this.#loading.catch(() => {}).then(() => this.#load()));
  }

  async #load() {
    const begun = this.#begun;
    const kept = await this.#api.chat(this.id);
    if (this.run || this.#isLeft || begun !== this.#begun) return;
    this.isUnread = false;
    if (kept.status === "new" && !this.isNew) return this.#lose();
    this.#learn(kept);
    if (!kept.run) return this.#rest();
    this.#begin(new Run(this.#api, this.id, { id: kept.run.run_id }), this.turns.at(-1));
  }

  #learn(kept) {
    const { status, title, agent, expires_at, instructions, temperature, queued } = kept;
    this.isNew = status === "new";
    if (!this.isNew) this.about = { expires_at, instructions, temperature, isKept: true };
    this.title = title ?? "";
    if (!this.isNew && agent) this.agent = agent;
    this.turns = merged(this.turns, turnsOf(kept));
    this.later.learn(queued);
  }

  /** Deleted or expired elsewhere: what is shown stays, and it is said that nothing else is left. */
  #lose() {
    this.isGone = true;
    this.later.learn();
    this.#set("idle");
  }

  /**
   * Asks for a reply. `replaces` is the run whose question and everything after it become a version; `onBusy: "replace"`
   * stops what is running first.
   */
  send(message, { replaces = null, onBusy = "reject", files = [] } = {}) {
    const before = this.turns;
    if (this.run) this.#dismiss();
    const body = { ...this.#body(message, files), on_busy: onBusy, ...(replaces && { replaces }) };
    const run = new Run(this.#api, this.id, { question: body });
    const at = replaces ? questionIndex(before, replaces) : -1;
    this.turns = [...(at < 0 ? before : before.slice(0, at)), question(run.id, message, { files }), reply(run.id)];
    this.#ask(run, () => {
      this.turns = before;
      return { message, options: { replaces, onBusy, files } };
    });
  }

  /** Lets the last reply, which was cut, go on as one. */
  goOn() {
    const last = this.turns.at(-1);
    const run = new Run(this.#api, this.id, { question: { continues: last.runId, agent: this.agent } });
    const close = reopen(last);
    this.#ask(run, () => (close(), { message: "", options: { isGoingOn: true } }));
  }

  #body = (message, files) => bodyOf(message, this.agent, files, this.about);

  /** Sends a message when the reply before it has ended. Rejects with `Problem`. */
  async sendLater(message, files = []) {
    const waits = await this.later.add(this.id, this.#body(message, files), files);
    if (!waits && !this.run) await this.load();
  }

  /** Ends the running reply now: the text freezes at once, the service is asked, the answer says how fast it was. */
  async stop() {
    const { run, state } = this;
    if (state === "stopping" || state === "idle") return;
    if (run) freeze(run.reply);
    const [seen, isWanted] = [run?.seen, () => this.run === run];
    const runId = this.later.isEmpty ? run?.id : null; // none: nothing that waits begins, either
    this.stopProblem = null;
    this.#set("stopping");
    try {
      const answer = await insist(() => this.#api.stop(this.id, runId, seen), isWanted);
      if (!runId) this.later.recall(answer.unsent);
      this.#stopped(run, answer);
    } catch (problem) {
      if (this.run !== run) return;
      if (run) thaw(run.reply);
      this.stopProblem = problem;
      this.#set(!run ? "waiting" : run.isConnected ? "running" : "resuming");
    }
  }

  #stopped(run, { result, stop_ms: ms, backend, answered_by: answeredBy }) {
    if (run && ["stopped", "owner_lost"].includes(result)) run.reply.stop = { ms, backend, answeredBy };
    if (!run && this.state === "stopping") return void this.load().catch(() => this.#set("idle"));
    this.#onchange("turns");
    setTimeout(() => this.#believe(run), STOP_SETTLES_MS);
  }

  /** Gives up the refused message; it goes back. */
  giveUp() {
    this.later.handBack([{ message: this.refused.message, files: this.refused.options.files }]);
    this.refused = null;
    this.#onchange("turns");
  }

  /** Lets go of the stream; the run goes on without us. */
  leave() {
    this.#isLeft = true;
    this.#letGo();
  }

  #letGo() {
    const { run } = this;
    this.run = null;
    run?.leave();
  }

  #ask(run, undo) {
    this.refused = this.stopProblem = null;
    this.isNew = false;
    this.#begin(run, this.turns.at(-1), undo);
  }

  #begin(run, shown, undo = null) {
    this.run = Object.assign(run, { reply: shown, undo });
    this.#begun += 1;
    this.#looks = 0;
    this.#set("running");
    void this.#follow(run);
  }

  async #follow(run) {
    try {
      const read = () => this.#api.chat(this.id);
      await follow(run, read, (what, turns) => this.#hear(run, what, turns));
    } catch (problem) {
      return this.#refuse(run, problem);
    }
    this.#finish(run);
  }

  #hear(run, what, turns) {
    if (what === "cut") return this.#set(this.state === "stopping" ? "stopping" : "resuming");
    if (what === "kept") return void (this.turns = merged(this.turns, turns));
    if (what === "text") return this.#onchange("text");
    if (this.state === "resuming") this.#set("running");
    this.about.isKept = true;
    if (run.undo) this.#onchange("news");
    run.undo = null;
  }

  #finish(run) {
    if (this.run !== run) return;
    this.run = this.stopProblem = null;
    if (this.state === "stopping") this.#set("idle");
    else this.#rest();
    this.#onchange("news");
  }

  /** Nothing runs: the next message is about to begin where one waits; nothing follows a stop by itself. */
  #rest() {
    if (this.later.isEmpty || this.#looks >= NEXT_MS.length || this.#isLeft) return this.#set("idle");
    this.#set("waiting");
    setTimeout(() => this.#isLeft || this.run || this.load().catch(() => this.#rest()), NEXT_MS[this.#looks++]);
  }

  /** The service would not take it: the chat is as it was, the message waits in `refused`. */
  #refuse(run, problem) {
    if (this.run !== run) return;
    this.run = null;
    if (run.undo) this.refused = { ...run.undo(), problem };
    else apply(run.reply, "end", { outcome: "failed", error: problem }, Date.now());
    this.#rest();
  }

  /** Another message takes the place of the running reply: what is shown of it stays, marked as stopped. */
  #dismiss() {
    Object.assign(this.run.reply, { held: null, outcome: "stopped" });
    this.#letGo();
  }

  /** The stop was answered but the stream did not end: the answer counts. */
  #believe(run) {
    if (!run || this.run !== run || !run.reply.stop) return;
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
