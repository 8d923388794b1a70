/**
 * Small helpers to make and find elements. Part of the view; nothing here knows a chat.
 */

import { t } from "../language.js";

export const $ = (id) => document.getElementById(id);

/** An element: `props` are listeners (`onclick`), properties that are not strings, or attributes. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** One of the symbols at the top of index.html. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A quiet button with an icon and a name for everybody. */
export const iconButton = (name, label, onclick, props = {}) =>
  h("button", { type: "button", class: "quiet", title: label, "aria-label": label, onclick, ...props }, icon(name));

/** Copies without the clipboard API, which plain HTTP does not have. True when it worked. */
export async function copy(text) {
  if (navigator.clipboard) {
    const worked = await navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
    if (worked) return true;
  }
  const box = h("textarea", { class: "offscreen", readonly: true, "aria-hidden": "true" });
  const focused = document.activeElement;
  box.value = text;
  (focused?.closest("dialog") ?? document.body).append(box);
  box.select();
  const worked = document.execCommand("copy");
  box.remove();
  focused?.focus({ preventScroll: true });
  return worked;
}

/** Copies `text` and lets `button` say so for a moment. */
export async function copyWith(button, text) {
  const worked = await copy(text);
  button.replaceChildren(icon(worked ? "check" : "copy"));
  announce(t(worked ? "Copied" : "Copying is not allowed here"));
  setTimeout(() => button.replaceChildren(icon("copy")), 1600);
}

/** A button that copies `text()`. */
export const copyButton = (label, text, props = {}) =>
  iconButton("copy", label, ({ currentTarget }) => copyWith(currentTarget, text()), props);

/** A button with words. */
export const button = (words, onclick, kind = "plain") => h("button", { type: "button", class: kind, onclick }, words);

/** Hands a file to the person. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Makes `elements` the children of `parent`, moving only what stands elsewhere. */
export function arrange(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  elements.forEach((element, index) => {
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
}

/** Says one thing to screen readers, without moving anything. */
export function announce(words) {
  $("said").textContent = words;
}

export const isTouch = () => matchMedia("(pointer: coarse)").matches;

/** On a phone the focus would raise the keyboard, so it stays away. */
export function toBox() {
  if (!isTouch()) $("box").focus({ preventScroll: true });
}

/**
 * Whether a key means "send": Enter with Ctrl or Cmd everywhere, Enter alone where it does not have to break lines (on a
 * touch screen it does), never while an input method composes (229).
 */
export const isSendKey = (event) =>
  event.key === "Enter" &&
  !event.isComposing &&
  event.keyCode !== 229 &&
  (event.ctrlKey || event.metaKey || (!event.shiftKey && !isTouch()));
