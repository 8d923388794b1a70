/**
 * The question whether a tool may be used, with its answers. Part of the view.
 */

import { t } from "../language.js";
import { announce, button, h } from "./dom.js";

/** For the call `id` of tool `name`; `actions`: approve(id, isAllowed, lasts), called(). */
export function approval({ id, name }, actions) {
  const answer = async (isAllowed, lasts) => {
    for (const one of row.querySelectorAll("button")) one.disabled = true;
    const isTaken = await actions.approve(id, isAllowed, lasts);
    for (const one of row.querySelectorAll("button")) one.disabled = isTaken;
    if (isTaken) nextAsked(row)?.focus();
    else row.querySelector("button").focus();
  };
  const words = t("May {name} be used?", { name });
  const row = h(
    "div",
    { class: "approval", role: "group", "aria-label": words },
    h("p", {}, words),
    button(t("Allow once"), () => answer(true, "once"), "primary"),
    button(t("Allow in this chat"), () => answer(true, "chat")),
    button(t("Refuse"), () => answer(false, "once")),
  );
  announce(words);
  actions.called();
  return row;
}

/** The first answer to what else is asked, if anything is. */
const nextAsked = (row) =>
  [...document.querySelectorAll(".approval button:enabled")].find((other) => !row.contains(other));
