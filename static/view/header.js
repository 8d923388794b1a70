/**
 * The line above a chat: its title, renamed in place, and the title of the tab, which tells when a reply is done while
 * nobody looked. Part of the view.
 */

import { t } from "../language.js";
import { cleanTitle } from "../words.js";
import { $ } from "./dom.js";
import { renameIn } from "./rename.js";

export class Header {
  #name = "";
  #chat = null;
  #mark = ""; // before the title, for who looks elsewhere

  /** `actions`: rename(id, title). */
  constructor(actions) {
    const rename = () => this.#chat?.title && renameIn($("title"), this.#name, (name) => actions.rename(this.#chat.id, name));
    $("rename").addEventListener("click", rename);
    document.addEventListener("visibilitychange", () => document.hidden || this.#ring(""));
  }

  show(chat) {
    this.#chat = chat;
    this.#name = cleanTitle(chat.title);
    $("rename").textContent = this.#name || t("New chat");
    $("rename").disabled = !chat.title;
    this.call(this.#name || t("Chat"));
  }

  /** The title of the tab. */
  call(name) {
    document.title = [this.#mark, name].filter(Boolean).join(" ");
  }

  /** Something is done ("✓") or asks ("?"): whoever looks elsewhere sees it at the tab. */
  ring(mark) {
    if (document.hidden) this.#ring(mark);
  }

  #ring(mark) {
    this.#mark = mark;
    if (this.#chat) this.show(this.#chat);
  }
}
