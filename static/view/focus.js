/**
 * The focus, which is never lost: when the button that had it goes, what stands in its place gets it, else the box.
 *
 * Part of the view.
 */

import { $, toBox } from "./dom.js";

const isThere = (element) =>
  element.isConnected &&
  !element.disabled &&
  element.getClientRects().length > 0 &&
  getComputedStyle(element).visibility === "visible";

export class Focus {
  #had = null; // what had it last in the chat, until a pointer is put down elsewhere
  #turn = -1; // where in the transcript that stands

  constructor() {
    this.#note(document.activeElement); // somebody may have been quicker than this file
    document.addEventListener("pointerdown", () => (this.#had = null), true);
    document.addEventListener("focusin", ({ target }) => this.#note(target));
    document.addEventListener("click", () => setTimeout(() => this.keep())); // what was pressed may have gone
  }

  /** After anything may have gone. */
  keep() {
    const { activeElement, body } = document;
    if (!this.#had || isThere(this.#had) || ![body, this.#had].includes(activeElement)) return;
    const next = this.#next();
    this.#had = null;
    if (next) next.focus({ preventScroll: true });
    else toBox();
  }

  #note(target) {
    this.#had = target.closest("#chat-page") ? target : null;
    this.#turn = [...$("log").children].indexOf(target.closest("article"));
  }

  /** The button of the same name in the turn at the same place; of two that lead to and fro, the other one as well. */
  #next() {
    const turn = $("log").children[this.#turn];
    const name = CSS.escape(this.#had.getAttribute("aria-label") ?? "");
    const group = this.#had.closest(".versions") ? ".versions button" : null;
    const found = [`button[aria-label="${name}"]`, group].flatMap((query) => [...(query ? (turn?.querySelectorAll(query) ?? []) : [])]);
    return found.find(isThere);
  }
}
