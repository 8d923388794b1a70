/**
 * What all dialogs have in common, the list of keys, and the question for the API key. Part of the view.
 */

import { $ } from "./dom.js";

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

/** Asks for the API key; resolves with what was typed, "" when it may be left and was. */
export function askForKey(wasWrong, mayCancel = false) {
  const dialog = $("ask-key");
  const box = $("key");
  $("key-wrong").hidden = !wasWrong;
  box.value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      if (!box.value.trim()) return;
      resolve(box.value.trim());
      dialog.close();
    };
    dialog.oncancel = (event) => mayCancel || event.preventDefault();
    dialog.onclose = () => resolve("");
  });
}
