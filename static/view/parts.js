/**
 * The parts of a reply in the order they came: texts, and between them runs of steps. Part of the view.
 */

import { Blocks } from "./blocks.js";
import { h } from "./dom.js";
import { StepsView } from "./steps.js";

/** Shows the parts of one reply in `element`. */
export class PartsView {
  element = h("div", { class: "parts" });
  #views = [];
  #cursor = null; // the element the cursor stands in

  constructor(actions) {
    this.actions = actions;
  }

  /** `isFinished`: nothing is added any more. */
  show(parts, isFinished) {
    const pieces = piecesOf(parts);
    pieces.forEach((piece, index) => {
      const isLast = index === pieces.length - 1;
      const view = (this.#views[index] ??= this.#add(piece));
      view.show(piece, isFinished || !isLast);
    });
    this.#setCursor(isFinished ? null : pieces.at(-1));
  }

  clear() {
    this.#views = [];
    this.element.replaceChildren();
  }

  #add(piece) {
    const view = Array.isArray(piece) ? new StepsView(this.actions) : new TextView();
    this.element.append(view.element);
    return view;
  }

  /** One cursor, behind the last letter of the last text. */
  #setCursor(piece) {
    const place = piece && !Array.isArray(piece) ? endOf(this.element.lastElementChild) : null;
    if (place !== this.#cursor) this.#cursor?.classList.remove("cursor");
    this.#cursor = place;
    place?.classList.add("cursor");
  }
}

/** Texts as they are, steps that follow each other as a list. */
function piecesOf(parts) {
  const pieces = [];
  for (const part of parts) {
    if (part.kind === "text") pieces.push(part);
    else if (Array.isArray(pieces.at(-1))) pieces.at(-1).push(part);
    else pieces.push([part]);
  }
  return pieces;
}

/** The innermost block element that ends with the text's end. */
function endOf(element) {
  let place = element;
  for (;;) {
    let last = place.lastChild;
    while (isNothing(last)) last = last.previousSibling;
    if (last?.nodeType !== Node.ELEMENT_NODE || last.matches("a, em, strong, del, br, hr, sub, sup, button, .math")) return place;
    if (place.matches("pre")) return last;
    place = last.matches(".table-box") ? last.firstElementChild : last;
    if (place.localName === "code" && !place.closest("pre")) return place.parentElement;
  }
}

/** White space, or a block in which only the beginning of a mark has come, which waits to be shown. */
const isNothing = (node) => (node?.nodeType === Node.TEXT_NODE && !node.data.trim()) || node?.matches?.(".block:empty");

class TextView {
  element = h("div", { class: "text" });
  #blocks = new Blocks(this.element);
  #isFinished = false;
  #length = 0;

  show({ text }, isFinished) {
    if (this.#isFinished && text.length === this.#length) return;
    if (this.#isFinished) this.#blocks.clear(); // a stop that came too late: the text goes on
    this.#blocks.paint(text, isFinished);
    this.#isFinished = isFinished;
    this.#length = text.length;
  }
}
