/**
 * Who answers: the agents to choose from, in the empty chat and behind the header's button. Part of the view.
 */

import { t } from "../language.js";
import { $, h } from "./dom.js";

export class Agents {
  #agents = [];
  #current = "";
  #isLocked = false;
  #isMixed = false; // not all have the same model, which the header names

  /** `actions`: chooseAgent(name). */
  constructor(actions) {
    this.actions = actions;
    $("agent").addEventListener("click", () => $("agents").showModal());
  }

  /** `agents` as the service names them. */
  list(agents) {
    this.#agents = agents;
    this.#isMixed = new Set(agents.map(modelOf)).size > 1;
    this.#paint();
  }

  /** The agent of the visible chat; it cannot be changed while a reply is made. */
  show(name, isLocked) {
    if (name === this.#current && isLocked === this.#isLocked) return;
    this.#current = name;
    this.#isLocked = isLocked;
    this.#paint();
  }

  #paint() {
    const one = this.#agents.find(({ name }) => name === this.#current);
    $("agent").hidden = this.#agents.length === 0;
    $("agent").disabled = this.#isLocked;
    $("agent-name").textContent = this.#current;
    $("agent-model").textContent = one ? modelOf(one) : "";
    $("agent").title = one?.description ?? "";
    this.#fill($("agents-choice"), "agent-of-dialog");
    this.#fill($("picker"), "agent-of-chat");
    $("picker").hidden = this.#agents.length < 2;
  }

  #fill(place, group) {
    const isFocused = place.contains(document.activeElement);
    place.replaceChildren(...this.#agents.map((agent) => this.#card(agent, group)));
    if (isFocused) place.querySelector("input:checked")?.focus({ preventScroll: true });
  }

  #card(agent, group) {
    const { name, description, tools = [] } = agent;
    const choose = () => this.actions.chooseAgent(name);
    const box = h("input", { type: "radio", name: group, value: name, onchange: choose });
    box.checked = name === this.#current;
    const can = [this.#isMixed ? modelOf(agent) : "", toolWords(tools)].filter(Boolean).join(" · ");
    return h(
      "label",
      { class: "agent" },
      box,
      h("span", { class: "name" }, name),
      h("span", { class: "hint" }, description),
      can ? h("span", { class: "hint can" }, can) : null,
    );
  }
}

const modelOf = ({ model, provider }) => (provider === "demo" ? t("demo") : (model ?? provider ?? "").split("/").pop());

const toolWords = (tools) =>
  tools.length > 0 ? t("Tools: {names}", { names: tools.map((name) => name.replaceAll("_", " ")).join(", ") }) : "";
