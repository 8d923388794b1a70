/**
 * What to show of a block that is still growing, so that nothing flickers. Pure: text in, text out.
 */

const BARE_MARKER = /(^|\n)[ \t]*(?:[-*+]|\d+[.)]?|#{1,6}|`{1,2}|[|>]|-{2,}|={1,}|\*{1,3}|_{1,3})[ \t]*$/;
const HALF_LINK = /!?\[([^\]\n]{0,500})(?:\](?:\([^)\n]{0,1000})?)?$/; // else each of many would be read to the end
const HALF_TAG = /<\/?[a-z][a-z0-9]{0,9}$|<$/i;
const HALF_TABLE = /(^|\n)[ \t]*\|[^\n]*(?:\n[ \t|:-]*)?$/; // a head whose delimiter row has not come

/** A marker without its words waits, half a link shows its words, bold, code and formulas that are open are closed. */
export function calm(text) {
  if (isOdd(text, /^[ \t]*(?:```|~~~)/gm)) return text; // inside a fence of a list or a quotation
  const formula = openFormula(text);
  if (formula) return text.replace(/[\\$]$/, "") + formula;
  const shown = withoutHalves(text);
  const line = shown.slice(shown.lastIndexOf("\n") + 1);
  if (isOdd(line, /`/g)) return shown.endsWith("`") ? shown.replace(/`+$/, "") : `${shown}\``;
  return closed(shown, line);
}

function withoutHalves(text) {
  const shown = text.replace(BARE_MARKER, "$1").replace(HALF_LINK, "$1").replace(HALF_TAG, "");
  return /\n[ \t]*\|?[ \t]*:?-[ \t|:-]*\n/.test(text) ? shown : shown.replace(HALF_TABLE, "$1");
}

/** Closes what the last line leaves open: `**`, `~~`, `*`. Behind a space a marker closes nothing. */
function closed(shown, line) {
  const words = shown.trimEnd();
  if (isOdd(line, /\*\*/g)) return words.endsWith("**") ? words.slice(0, -2) : `${words.replace(/\*$/, "")}**`;
  if (isOdd(line, /~~/g)) return words.endsWith("~~") ? words.slice(0, -2) : `${words.replace(/~$/, "")}~~`;
  if (/(?:^|[^~])~$/.test(line)) return shown.slice(0, -1);
  if (/(?:^|[\s(])\*$/.test(line)) return shown.slice(0, -1);
  return isOdd(line.replace(/\*\*/g, ""), /(?:^|[\s(])\*(?=[^\s*])|[^\s*]\*(?=[^\w*]|$)/g) ? `${words}*` : shown;
}

/** What would close the formula that `text` ends in, or "". */
function openFormula(text) {
  if (text.lastIndexOf("\\[") > text.lastIndexOf("\\]")) return "\\]";
  if (text.lastIndexOf("\\(") > text.lastIndexOf("\\)")) return "\\)";
  return isOdd(text, /\$\$/g) && /(?:^|\n)\s*\$\$[^$]*\$?$/.test(text) ? "$$" : "";
}

const isOdd = (text, pattern) => (text.match(pattern) ?? []).length % 2 === 1;
