/**
 * The parts of a reply in the order they came: text, reasoning and tools, the last two folded. Part of the view.
 */

import { Blocks } from "./blocks.js";
import { h, icon } from "./dom.js";

/** What shows a part: `element`, and `show(part, isFinished)` whenever it has grown. */
export const viewOf = ({ kind }) => new { text: TextView, reasoning: ReasoningView, tool: ToolView }[kind]();

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

class ReasoningView {
  #summary = h("summary", {});
  #words = h("p", {});
  element = h("details", { class: "folded reasoning" }, this.#summary, this.#words);

  show({ text }, isFinished) {
    this.#summary.textContent = isFinished ? "Thought about it" : "Thinking …";
    this.#words.textContent = text;
  }
}

class ToolView {
  #shown = "";
  element = h("details", { class: "folded tool" });

  show({ name, status, input, output }) {
    const shown = JSON.stringify([name, status, input, output]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.element.replaceChildren(
      h(
        "summary",
        {},
        icon("tool"),
        h("span", { class: "name" }, name),
        h("span", { class: `state ${status}` }, status),
      ),
      ...field("Input", input),
      ...field("Result", output),
    );
  }
}

function field(label, value) {
  if (value === undefined || value === null) return [];
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return [h("p", { class: "label" }, label), h("pre", { tabindex: "0", role: "group", "aria-label": label }, text)];
}
