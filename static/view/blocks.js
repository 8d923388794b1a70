/**
 * Paints the Markdown of one growing text: finished blocks stay as they are, only the last is made again.
 *
 * Part of the view. How Markdown becomes clean HTML is `markdown.js`' business.
 */

import { blocksOf, calm, codeNodes, hasDefinitions, highlighted, languageOf, nodesOf } from "../markdown.js";
import { copyButton, h } from "./dom.js";

const HIGHLIGHT_MAX = 40_000; // characters; beyond it colours are not worth the pause
const HALF_FENCE = /(^|\n)[ \t]*[`~]+$/; // the first letters of the fence that closes a block

export class Blocks {
  #settled = 0; // characters whose blocks will not change any more
  #painted = ""; // the text as painted last
  #last = null; // {element, block, code} of the block that still grows

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
    if (block.isCode) return this.#showCode(block, grows);
    const [shown] = grows ? blocksOf(calm(block.raw)) : [block];
    const element = this.#place("block");
    element.replaceChildren(shown ? nodesOf(shown) : "");
    for (const table of element.querySelectorAll("table")) frame(table);
    for (const pre of element.querySelectorAll("pre")) dress(pre, !grows);
  }

  /** A code block grows by its new characters alone. */
  #showCode(block, grows) {
    if (grows && !block.raw.includes("\n")) return; // the name of the language is still being written
    const text = grows ? block.token.text.replace(HALF_FENCE, "") : block.token.text;
    const element = this.#place("block code");
    if (!this.#last.code) {
      this.#last.code = h("code", {});
      element.replaceChildren(h("pre", { tabindex: "0" }, this.#last.code));
      dress(element.firstChild, false, languageOf(block));
    }
    append(this.#last.code, text);
    if (!grows) void colour(this.#last.code, languageOf(block));
  }

  /** The element of the block in hand; a new one when the kind has changed. */
  #place(kind) {
    if (this.#last?.element.className !== kind) {
      this.#last?.element.remove();
      const element = h("div", { class: kind, dir: "auto" });
      this.element.append(element);
      this.#last = { element, code: null };
    }
    return this.#last.element;
  }
}

function append(code, text) {
  const node = code.firstChild;
  if (node && text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else code.textContent = text;
}

/** Gives a `pre` its head with language and copy button. */
function dress(pre, isFinished, language = languageIn(pre)) {
  const code = pre.querySelector("code") ?? pre;
  pre.tabIndex = 0;
  pre.setAttribute("aria-label", language ? `Code, ${language}` : "Code");
  pre.setAttribute("role", "group");
  const head = h(
    "div",
    { class: "code-head" },
    h("span", {}, language || "text"),
    copyButton("Copy code", () => code.textContent),
  );
  const box = h("div", { class: "code-box" });
  pre.replaceWith(box);
  box.append(head, pre);
  if (isFinished) void colour(code, language);
}

const languageIn = (pre) => /language-([\w+#.-]+)/.exec(pre.firstElementChild?.className ?? "")?.[1] ?? "";

async function colour(code, language) {
  const text = code.textContent;
  if (!language || text.length > HIGHLIGHT_MAX) return;
  const html = await highlighted(text, language).catch(() => null);
  if (html && code.textContent === text) code.replaceChildren(codeNodes(html));
}

/** A wide table scrolls in a frame of its own. */
function frame(table) {
  const box = h("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" });
  table.replaceWith(box);
  box.append(table);
}
