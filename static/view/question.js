/**
 * A question on the page: its text, edited in place, and the versions that stood there before. Part of the view.
 */

import { t } from "../language.js";
import { filesRow } from "./card.js";
import { button, copyButton, h, iconButton, isSendKey } from "./dom.js";
import { timeOf } from "./notice.js";

export class QuestionView {
  /** `actions`: edit(turn, text), swap(version), fileBlob(file), lookAt(file). */
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.element = h("article", { class: "question", "aria-label": t("You") });
    this.#read();
  }

  update() {}

  edit() {
    const box = h("textarea", { "aria-label": t("Edit your question"), rows: "3", dir: "auto" });
    box.value = this.turn.text;
    const send = () => {
      const text = box.value.trim();
      if (text) this.actions.edit(this.turn, text);
    };
    box.addEventListener("input", () => fit(box));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return (event.preventDefault(), event.stopPropagation(), this.#read(true));
      if (isSendKey(event)) (event.preventDefault(), send());
    });
    this.element.replaceChildren(
      h(
        "form",
        { class: "edit", onsubmit: (event) => (event.preventDefault(), send()) },
        box,
        h("p", { class: "hint" }, t("Sending puts this in its place; what stands here now is kept as a version.")),
        h(
          "div",
          { class: "row" },
          h("button", { class: "primary" }, t("Send")),
          button(t("Cancel"), () => this.#read(true)),
        ),
      ),
    );
    fit(box);
    box.focus();
  }

  #read(focus = false) {
    const { text, at, versions, files } = this.turn;
    const edit = iconButton("edit", t("Edit and send again"), () => this.edit(), { class: "quiet settled" });
    this.element.replaceChildren(
      filesRow(files, this.actions) ?? "",
      h("div", { class: "bubble", dir: "auto" }, text),
      h(
        "div",
        { class: "tools-row" },
        timeOf(at),
        copyButton(t("Copy question"), () => text),
        edit,
        versions?.length ? this.#versions(versions, at) : null,
      ),
    );
    if (focus) edit.focus();
  }

  /** ‹ 2/3 ›, in the order they were written; the one in place is among them. */
  #versions(versions, at) {
    const all = [...versions, { version: null, created_at: at }].sort((one, other) =>
      one.created_at < other.created_at ? -1 : 1,
    );
    const here = all.findIndex(({ version }) => version === null);
    const to = (index, name, words) => {
      const go = iconButton(name, words, () => this.actions.swap(all[index].version), { class: "quiet settled" });
      go.disabled = !all[index];
      return go;
    };
    return h(
      "span",
      { class: "versions" },
      to(here - 1, "before", t("The version before")),
      h("span", { class: "count" }, `${here + 1}/${all.length}`),
      to(here + 1, "after", t("The version after")),
    );
  }
}

/** As high as its text, up to what the screen leaves. */
function fit(box) {
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, innerHeight * 0.6)}px`;
}
