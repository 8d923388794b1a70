/**
 * Reads a reply aloud with the browser's own voice. Part of the view.
 */

import { t } from "../language.js";
import { cleanTitle } from "../words.js";
import { icon, iconButton } from "./dom.js";

const LONGEST = 200; // characters at a time: some browsers fall silent in longer ones

/** A button that reads `text()`, and stops when it is pressed again; null where there is no voice. */
export function aloudButton(text) {
  if (!("speechSynthesis" in globalThis)) return null;
  const button = iconButton("aloud", t("Read aloud"), () => (isReading() ? silence() : read(button, text())));
  const isReading = () => button.getAttribute("aria-pressed") === "true";
  button.setAttribute("aria-pressed", "false");
  return button;
}

function silence() {
  speechSynthesis.cancel();
  for (const button of document.querySelectorAll('.aloud[aria-pressed="true"]')) mark(button, false);
}

function read(button, text) {
  silence();
  const sayings = sentencesOf(text);
  if (sayings.length === 0) return;
  button.classList.add("aloud");
  mark(button, true);
  sayings.forEach((saying, index) => {
    const words = new SpeechSynthesisUtterance(saying);
    if (index === sayings.length - 1) words.onend = () => mark(button, false);
    words.onerror = () => mark(button, false);
    speechSynthesis.speak(words);
  });
}

function mark(button, isReading) {
  button.setAttribute("aria-pressed", String(isReading));
  button.replaceChildren(icon(isReading ? "stop" : "aloud"));
}

/** The words without code and marks, in pieces that end where sentences do. */
const sentencesOf = (text) =>
  text
    .replace(/```[\s\S]*?(?:```|$)/g, " ")
    .split(/(?<=[.!?:])\s+|\n+/)
    .map(cleanTitle)
    .flatMap((saying) => saying.match(new RegExp(`.{1,${LONGEST}}(?:\\s|$)|.{1,${LONGEST}}`, "g")) ?? [])
    .filter((saying) => /[\p{L}\p{N}]/u.test(saying));
