/**
 * What people choose for this device: theme, text size, language, facts; and what they do to all chats. Part of the view.
 */

import { recall, remember } from "../device.js";
import { LANGUAGES, language, t } from "../language.js";
import { $, h } from "./dom.js";
import { showKeys } from "./dialogs.js";

const DELETE_MS = 5_000; // so long the second press counts

export class Settings {
  #armed = 0;

  /** `actions`: changeKey(), removeAll(), everythingPath, downloadAll(event), bringIn(file). */
  constructor(actions) {
    $("settings-form").addEventListener("change", ({ target }) => this.#chosen(target));
    $("settings-form").addEventListener("submit", (event) => event.preventDefault());
    $("settings-keys").addEventListener("click", () => ($("settings").close(), showKeys()));
    $("settings-key").addEventListener("click", () => ($("settings").close(), void actions.changeKey()));
    $("export-all").href = actions.everythingPath;
    $("export-all").addEventListener("click", (event) => actions.downloadAll(event));
    $("import-file").addEventListener("change", ({ target }) => this.#bringIn(target, actions));
    $("delete-all").addEventListener("click", () => this.#deleteAll(actions));
    const names = Object.entries(LANGUAGES).map(([tag, name]) => h("option", { value: tag, lang: tag }, name));
    $("language").append(...names);
  }

  open() {
    const form = $("settings-form");
    for (const box of form.querySelectorAll("[type=radio]")) box.checked = box.value === recall(box.name);
    form.elements.facts.checked = recall("facts") === "shown";
    form.elements.language.value = language();
    this.#disarm();
    $("settings").showModal();
  }

  #bringIn(box, actions) {
    const [file] = box.files;
    box.value = "";
    $("settings").close();
    if (file) void actions.bringIn(file);
  }

  #chosen({ name, value, checked, type }) {
    remember(name, type === "checkbox" ? (checked ? "shown" : "") : value);
    if (name === "language") return location.reload();
    globalThis.dressPage(); // first.js: theme, size, facts, as before the first paint
  }

  #deleteAll(actions) {
    if (!this.#armed) {
      $("delete-all").textContent = t("Press again: every chat goes, for good");
      this.#armed = setTimeout(() => this.#disarm(), DELETE_MS);
      return;
    }
    this.#disarm();
    $("settings").close();
    void actions.removeAll();
  }

  #disarm() {
    clearTimeout(this.#armed);
    this.#armed = 0;
    $("delete-all").textContent = t("Delete all chats");
  }
}
