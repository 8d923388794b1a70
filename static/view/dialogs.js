/**
 * The dialogs: one chat (title, id, export, delete), the list of keys, the question for the API key. Part of the view.
 */

import { isChatId } from "../ids.js";
import { $, copyButton } from "./dom.js";

/** Whether a dialog is open; Esc belongs to it then. */
export const isDialogOpen = () => document.querySelector("dialog[open]") !== null;

export function wireDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    });
  }
}

export const showKeys = () => $("keys").showModal();

export class ChatDialog {
  #dialog = $("about-chat");
  #title = $("about-title");
  #id = $("about-id");
  #chat = null;

  /** `actions`: rename(id, title), remove(id), open(id), exportPath(id, format), download(id, format) or null. */
  constructor(actions) {
    this.actions = actions;
    $("about-id-row").append(copyButton("Copy the chat id", () => this.#id.value));
    $("about-title-form").addEventListener("submit", (event) => (event.preventDefault(), this.#rename()));
    $("about-id-form").addEventListener("submit", (event) => (event.preventDefault(), this.#open()));
    this.#id.addEventListener("input", () => this.#checkId());
    $("about-delete").addEventListener("click", () => this.#leave(() => actions.remove(this.#chat.id)));
    for (const format of ["markdown", "json"])
      $(`export-${format}`).addEventListener("click", (event) => actions.download(event, this.#chat.id, format));
  }

  /** `chat`: {id, title, isKept}. */
  open(chat) {
    this.#chat = chat;
    this.#title.value = chat.title;
    this.#id.value = chat.id;
    this.#checkId();
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
    $("about-id-hint").hidden = isChatId(id);
  }

  #leave(act) {
    this.#dialog.close();
    act();
  }
}

/** Asks for the API key; resolves with what was typed. */
export function askForKey(wasWrong) {
  const dialog = $("ask-key");
  const box = $("key");
  $("key-wrong").hidden = !wasWrong;
  box.value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      if (!box.value.trim()) return;
      dialog.close();
      resolve(box.value.trim());
    };
    dialog.oncancel = (event) => event.preventDefault();
  });
}
