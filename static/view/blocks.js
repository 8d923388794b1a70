/**
 * Paints the Markdown of one growing text: finished blocks stay as they are, the last grows in place.
 *
 * Part of the view. How Markdown becomes clean HTML is `markdown.js`' business, what code, tables and formulas wear is
 * that of `dress.js`.
 */

import { calm } from "../calm.js";
import { blocksOf, hasDefinitions, languageOf, nodesOf } from "../markdown.js";
import { h } from "./dom.js";
import { codeBox, colour, dress, setFormulas } from "./dress.js";
import { become, retext } from "./grow.js";

const HALF_FENCE = /(^|\n)[ \t]*[`~]+$/; // the first letters of the fence that closes a block

export class Blocks {
  #settled = 0; // characters whose blocks will not change any more
  #painted = ""; // the text as painted last
  #last = null; // {element, code, rows} of the block that still grows; so many rows of a table will not change any more

  constructor(element) {
    this.element = element;
  }

  /** Shows `text`, which begins with what was shown before. */
  paint(text, isFinished = false) {
    if (isFinished && hasDefinitions(text)) return this.#afresh(text);
    if (text === this.#painted && !isFinished) return;
    this.#painted = text;
    const blocks = blocksOf(text.slice(this.#settled));
    blocks.forEach((block, index) => {
      const grows = index === blocks.length - 1 && !isFinished;
      this.#show(block, grows);
      if (grows) return;
      this.#settled += block.raw.length;
      this.#last = null;
    });
  }

  clear() {
    this.element.replaceChildren();
    this.#settled = 0;
    this.#painted = "";
    this.#last = null;
  }

  #afresh(text) {
    this.clear();
    for (const block of blocksOf(text)) {
      this.#show(block, false);
      this.#last = null;
    }
  }

  #show(block, grows) {
    try {
      if (block.isCode) this.#showCode(block, grows);
      else this.#showWords(block, grows);
    } catch (error) {
      console.warn("a block is shown as it is:", error.message);
      this.#place("block").replaceChildren(h("p", { dir: "auto" }, block.raw));
    }
  }

  #showWords(block, grows) {
    const shown = grows ? blocksOf(calm(block.raw)) : [block];
    const element = this.#place("block");
    if (!this.#showNewRows(shown, element)) {
      const fresh = new DocumentFragment();
      for (const one of shown) fresh.append(one.isCode ? codeBox(one.token.text, languageOf(one)) : nodesOf(one));
      dress(fresh);
      become(element, fresh);
    }
    if (!grows) setFormulas(element);
    if (!grows) for (const code of element.querySelectorAll("pre code")) void colour(code);
  }

  /** A table grows by its last row and new ones alone. Whether this is one of which rows stand already. */
  #showNewRows([one, ...others], element) {
    const rows = one?.token.type === "table" && others.length === 0 ? one.token.rows : [];
    const { rows: settled } = this.#last;
    this.#last.rows = Math.max(rows.length - 1, 0);
    if (settled === 0 || rows.length < settled) return false;
    const fresh = nodesOf({ ...one, token: { ...one.token, rows: rows.slice(settled) } });
    const [shown, wanted] = [element, fresh].map((it) => it.querySelector("tbody"));
    if (wanted) become(shown, wanted, shown.rows[settled] ?? null);
    return Boolean(wanted);
  }

  /** A code block grows by its new characters alone. */
  #showCode(block, grows) {
    if (grows && !block.raw.includes("\n")) return; // the name of the language is still being written
    const text = grows ? block.token.text.replace(HALF_FENCE, "") : block.token.text;
    const element = this.#place("block code");
    if (!this.#last.code) {
      element.replaceChildren(codeBox("", languageOf(block)));
      this.#last.code = element.querySelector("code");
      this.#last.code.append(new Text(""));
    }
    retext(this.#last.code.firstChild, text);
    if (!grows) void colour(this.#last.code);
  }

  /** The element of the block in hand; a new one when the kind has changed. */
  #place(kind) {
    if (this.#last?.element.className !== kind) {
      this.#last?.element.remove();
      const element = h("div", { class: kind, dir: "auto" });
      this.element.append(element);
      this.#last = { element, code: null, rows: 0 };
    }
    return this.#last.element;
  }
}
