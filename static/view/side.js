/**
 * The side with the list: a column that folds away, on small screens a drawer over the page. Part of the view.
 */

import { recall, remember } from "../device.js";
import { $ } from "./dom.js";

const BUTTONS = ["menu", "status-menu"];
const PAGES = ["chat-page", "status-page"];
const SMALL = matchMedia("(max-width: 800px), (max-height: 500px)");

export class Side {
  #opener = null;

  constructor() {
    this.#fold(recall("side") === "folded");
    for (const id of BUTTONS) $(id).addEventListener("click", (event) => this.toggle(event.currentTarget));
    $("close-drawer").addEventListener("click", () => this.toggle());
    $("veil").addEventListener("click", () => this.close());
    $("side").addEventListener("click", ({ target }) => target.closest("a") && !target.matches("input") && this.close(false));
    SMALL.addEventListener("change", () => this.close(false));
  }

  get isDrawer() {
    return SMALL.matches;
  }

  get isOpen() {
    return document.body.classList.contains("drawer");
  }

  /** The drawer opens or closes; where there is room, the column folds or unfolds. */
  toggle(opener = null) {
    if (!this.isDrawer) return this.#fold(!document.documentElement.classList.contains("folded"), true);
    if (this.isOpen) return this.close();
    this.#opener = opener;
    this.#open();
  }

  /** Makes the list visible, whichever way. */
  reveal() {
    if (this.isDrawer) this.#open();
    else this.#fold(false, true);
  }

  /** True when there was a drawer to close; the focus goes back to where it came from. */
  close(focus = true) {
    const wasOpen = this.isOpen;
    document.body.classList.remove("drawer");
    this.#say(!this.isDrawer && !document.documentElement.classList.contains("folded"));
    for (const id of PAGES) $(id).inert = false;
    if (wasOpen && focus) (this.#opener ?? $("menu")).focus();
    return wasOpen;
  }

  /** What lies behind the drawer is out of reach until it is closed. */
  #open() {
    document.body.classList.add("drawer");
    this.#say(true);
    for (const id of PAGES) $(id).inert = true;
    $("new-chat").focus();
  }

  #fold(isFolded, isChosen = false) {
    document.documentElement.classList.toggle("folded", isFolded);
    this.#say(!isFolded && !this.isDrawer);
    if (isChosen) remember("side", isFolded ? "folded" : "");
  }

  #say(isExpanded) {
    for (const id of BUTTONS) $(id).setAttribute("aria-expanded", String(isExpanded));
  }
}
