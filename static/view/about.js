/**
 * The dialog about one chat: title, instructions, temperature, what its tools may do, id, how long it is
 * kept, export, delete. Part of the view.
 */

import { isChatId } from "../ids.js";
import { language, t } from "../language.js";
import { fullTime } from "../words.js";
import { Answers } from "./answers.js";
import { $, copyButton } from "./dom.js";

export class ChatDialog {
  #dialog = $("about-chat");
  #title = $("about-title");
  #id = $("about-id");
  #chat = null;
  #answers;

  /**
   * `actions`: rename(id, title), instruct(id, wishes), remove(id), open(id), exportPath(id, format), download(…), and
   * those of `answers.js`.
   */
  constructor(actions) {
    this.actions = actions;
    this.#answers = new Answers(actions);
    $("about-id-row").append(copyButton(t("Copy the chat id"), () => this.#id.value));
    $("about-title-form").addEventListener("submit", (event) => (event.preventDefault(), this.#rename()));
    $("about-wishes").addEventListener("submit", (event) => (event.preventDefault(), this.#instruct()));
    $("about-warm").addEventListener("change", () => this.#showWarmth());
    $("about-temperature").addEventListener("input", () => this.#showWarmth());
    $("about-id-form").addEventListener("submit", (event) => (event.preventDefault(), this.#open()));
    this.#id.addEventListener("input", () => this.#checkId());
    $("about-delete").addEventListener("click", () => this.#leave(() => actions.remove(this.#chat.id)));
    for (const format of ["markdown", "json"])
      $(`export-${format}`).addEventListener("click", (event) => actions.download(event, this.#chat.id, format));
  }

  /** `chat`: {id, title, isKept, isOpen, expires_at, instructions, temperature}; open: the visible one. */
  open(chat) {
    this.#chat = chat;
    this.#title.value = chat.title;
    this.#id.value = chat.id;
    this.#checkId();
    const { expires_at: end, isKept, isOpen, instructions, temperature } = chat;
    $("about-expires").hidden = !end;
    $("about-expires").textContent = end ? t("Kept until {time}", { time: fullTime(end) }) : "";
    for (const id of ["about-kept", "about-title-form"]) $(id).hidden = !isKept;
    $("about-wishes").hidden = !isKept && !isOpen;
    void this.#answers.show(isKept ? chat.id : "");
    $("about-instructions").value = instructions ?? "";
    $("about-warm").checked = temperature != null;
    $("about-temperature").value = temperature ?? 0.7;
    this.#showWarmth();
    for (const format of ["markdown", "json"]) $(`export-${format}`).href = this.actions.exportPath(chat.id, format);
    this.#dialog.showModal();
  }

  #rename() {
    const title = this.#title.value.trim().slice(0, 200);
    this.#leave(() => title && title !== this.#chat.title && this.actions.rename(this.#chat.id, title));
  }

  /** An empty field means: as the agent has it. */
  #instruct() {
    const instructions = $("about-instructions").value.trim() || null;
    const temperature = $("about-warm").checked ? Number($("about-temperature").value) : null;
    this.#leave(() => this.actions.instruct(this.#chat.id, { instructions, temperature }));
  }

  #showWarmth() {
    const isOwn = $("about-warm").checked;
    const { valueAsNumber: warmth } = $("about-temperature");
    $("about-temperature").disabled = !isOwn;
    $("about-warmth").textContent = isOwn ? warmth.toLocaleString(language()) : "";
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
