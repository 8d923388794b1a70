/**
 * The list of chats at the side: titles by day, running dots, times, rename in place; or what a search has found. Part of
 * the view.
 *
 * A row stays the same element for as long as its chat is shown: nothing moves under a pointer but what has moved.
 */

import { t } from "../language.js";
import { sentence } from "../trouble.js";
import { cleanTitle, dayGroup } from "../words.js";
import { $, arrange, h } from "./dom.js";
import { Row } from "./row.js";

export class ChatList {
  #list = $("chats");
  #filter = $("filter");
  #entries = [];
  #current = null;
  #isComplete = true;
  #search = { words: "" };
  #rows = new Map(); // chat id -> Row
  #groups = new Map(); // label -> {element, list}

  /** `actions`: open(id), details(id), rename(id, title), more(), look(words). */
  constructor(actions) {
    this.actions = actions;
    this.#filter.addEventListener("input", () => actions.look(this.#filter.value));
    this.#filter.addEventListener("keydown", (event) => this.#key(event));
    $("filter-form").addEventListener("submit", (event) => (event.preventDefault(), this.#openFirst()));
    $("more").addEventListener("click", () => actions.more());
  }

  /** `current`: the id of the visible chat, "" for a new one, null for none; `search`: what is looked for, see search.js. */
  show(entries, current, isComplete, search) {
    this.#entries = entries;
    this.#current = current;
    this.#isComplete = isComplete;
    this.#search = search;
    this.#paint();
  }

  focusFilter() {
    this.#filter.focus();
    this.#filter.select();
  }

  #paint() {
    const { words, hits } = this.#search;
    const found = words ? (hits ?? this.#titled(words)) : this.#entries;
    const groups = new Map(); // label -> rows
    for (const entry of found) {
      const label = words ? t("Found") : dayGroup(entry.updated_at);
      groups.set(label, [...(groups.get(label) ?? []), this.#row(entry).element]);
    }
    arrange(
      this.#list,
      [...groups].map(([label, rows]) => this.#group(label, rows)),
    );
    const ids = new Set(found.map(({ chat_id: id }) => id));
    for (const id of this.#rows.keys()) if (!ids.has(id)) this.#rows.delete(id);
    this.#tell(found.length);
    $("more").hidden = this.#isComplete || words !== "";
  }

  /** Until the service has answered: what is known here. */
  #titled(words) {
    const wanted = words.toLowerCase();
    return this.#entries.filter(({ title }) =>
      cleanTitle(title ?? "")
        .toLowerCase()
        .includes(wanted),
    );
  }

  #tell(count) {
    const { words, hits, isComplete, problem } = this.#search;
    let said = "";
    if (problem) said = sentence(problem);
    else if (words && hits && !isComplete) said = t("There may be more: another word finds it sooner.");
    else if (count === 0) said = words ? (hits ? t("Nothing found.") : t("Looking …")) : t("Chats appear here.");
    $("no-chats").hidden = !said;
    $("no-chats").textContent = said;
  }

  #row(entry) {
    const { chat_id: id } = entry;
    let row = this.#rows.get(id);
    if (!row) this.#rows.set(id, (row = new Row(id, this.actions)));
    row.show(entry, id === this.#current, this.#search.words);
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
    this.actions.look("");
  }

  /** Enter opens the first chat that is found; where none is, nothing happens. */
  #openFirst() {
    this.#list.querySelector("a")?.click();
  }
}
