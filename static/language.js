/**
 * The language of the page: the English sentence is the key, `languages/<tag>.json` says it in another language.
 *
 * What a file does not say stays English. A sentence with forms for numbers parts them by "|", in the order of the
 * language's plural categories (English: one, other). Another language is one more file and its name here.
 */

import { recall } from "./device.js";

export const LANGUAGES = { en: "English", de: "Deutsch" };

let tag = "en";
let sayings = {};

/** The tag of the language in use. */
export const language = () => tag;

/** Takes the language of this device, else of the browser. Resolves when the page can speak it. */
export async function learn() {
  const wanted = [recall("language"), ...navigator.languages].map((name) => name.split("-")[0]);
  const found = wanted.find((name) => name in LANGUAGES) ?? "en";
  if (found === "en") return;
  const answer = await fetch(new URL(`languages/${found}.json`, import.meta.url)).catch(() => null);
  if (!answer?.ok) return;
  sayings = await answer.json();
  tag = found;
}

/** `text` in the language of the page, with `{name}` replaced by the values; `n` chooses the form. */
export function t(text, values = {}) {
  const said = form(sayings[text] ?? text, values.n);
  return said.replace(/\{(\w+)\}/g, (whole, name) => shown(values[name]) ?? whole);
}

const shown = (value) => (typeof value === "number" ? value.toLocaleString(tag) : value);

function form(said, n) {
  if (n === undefined || !said.includes("|")) return said;
  const forms = said.split("|");
  const rules = new Intl.PluralRules(tag);
  return forms[rules.resolvedOptions().pluralCategories.indexOf(rules.select(n))] ?? forms.at(-1);
}
