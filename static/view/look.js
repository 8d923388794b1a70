/**
 * One file shown whole, over the page: a picture, or a text as it is. Part of the view.
 */

import { $, h } from "./dom.js";
import { pictureOf } from "./pictures.js";

export class Look {
  #file = null;
  #blob = null;

  /** `actions`: fileBlob(file), save(blob, name). */
  constructor(actions) {
    this.actions = actions;
    $("look-save").addEventListener("click", () => this.#blob && actions.save(this.#blob, this.#file.name));
    $("look").addEventListener("close", () => $("look-body").replaceChildren());
  }

  /** Rejects with `Problem` when it is not there any more. */
  async open(file) {
    this.#file = file;
    this.#blob = file.blob ?? (await this.actions.fileBlob(file));
    $("look-name").textContent = file.name;
    $("look-body").replaceChildren(await this.#shown(file));
    $("look").showModal();
  }

  async #shown(file) {
    if (this.#blob.type.startsWith("image/")) {
      return h("img", { alt: file.name, src: await pictureOf({ ...file, blob: this.#blob }, this.actions) });
    }
    return h("pre", { dir: "auto", tabindex: "0" }, await this.#blob.text());
  }
}
