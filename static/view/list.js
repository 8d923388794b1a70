/**
 * The list of chats at the side: titles, running dots, times, filter. Part of the view.
 */

import { isChatId } from "../ids.js";
import { ago } from "../words.js";
import { $, h, iconButton } from "./dom.js";

export class ChatList {
  #list = $("chats");
  #filter = $("filter");
  #entries = [];
  #current = "";
  #isComplete = true;

  /** `actions`: details(id), more(), all(). */
  constructor(actions) {
    this.actions = actions;
    this.#filter.addEventListener("input", () => this.#paint());
    this.#filter.addEventListener("focus", () => actions.all());
    $("filter-form").addEventListener("submit", (event) => (event.preventDefault(), this.#openFirst()));
    $("more").addEventListener("click", () => actions.more());
  }

  show(entries, current, isComplete) {
    this.#entries = entries;
    this.#current = current;
    this.#isComplete = isComplete;
    this.#paint();
  }

  focusFilter() {
    this.#filter.focus();
    this.#filter.select();
  }

  #paint() {
    const typed = this.#filter.value.trim();
    const wanted = typed.toLowerCase();
    const found = this.#entries.filter(({ title, chat_id: id }) => `${title} ${id}`.toLowerCase().includes(wanted));
    const focused = document.activeElement?.closest("#chats li")?.dataset.id;
    const rows = found.map((entry) => this.#row(entry));
    if (found.length === 0 && isChatId(typed))
      rows.push(h("li", {}, h("a", { href: `#/chat/${typed}` }, `Open the chat with the id ${typed}`)));
    this.#list.replaceChildren(...rows);
    if (focused) this.#list.querySelector(`li[data-id="${CSS.escape(focused)}"] a`)?.focus({ preventScroll: true });
    $("no-chats").hidden = rows.length > 0;
    $("no-chats").textContent = wanted ? "No chat has this in its title." : "Chats appear here.";
    $("more").hidden = this.#isComplete || wanted !== "";
  }

  #row({ chat_id: id, title, status, updated_at: at }) {
    const name = title || "New chat";
    const isRunning = status === "running";
    return h(
      "li",
      { "data-id": id },
      h(
        "a",
        { href: `#/chat/${encodeURIComponent(id)}`, "aria-current": id === this.#current ? "page" : null },
        h("span", { class: "title" }, name),
        isRunning
          ? h("span", { class: "dot", role: "img", "aria-label": "running" })
          : h("span", { class: "when" }, ago(at)),
      ),
      iconButton("more", `Options of ${name}`, () => this.actions.details(id)),
    );
  }

  #openFirst() {
    this.#list.querySelector("a")?.click();
  }
}
