/**
 * Small things that stand beside a message: when it was written, and the box that says what went wrong. Part of the view.
 */

import { t } from "../language.js";
import { clockTime, fullTime } from "../words.js";
import { copyButton, h, icon } from "./dom.js";

/** The time of a message; the whole of it for who points at it. */
export function timeOf(at) {
  const words = at ? clockTime(at) : "";
  return words ? h("time", { datetime: at, title: fullTime(at) }, words) : null;
}

/** What went wrong, in one sentence, with one action and an id to copy. */
export function trouble(title, words, action, id) {
  return h(
    "div",
    { class: "trouble", role: "alert" },
    icon("alert"),
    h("div", {}, h("strong", {}, title), h("p", {}, words), id ? idLine(id) : null),
    action,
  );
}

const idLine = (id) =>
  h(
    "p",
    { class: "id" },
    h("code", {}, id),
    copyButton(t("Copy the id"), () => id.split(" ").pop()),
  );
