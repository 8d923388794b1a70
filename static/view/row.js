/**
 * One row of the list: the title of a chat, whether it runs, when it was last active. Part of the view.
 */

import { t } from "../language.js";
import { ago, cleanTitle } from "../words.js";
import { h, iconButton } from "./dom.js";
import { renameIn } from "./rename.js";

export class Row {
  #name = "";
  #words = "";
  #title = h("span", { class: "title", dir: "auto" });
  #dot = h("span", { class: "dot", role: "img", "aria-label": t("running") });
  #when = h("span", { class: "when" });
  #excerpt = h("span", { class: "excerpt", dir: "auto", hidden: true });
  #link;
  #more;

  /** `actions`: details(id), rename(id, title). */
  constructor(id, actions) {
    const rename = () => renameIn(this.#title, this.#name, (name) => actions.rename(id, name));
    this.#link = h("a", { href: `#/chat/${encodeURIComponent(id)}` }, this.#title, this.#dot, this.#when, this.#excerpt);
    this.#link.addEventListener("dblclick", (event) => (event.preventDefault(), rename()));
    this.#link.addEventListener("keydown", (event) => event.key === "F2" && (event.preventDefault(), rename()));
    this.#link.addEventListener("click", (event) => event.target.matches("input") && event.preventDefault());
    this.#more = iconButton("more", "", () => actions.details(id));
    this.element = h("li", { "data-id": id }, this.#link, this.#more);
  }

  /** `words`: what is looked for; they are marked where they stand in the text. */
  show({ title, status, updated_at: at, excerpt = "" }, isCurrent, words = "") {
    const name = cleanTitle(title ?? "") || t("New chat");
    if (name !== this.#name) this.#call(name);
    if (words !== this.#words) this.#title.replaceChildren(...marked(name, words));
    this.#words = words;
    const isRunning = status === "running";
    this.#dot.hidden = !isRunning;
    this.#when.hidden = isRunning;
    const when = ago(at);
    if (this.#when.textContent !== when) this.#when.textContent = when;
    this.#showExcerpt(words && excerpt !== title ? excerpt : "", words);
    if (isCurrent) this.#link.setAttribute("aria-current", "page");
    else this.#link.removeAttribute("aria-current");
  }

  #showExcerpt(text, words) {
    if (this.#excerpt.textContent !== text) this.#excerpt.replaceChildren(...marked(text, words));
    this.#excerpt.hidden = !text;
  }

  #call(name) {
    this.#name = name;
    this.#title.textContent = name;
    this.#words = "";
    this.#link.title = name;
    const label = t("Options of {name}", { name });
    this.#more.title = label;
    this.#more.setAttribute("aria-label", label);
  }
}

/** `text` with `words` marked, whatever their case. */
function marked(text, words) {
  const at = words ? text.toLowerCase().indexOf(words.toLowerCase()) : -1;
  if (at < 0) return [text];
  const end = at + words.length;
  return [text.slice(0, at), h("mark", {}, text.slice(at, end)), text.slice(end)];
}
