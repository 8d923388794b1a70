/**
 * A run of steps (reasoning and tools between two texts) folded into one line: "3 steps, 1.2 s"; open while it runs.
 *
 * Part of the view.
 */

import { t } from "../language.js";
import { duration } from "../words.js";
import { approval } from "./approval.js";
import { h, icon, toBox } from "./dom.js";

const WORTH_SAYING_S = 0.1; // what was read again in one go has taken no time that means anything

export class StepsView {
  #label = h("span", { class: "label" });
  #list = h("ol", {});
  #views = [];
  #isTouched = false; // the person has folded or unfolded it
  element = h("details", { class: "steps" }, h("summary", {}, icon("tool"), this.#label), this.#list);

  /** `actions`: approve(id, isAllowed, lasts), called(). */
  constructor(actions) {
    this.actions = actions;
    this.element.firstChild.addEventListener("click", () => (this.#isTouched = true));
  }

  /** `steps`: the parts; `isFinished`: nothing is added any more. */
  show(steps, isFinished) {
    steps.forEach((step, index) => {
      const view = (this.#views[index] ??= this.#add(step));
      view.show(step, isFinished || index < steps.length - 1);
    });
    const words = isFinished ? summary(steps) : doing(steps.at(-1));
    if (this.#label.textContent !== words) this.#label.textContent = words;
    this.element.classList.toggle("running", !isFinished);
    const isAsked = !isFinished && steps.some(({ status }) => status === "asked");
    if (isAsked)
      this.element.open = true; // whoever folded it could not answer
    else if (!this.#isTouched && this.element.open === isFinished) this.element.open = !isFinished;
  }

  #add(step) {
    const view = step.kind === "tool" ? new ToolView(this.actions) : new ReasoningView();
    this.#list.append(view.element);
    return view;
  }
}

function doing({ kind, name, status }) {
  if (kind === "reasoning") return t("Thinking …");
  if (status === "asked") return t("Wants to use {name}", { name });
  return status === "running" ? t("Using {name} …", { name }) : t("Used {name}", { name });
}

/** "3 steps, 1.2 s"; one step says what it was. */
function summary(steps) {
  const seconds = steps.reduce((sum, step) => sum + (step.seconds ?? 0), 0);
  const [{ kind, name }] = steps;
  const one = kind === "tool" ? t("Used {name}", { name }) : t("Thought about it");
  const what = steps.length === 1 ? one : t("{n} step|{n} steps", { n: steps.length });
  const failed = steps.filter(({ status }) => status === "failed").length;
  return [what, time(seconds), failed > 0 && t("{n} failed|{n} failed", { n: failed })].filter(Boolean).join(", ");
}

const time = (seconds) => (seconds >= WORTH_SAYING_S ? duration(seconds * 1000) : "");

class ReasoningView {
  #words = h("p", { dir: "auto" });
  element = h("li", { class: "reasoning" }, this.#words);

  show({ text }) {
    if (this.#words.textContent !== text) this.#words.textContent = text;
  }
}

class ToolView {
  #shown = "";
  element = h("li", { class: "tool" });

  constructor(actions) {
    this.actions = actions;
  }

  show(step) {
    const { name, status, input, output, seconds, parent } = step;
    const shown = JSON.stringify([name, status, input, output, seconds]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.element.classList.toggle("inner", Boolean(parent));
    const hadFocus = this.element.contains(document.activeElement);
    const isOver = status !== "running" && status !== "asked";
    const state = [status !== "asked" && t(status), isOver && time(seconds ?? 0)].filter(Boolean).join(" · ");
    this.element.replaceChildren(
      h(
        "p",
        { class: "step-head" },
        h("span", { class: "name" }, name),
        state ? h("span", { class: `state ${status}` }, state) : null,
      ),
      ...field(t("Input"), input),
      ...field(t("Result"), output),
      ...(status === "asked" ? [approval(step, this.actions)] : []),
    );
    if (hadFocus) toBox(); // somebody else has answered
  }
}

function field(label, value) {
  if (value === undefined || value === null || value === "") return [];
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return [h("p", { class: "label" }, label), h("pre", { tabindex: "0", role: "group", "aria-label": label, dir: "auto" }, text)];
}
