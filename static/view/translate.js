/**
 * The words of index.html in the language of the page. Part of the view.
 */

import { language, t } from "../language.js";

const SPOKEN = ["aria-label", "title", "placeholder"];

/** Says every text and every spoken attribute of the document in the language that was learnt. */
export function translate() {
  document.documentElement.lang = language();
  if (language() === "en") return;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) walk.currentNode.data = around(walk.currentNode.data);
  for (const name of SPOKEN)
    for (const element of document.querySelectorAll(`[${name}]`)) element.setAttribute(name, t(element.getAttribute(name)));
}

/** White space at the ends stays. */
const around = (text) => text.replace(/^(\s*)([\s\S]*?)(\s*)$/, (_, before, words, after) => before + t(words) + after);
