/**
 * Files at the box to write in: picked, pasted, dropped, taken with the camera; shown as small cards until they are sent.
 *
 * Part of the view.
 */

import { t } from "../language.js";
import { fileCard } from "./card.js";
import { $, announce, arrange, h, iconButton, isTouch, toBox } from "./dom.js";

const FOLD_CHARS = 2_000; // a text that is pasted and longer becomes a file

export class Attach {
  #box = $("box");
  #cards = new Map(); // item -> its element
  #isOffered = false;

  /** `actions`: attach(blob, name), unfold(item), detach(item), fileBlob(fileId). */
  constructor(actions) {
    this.actions = actions;
    for (const id of ["pick", "camera"]) {
      $(id).addEventListener("click", () => $(`${id}-file`).click());
      $(`${id}-file`).addEventListener("change", ({ target }) => this.#picked(target));
    }
    this.#box.addEventListener("paste", (event) => this.#pasted(event));
    this.#wireDrop($("chat-page"));
  }

  /** The service takes files. */
  offer() {
    $("pick").hidden = false;
    $("camera").hidden = !isTouch();
    this.#isOffered = true;
  }

  /** `attachments` of the visible chat, as they are now. */
  show(attachments) {
    const at = [...this.#cards.values()].findIndex((card) => card.contains(document.activeElement));
    const cards = attachments.items.map((item) => [item, this.#card(item)]);
    this.#cards = new Map(cards);
    arrange($("files"), [...this.#cards.values()]);
    $("files").hidden = cards.length === 0;
    if (at >= 0 && !$("files").contains(document.activeElement)) this.#refocus(at);
  }

  /** The card that had the focus is gone: the next one has it, or the box. */
  #refocus(at) {
    const card = [...this.#cards.values()].at(Math.min(at, this.#cards.size - 1));
    if (card) card.lastElementChild.focus();
    else toBox();
  }

  #card(item) {
    const known = this.#cards.get(item);
    const element = known ?? h("li", {});
    const isBusy = item.file === null;
    if (known && element.classList.contains("busy") === isBusy) return element;
    element.classList.toggle("busy", isBusy);
    if (known && !isBusy) announce(t("{name} goes along", { name: item.name }));
    const remove = iconButton("close", t("Take {name} out", { name: item.name }), () => this.#takeOut(item));
    const fold = item.isFolded ? iconButton("edit", t("Put it into the box as text"), () => this.actions.unfold(item)) : null;
    element.replaceChildren(fileCard({ ...item.file, name: item.name, blob: item.blob }, this.actions), fold ?? "", remove);
    return element;
  }

  #takeOut(item) {
    this.actions.detach(item);
    announce(t("{name} is taken out", { name: item.name }));
  }

  #picked(input) {
    for (const file of [...input.files]) this.actions.attach(file, file.name);
    input.value = "";
    this.#box.focus({ preventScroll: true });
  }

  #pasted(event) {
    if (!this.#isOffered) return;
    const files = [...(event.clipboardData?.files ?? [])];
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (files.length > 0 && !text) {
      event.preventDefault();
      for (const file of files) this.actions.attach(file, file.name || t("picture"));
    } else if (text.length > FOLD_CHARS) {
      event.preventDefault();
      this.actions.fold(text);
    }
  }

  #wireDrop(place) {
    const isFiles = ({ dataTransfer }) => this.#isOffered && [...(dataTransfer?.types ?? [])].includes("Files");
    const show = (isOver) => place.classList.toggle("dropping", isOver);
    place.addEventListener("dragover", (event) => isFiles(event) && (event.preventDefault(), show(true)));
    place.addEventListener("dragleave", (event) => place.contains(event.relatedTarget) || show(false));
    place.addEventListener("drop", (event) => {
      show(false);
      if (!isFiles(event)) return;
      event.preventDefault();
      for (const file of [...event.dataTransfer.files]) this.actions.attach(file, file.name);
    });
  }
}
