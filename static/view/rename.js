/**
 * A name that becomes a field when somebody wants another one: Enter or leaving keeps, Esc gives up. Part of the view.
 */

import { t } from "../language.js";
import { h } from "./dom.js";

/** Puts a field with `name` in the place of `element`; `onname(text)` hears of another name. */
export function renameIn(element, name, onname) {
  if (element.hidden || element.nextElementSibling?.matches(".rename")) return;
  const field = h("input", { class: "rename", "aria-label": t("New title"), maxlength: "200", dir: "auto" });
  let isOver = false;
  const close = (isKept) => {
    if (isOver) return;
    isOver = true;
    const text = field.value.trim();
    field.remove();
    element.hidden = false;
    if (isKept && text && text !== name) onname(text);
  };
  field.value = name;
  field.addEventListener("blur", () => close(true));
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    close(event.key === "Enter");
    (element.closest("a, button") ?? element.querySelector("button") ?? element).focus({ preventScroll: true });
  });
  element.hidden = true;
  element.after(field);
  field.focus();
  field.select();
}
