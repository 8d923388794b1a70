/**
 * One line at the bottom for a while, with at most one thing to do. Part of the view.
 */

import { $ } from "./dom.js";

let timer = 0;

/** Shows `words` for `ms`; `action` names a button that calls `onclick`. */
export function toast(words, { action = "", onclick = null, ms = 5000 } = {}) {
  clearTimeout(timer);
  const close = () => ($("toast").hidden = true);
  $("toast-words").textContent = words;
  $("toast-action").hidden = !action;
  $("toast-action").textContent = action;
  $("toast-action").onclick = () => (close(), onclick());
  $("toast").hidden = false;
  timer = setTimeout(close, ms);
}
