/**
 * The box to write in, with Send and Stop in the same place; while a reply runs, what is sent waits for its end.
 *
 * Part of the view. A second tap on Stop never sends: a press that comes when Send has just taken its place is none.
 */

import { t } from "../language.js";
import { Attach } from "./attach.js";
import { Counter } from "./counter.js";
import { $, announce, icon, isSendKey, toBox } from "./dom.js";

const DEAD_MS = 600; // after Stop has become Send

export class Composer {
  #box = $("box");
  #button = $("send");
  #isLive = false;
  #isStopping = false;
  #pause = 0; // the timer of it: presses of the button until then were meant for Stop
  #isSending = false; // a file is on its way to the service
  counter = new Counter(this.#box);

  /** `actions`: send(text), stop(), draft(), editLast(). */
  constructor(actions) {
    this.actions = actions;
    this.attach = new Attach(actions);
    $("composer").addEventListener("submit", (event) => event.preventDefault());
    this.#button.addEventListener("click", (event) => (event.preventDefault(), this.#press(event)));
    this.#box.addEventListener("input", () => this.#changed());
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    $("send-too").addEventListener("click", () => this.#send());
  }

  /** The files that go with the next message. */
  showFiles(attachments) {
    this.attach.show(attachments);
    this.#isSending = attachments.isBusy;
    const hasFiles = attachments.items.length > 0;
    this.#box.placeholder = t(hasFiles ? "Say what to do with it" : "Write a message");
    this.#offer();
  }

  get text() {
    return this.#box.value;
  }

  /** Another chat: its draft. */
  fill(text) {
    this.#box.value = text;
    this.#fit();
  }

  /** What was not sent comes back, before what has been written since. */
  giveBack(text) {
    this.fill([text, this.text].filter(Boolean).join("\n\n"));
    this.actions.draft();
    this.focus();
  }

  focus = toBox;

  show(state) {
    const isOver = this.#isLive && state === "idle";
    if (isOver) this.#pauseSending();
    this.#isLive = state !== "idle";
    this.#button.className = this.#isLive ? "stop" : "";
    this.#button.setAttribute("aria-label", t(this.#isLive ? "Stop" : "Send"));
    this.#button.title = t(this.#isLive ? "Stop (Esc)" : "Send (Enter)");
    this.#isStopping = state === "stopping";
    this.#button.replaceChildren(icon(this.#isLive ? "stop" : "send"));
    this.#offer();
    if (isOver && document.activeElement === this.#button) this.focus();
  }

  /** The second half of a double click on Send is no Stop, either. */
  #press({ detail }) {
    if (this.#isLive && detail < 2) this.actions.stop();
    else if (!this.#isLive && !this.#pause) this.#send();
  }

  #pauseSending() {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = 0;
      this.#offer();
    }, DEAD_MS);
  }

  #key(event) {
    if (event.key === "ArrowUp" && !this.#box.value && !this.#isLive && this.actions.editLast()) event.preventDefault();
    if (!isSendKey(event)) return;
    event.preventDefault();
    this.#send();
  }

  #send() {
    const text = this.#box.value;
    if (!text.trim() || !this.counter.check()) return;
    if (this.#isSending) return announce(t("A file is still on its way."));
    this.fill("");
    this.actions.send(text);
    this.focus();
  }

  #changed() {
    this.#fit();
    this.actions.draft();
  }

  /** While a reply runs the button is Stop; another one sends what has been written. */
  #offer() {
    const isEmpty = !this.#box.value.trim();
    $("send-too").hidden = !this.#isLive || isEmpty;
    const isDead = this.#isStopping || (!this.#isLive && (isEmpty || this.#isSending || this.#pause));
    this.#button.setAttribute("aria-disabled", String(Boolean(isDead)));
    this.counter.show();
  }

  #fit() {
    this.#box.style.height = "auto";
    this.#box.style.height = `${this.#box.scrollHeight}px`;
    this.#offer();
  }
}
