/**
 * The dialog about one chat: title, id, how long it is kept, export, delete. Part of the view.
 */

import { isChatId } from "../ids.js";
import { t } from "../language.js";
import { fullTime } from "../words.js";
import { $, copyButton } from "./dom.js";

export class ChatDialog {
  #dialog = $("about-chat");
  #title = $("about-title");
  #id = $("about-id");
  #chat = null;

  /** `actions`: rename(id, title), remove(id), open(id), exportPath(id, format), download(id, format) or null. */
  constructor(actions) {
    this.actions = actions;
    $("about-id-row").append(copyButton(t("Copy the chat id"), () => this.#id.value));
    $("about-title-form").addEventListener("submit", (event) => (event.preventDefault(), this.#rename()));
    $("about-id-form").addEventListener("submit", (event) => (event.preventDefault(), this.#open()));
    this.#id.addEventListener("input", () => this.#checkId());
    $("about-delete").addEventListener("click", () => this.#leave(() => actions.remove(this.#chat.id)));
    for (const format of ["markdown", "json"])
      $(`export-${format}`).addEventListener("click", (event) => actions.download(event, this.#chat.id, format));
  }

  /** `chat`: {id, title, isKept, expiresAt}. */
  open(chat) {
    this.#chat = chat;
    this.#title.value = chat.title;
    this.#id.value = chat.id;
    this.#checkId();
    $("about-expires").hidden = !chat.expiresAt;
    $("about-expires").textContent = chat.expiresAt ? t("Kept until {time}", { time: fullTime(chat.expiresAt) }) : "";
    $("about-kept").hidden = !chat.isKept;
    $("about-title-form").hidden = !chat.isKept;
    for (const format of ["markdown", "json"]) $(`export-${format}`).href = this.actions.exportPath(chat.id, format);
    this.#dialog.showModal();
  }

  #rename() {
    const title = this.#title.value.trim().slice(0, 200);
    this.#leave(() => title && title !== this.#chat.title && this.actions.rename(this.#chat.id, title));
  }

  #open() {
    const id = this.#id.value.trim();
    if (isChatId(id)) this.#leave(() => this.actions.open(id));
  }

  #checkId() {
    const id = this.#id.value.trim();
    $("about-open").hidden = id === this.#chat.id;
    $("about-open").disabled = !isChatId(id);
    $("about-id-hint").hidden = !id || isChatId(id);
  }

  #leave(act) {
    this.#dialog.close();
    act();
  }
}
