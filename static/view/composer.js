/**
 * The box to write in, with Send and Stop in the same place, and the question what to do while a reply runs.
 *
 * Part of the view.
 */

import { $, icon, isPlainEnter, isTouch } from "./dom.js";

export class Composer {
  #box = $("box");
  #button = $("send");
  #choice = $("choice");
  #isLive = false;

  /** `actions`: send(text, how), stop(), draft(), editLast(). */
  constructor(actions) {
    this.actions = actions;
    $("composer").addEventListener("submit", (event) => (event.preventDefault(), this.#press()));
    this.#box.addEventListener("input", () => this.#changed());
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    $("send-too").addEventListener("click", () => this.#ask());
    $("choice-replace").addEventListener("click", () => this.#send("replace"));
    $("choice-wait").addEventListener("click", () => this.#send("wait"));
    $("choice-cancel").addEventListener("click", () => this.closeChoice());
  }

  get text() {
    return this.#box.value;
  }

  /** Another chat: its draft. */
  fill(text) {
    this.#box.value = text;
    this.closeChoice(false);
    this.#fit();
  }

  /** On a phone the focus would raise the keyboard, so it stays away. */
  focus() {
    if (!isTouch()) this.#box.focus({ preventScroll: true });
  }

  show(state) {
    const isOver = this.#isLive && state === "idle";
    this.#isLive = state !== "idle";
    this.#button.className = this.#isLive ? "stop" : "";
    this.#button.setAttribute("aria-label", this.#isLive ? "Stop" : "Send");
    this.#button.title = this.#isLive ? "Stop (Esc)" : "Send (Enter)";
    this.#button.setAttribute("aria-disabled", String(state === "stopping"));
    this.#button.replaceChildren(icon(this.#isLive ? "stop" : "send"));
    this.#offer();
    if (!this.#isLive) this.closeChoice(false);
    if (isOver && document.activeElement === this.#button) this.focus();
  }

  /** True when there was a choice to close. */
  closeChoice(focus = true) {
    const wasOpen = !this.#choice.hidden;
    this.#choice.hidden = true;
    if (wasOpen && focus) this.focus();
    return wasOpen;
  }

  #press() {
    if (this.#isLive) this.actions.stop();
    else this.#send();
  }

  #key(event) {
    if (event.key === "ArrowUp" && !this.#box.value && !this.#isLive && this.actions.editLast()) event.preventDefault();
    if (!isPlainEnter(event)) return;
    event.preventDefault();
    if (this.#isLive && this.#box.value.trim()) this.#ask();
    else if (!this.#isLive) this.#send();
  }

  #ask() {
    this.#choice.hidden = false;
    $("choice-replace").focus();
  }

  #send(how) {
    const text = this.#box.value;
    if (!text.trim()) return;
    this.fill("");
    this.actions.send(text, how);
    this.focus();
  }

  #changed() {
    this.#fit();
    this.actions.draft();
  }

  /** While a reply runs the button is Stop; another one sends what has been written. */
  #offer() {
    $("send-too").hidden = !this.#isLive || !this.#box.value.trim();
  }

  #fit() {
    this.#box.style.height = "auto";
    this.#box.style.height = `${this.#box.scrollHeight}px`;
    this.#offer();
  }
}
