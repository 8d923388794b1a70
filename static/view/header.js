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
  #isRung = false;

  /** `actions`: rename(id, title). */
  constructor(actions) {
    const rename = () => this.#chat?.title && renameIn($("title"), this.#name, (name) => actions.rename(this.#chat.id, name));
    $("rename").addEventListener("click", rename);
    document.addEventListener("visibilitychange", () => document.hidden || this.#ring(false));
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
    document.title = this.#isRung ? `✓ ${name}` : name;
  }

  /** A reply is done: whoever looks elsewhere sees it at the tab. */
  done() {
    if (document.hidden) this.#ring(true);
  }

  #ring(isRung) {
    this.#isRung = isRung;
    if (this.#chat) this.show(this.#chat);
  }
}
