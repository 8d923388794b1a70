/**
 * Markdown of a model -> blocks, and a block -> clean HTML.
 *
 * The only place where model text becomes HTML, and nothing leaves it that DOMPurify has not seen. Raw HTML is shown as
 * the text it is, but for a few plain tags; images become links, so that showing a reply never makes a request.
 */

import "./vendor/dompurify-3.4.18.min.js";
import { Marked } from "./vendor/marked-18.2.1.min.js";

const PLAIN_TAGS = "br|hr|sub|sup|kbd|b|i|em|strong|u|s|del|ins|mark|small|p|details|summary";
const CLEAN = {
  ALLOWED_TAGS: [
    ..."a blockquote br code del details em h1 h2 h3 h4 h5 h6 hr i b u s ins kbd li mark ol p pre small span".split(
      " ",
    ),
    ..."strong sub summary sup table tbody td th thead tr ul".split(" "),
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "align", "target", "rel"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["start", "align", "target", "rel"], // whose values are no addresses
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const purify = globalThis.DOMPurify;
const escape = (text) => text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
const plainTag = new RegExp(`&#60;(/?(?:${PLAIN_TAGS}))\\s*/?&#62;`, "gi");

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }) => escape(text).replace(plainTag, "<$1>"),
    link({ href, title, tokens }) {
      const words = this.parser.parseInline(tokens);
      if (!CLEAN.ALLOWED_URI_REGEXP.test(href)) return words;
      const hint = title ? ` title="${escape(title)}"` : "";
      return `<a href="${escape(href)}"${hint} target="_blank" rel="noopener noreferrer nofollow">${words}</a>`;
    },
    image({ href, text }) {
      return this.link({
        href,
        title: "",
        tokens: [{ type: "text", raw: text, text: text || "image", escaped: false }],
      });
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    heading({ tokens, depth }) {
      const level = Math.min(Math.max(depth, 2), 4); // the page's own heading is above those of a reply
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
  },
});

/**
 * The blocks of `text`, each `{raw, isCode, token}` with `raw` adding up to the text.
 * White space between blocks belongs to the one before it.
 */
export function blocksOf(text) {
  const blocks = [];
  for (const token of marked.lexer(text)) {
    if (token.type === "space" && blocks.length > 0) blocks.at(-1).raw += token.raw;
    else blocks.push({ raw: token.raw, isCode: token.type === "code", token });
  }
  return blocks;
}

/** Clean nodes of one block, ready to be put into the document. */
export const nodesOf = ({ token }) => purify.sanitize(marked.parser([token]), CLEAN);

/** Clean nodes of highlighted code; `html` comes from highlight.js. */
export const codeNodes = (html) => purify.sanitize(html, CLEAN);

/** Whether a definition (`[name]: address`) may change blocks that stand before it. */
export const hasDefinitions = (text) => /^ {0,3}\[[^\]\n]+\]:/m.test(text);

const BARE_MARKER = /(^|\n)[ \t]*(?:[-*+]|\d+[.)]?|#{1,6}|`{1,2}|[|>]|-{2,}|={1,}|\*{1,3}|_{1,3})[ \t]*$/;
const HALF_LINK = /!?\[([^\]\n]*)(?:\](?:\([^)\n]*)?)?$/;

/**
 * What to show of a block that is still growing, so that nothing flickers: a marker without its words waits, half a
 * link shows its words, bold and code that are open are closed.
 */
export function calm(text) {
  if (odd(text, /^\s*(?:```|~~~)/gm)) return text; // inside a fence of a list or a quotation
  let shown = text.replace(BARE_MARKER, "$1").replace(HALF_LINK, "$1");
  const line = shown.slice(shown.lastIndexOf("\n") + 1);
  if (odd(line, /`/g)) shown = shown.endsWith("`") ? shown.replace(/`+$/, "") : `${shown}\``;
  else if (odd(line, /\*\*/g)) shown = shown.endsWith("**") ? shown.slice(0, -2) : `${shown.replace(/\*$/, "")}**`;
  return shown;
}

const odd = (text, pattern) => (text.match(pattern) ?? []).length % 2 === 1;

/** The words of a language's name behind a fence: "```Python title=…" -> "python". */
export const languageOf = ({ token }) =>
  (token.lang ?? "")
    .trim()
    .split(/[\s,{]/)[0]
    .toLowerCase();

let highlighter = null;

/** Highlighted HTML of `code`, or null when the language is not known. The library is loaded with the first call. */
export async function highlighted(code, language) {
  highlighter ??= import("./vendor/highlight-11.12.0.min.js");
  const { default: hljs } = await highlighter;
  return hljs.getLanguage(language) ? hljs.highlight(code, { language, ignoreIllegals: true }).value : null;
}
