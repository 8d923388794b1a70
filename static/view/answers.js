/**
 * What was answered for a whole chat to tools that ask: shown in its dialog, and taken back. Part of the view.
 */

import { t } from "../language.js";
import { sentence } from "../trouble.js";
import { $, button, h } from "./dom.js";

export class Answers {
  #place = $("about-answers");
  #list = $("answers");
  #said = $("answers-said");
  #chatId = "";

  /** `actions`: answered(id), askAgain(id, tool). */
  constructor(actions) {
    this.actions = actions;
  }

  /** Those of a chat, as soon as the service has told them; none for "". */
  async show(chatId) {
    this.#chatId = chatId;
    this.#place.hidden = true;
    this.#said.textContent = "";
    const tools = chatId ? await this.actions.answered(chatId).catch(() => []) : [];
    if (chatId !== this.#chatId) return;
    this.#list.replaceChildren(...tools.map((tool) => this.#row(tool)));
    this.#place.hidden = tools.length === 0;
  }

  #row({ name, status }) {
    const isAllowed = status === "allowed";
    const words = t(isAllowed ? "is used without asking" : "is refused without asking");
    const again = button(t("Ask again"), () => this.#takeBack(row, name));
    again.setAttribute("aria-label", t("Ask again about {name}", { name }));
    const row = h("li", { class: "row" }, h("span", {}, h("code", {}, name), ` ${words}`), again);
    return row;
  }

  /** The focus stays in the list, or goes to what is left to do in the dialog. */
  async #takeBack(row, name) {
    try {
      await this.actions.askAgain(this.#chatId, name);
    } catch (problem) {
      return void (this.#said.textContent = sentence(problem));
    }
    const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("button");
    row.remove();
    this.#said.textContent = t("{name} asks again from now on.", { name });
    (next ?? $("about-id")).focus();
  }
}
