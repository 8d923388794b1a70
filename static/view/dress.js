/**
 * What the blocks of a reply wear: heads with a language and buttons on code, a frame with a button round tables, colours,
 * formulas. Part of the view.
 *
 * The buttons have no listeners of their own, so that a block can grow around them: `wearables` listens for all.
 */

import { t } from "../language.js";
import { highlighted, typeset } from "../markdown.js";
import { texOf } from "../dialect.js";
import { fileNameOf } from "../words.js";
import { copyWith, h, icon, save } from "./dom.js";

const HIGHLIGHT_MAX = 40_000; // characters; beyond it colours are not worth the pause
const FORMULA_MAX = 4_000;

/** Dresses the code blocks and tables in `fresh`. */
export function dress(fresh) {
  for (const table of fresh.querySelectorAll("table")) frame(table);
  for (const pre of fresh.querySelectorAll("pre:not(.code-box pre)")) {
    const code = pre.querySelector("code") ?? pre;
    pre.replaceWith(codeBox(code.textContent, languageIn(code)));
  }
}

/** A box with `text` as code, and a head with its language and buttons. */
export function codeBox(text, language) {
  const code = h("code", { class: language ? `language-${language}` : null, dir: "ltr" }, text);
  const label = language ? `${t("Code")}, ${language}` : t("Code");
  return h(
    "div",
    { class: "code-box" },
    h(
      "div",
      { class: "code-head", dir: "ltr" },
      h("span", {}, language || "text"),
      wearable("down-file", t("Download code"), "save-code"),
      wearable("copy", t("Copy code"), "copy-code"),
    ),
    h("pre", { tabindex: "0", "aria-label": label, role: "group", dir: "ltr" }, code),
  );
}

const wearable = (name, label, kind) =>
  h("button", { type: "button", class: `quiet ${kind}`, title: label, "aria-label": label }, icon(name));

/** A wide table scrolls in a frame of its own. */
function frame(table) {
  const box = h("div", { class: "table", tabindex: "0", role: "group", "aria-label": t("Table") });
  const outer = h("div", { class: "table-box" }, box, wearable("copy", t("Copy table"), "copy-table"));
  table.replaceWith(outer);
  box.append(table);
}

/** Listens for the buttons inside `log`. */
export function wearables(log) {
  log.addEventListener("click", ({ target }) => {
    const button = target.closest(".copy-code, .save-code, .copy-table");
    const code = button?.closest(".code-box")?.querySelector("code");
    if (!button) return;
    if (button.matches(".copy-table")) copyWith(button, cellsOf(button.parentElement.querySelector("table")));
    else if (button.matches(".copy-code")) copyWith(button, code.textContent);
    else save(new Blob([code.textContent], { type: "text/plain" }), fileNameOf(languageIn(code)));
  });
}

/** The cells as spreadsheets take them: tabs and line ends. */
const cellsOf = (table) =>
  [...table.rows]
    .map((row) => [...row.cells].map((cell) => cell.innerText.replace(/\s+/g, " ").trim()).join("\t"))
    .join("\n");

const languageIn = (code) => /language-([\w+#.-]+)/.exec(code.className)?.[1] ?? "";

/** Colours a finished code block. */
export async function colour(code) {
  const text = code.textContent;
  const language = languageIn(code);
  if (!language || text.length > HIGHLIGHT_MAX) return;
  const nodes = await highlighted(text, language).catch(() => null);
  if (nodes && code.textContent === text) code.replaceChildren(nodes);
}

/** Typesets the formulas of a finished block; one that is none stays as it was written. */
export function setFormulas(element) {
  for (const code of element.querySelectorAll("code.math")) void setFormula(code);
}

async function setFormula(code) {
  const source = code.textContent;
  if (source.length > FORMULA_MAX) return;
  const nodes = await typeset(texOf(source), code.matches(".display")).catch(() => null);
  if (!nodes?.querySelector("math")) return;
  const shown = h("span", { class: code.className, title: source, dir: "ltr" });
  shown.append(nodes);
  code.replaceWith(shown);
}
