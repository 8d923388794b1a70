/**
 * The list of chats at the side: titles by day, running dots, times, filter, rename in place. Part of the view.
 *
 * A row stays the same element for as long as its chat is shown: nothing moves under a pointer but what has moved.
 */

import { t } from "../language.js";
import { cleanTitle, dayGroup } from "../words.js";
import { $, arrange, h } from "./dom.js";
import { Row } from "./row.js";

export class ChatList {
  #list = $("chats");
  #filter = $("filter");
  #entries = [];
  #current = null;
  #isComplete = true;
  #rows = new Map(); // chat id -> Row
  #groups = new Map(); // label -> {element, list}

  /** `actions`: open(id), details(id), rename(id, title), more(), all(). */
  constructor(actions) {
    this.actions = actions;
    this.#filter.addEventListener("input", () => this.#paint());
    this.#filter.addEventListener("focus", () => actions.all());
    this.#filter.addEventListener("keydown", (event) => this.#key(event));
    $("filter-form").addEventListener("submit", (event) => (event.preventDefault(), this.#openFirst()));
    $("more").addEventListener("click", () => actions.more());
  }

  /** `current`: the id of the visible chat, "" for a new one, null for none. */
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
    const wanted = this.#filter.value.trim().toLowerCase();
    const found = this.#entries.filter(({ title, chat_id: id }) =>
      `${cleanTitle(title ?? "")} ${id}`.toLowerCase().includes(wanted),
    );
    const groups = new Map(); // label -> rows
    for (const entry of found) {
      const label = dayGroup(entry.updated_at);
      groups.set(label, [...(groups.get(label) ?? []), this.#row(entry).element]);
    }
    arrange(
      this.#list,
      [...groups].map(([label, rows]) => this.#group(label, rows)),
    );
    const ids = new Set(this.#entries.map(({ chat_id: id }) => id));
    for (const id of this.#rows.keys()) if (!ids.has(id)) this.#rows.delete(id);
    $("no-chats").hidden = found.length > 0;
    $("no-chats").textContent = t(wanted ? "No chat has this in its title." : "Chats appear here.");
    $("more").hidden = this.#isComplete || wanted !== "";
  }

  #row(entry) {
    const { chat_id: id } = entry;
    let row = this.#rows.get(id);
    if (!row) this.#rows.set(id, (row = new Row(id, this.actions)));
    row.show(entry, id === this.#current);
    return row;
  }

  #group(label, rows) {
    let group = this.#groups.get(label);
    if (!group) {
      const list = h("ul", { "aria-label": label });
      group = { list, element: h("div", { class: "group" }, h("p", { class: "day", "aria-hidden": "true" }, label), list) };
      this.#groups.set(label, group);
    }
    arrange(group.list, rows);
    return group.element;
  }

  /** Esc clears the field and does nothing else. */
  #key(event) {
    if (event.key !== "Escape" || event.isComposing) return;
    event.stopPropagation();
    if (!this.#filter.value) return;
    event.preventDefault();
    this.#filter.value = "";
    this.#paint();
  }

  /** Enter opens the first chat that is found; where none is, nothing happens. */
  #openFirst() {
    this.#list.querySelector("a")?.click();
  }
}
