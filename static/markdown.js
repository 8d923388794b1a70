/**
 * Markdown of a model -> blocks, and a block -> clean HTML.
 *
 * The only place where model text becomes HTML, and nothing leaves it that DOMPurify has not seen. Raw HTML is shown as
 * the text it is, but for a few plain tags; images become links, so that showing a reply never makes a request. What
 * cannot be read (nested without end, say) is shown as the text it is.
 */

import { EXTENSIONS } from "./dialect.js";
import "./vendor/dompurify-3.4.18.min.js";
import { Marked } from "./vendor/marked-18.2.1.min.js";

const PLAIN_TAGS = "br|hr|sub|sup|kbd|b|i|em|strong|u|s|del|ins|mark|small|p";
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
const FORMULA = {
  USE_PROFILES: { mathMl: true },
  ADD_TAGS: ["semantics", "annotation"],
  FORBID_ATTR: ["style", "href", "id"],
  RETURN_DOM_FRAGMENT: true,
};

const purify = globalThis.DOMPurify;
const escape = (text) => text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
const plainTag = new RegExp(`&#60;(/?(?:${PLAIN_TAGS}))\\s*/?&#62;`, "gi");

const marked = new Marked({
  gfm: true,
  breaks: true,
  extensions: EXTENSIONS(escape),
  tokenizer: {
    /** Only two tildes strike: one means "about". */
    del(src) {
      const found = /^~~(?=[^\s~])([\s\S]*?[^\s~])~~(?=[^~]|$)/.exec(src);
      if (found)
        return { type: "del", raw: found[0], text: found[1], tokens: this.lexer.inlineTokens(found[1]) };
    },
  },
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
      return `<h${level} class="level-${depth}">${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
  },
});

/**
 * The blocks of `text`, each `{raw, isCode, token}` with `raw` adding up to the text.
 * White space between blocks belongs to the one before it.
 */
export function blocksOf(text) {
  const blocks = [];
  for (const token of tokensOf(text)) {
    if (token.type === "space" && blocks.length > 0) blocks.at(-1).raw += token.raw;
    else blocks.push({ raw: token.raw, isCode: token.type === "code", token });
  }
  return blocks;
}

function tokensOf(text) {
  try {
    return marked.lexer(text);
  } catch {
    return [{ type: "plain", raw: text, text }]; // the reader ran out of stack
  }
}

/** Clean nodes of one block, ready to be put into the document. */
export function nodesOf({ token, raw }) {
  const nodes = purify.sanitize(htmlOf(token, raw), CLEAN);
  for (const code of nodes.querySelectorAll("code")) code.dir = "ltr"; // and says nothing about its paragraph's
  return nodes;
}

function htmlOf(token, raw) {
  try {
    return marked.parser([token]);
  } catch {
    return marked.parser([{ type: "plain", raw, text: raw }]);
  }
}

/** Whether a definition (`[name]: address`) may change blocks that stand before it. */
export const hasDefinitions = (text) => /^ {0,3}\[[^\]\n]+\]:/m.test(text);

/** The words of a language's name behind a fence: "```Python title=…" -> "python". */
export const languageOf = ({ token }) =>
  (token.lang ?? "")
    .trim()
    .split(/[\s,{]/)[0]
    .toLowerCase();

let highlighter = null;

/** Clean nodes of `code` in colours, or null when the language is not known. The library is loaded with the first call. */
export async function highlighted(code, language) {
  highlighter ??= import("./vendor/highlight-11.12.0.min.js");
  const { default: hljs } = await highlighter;
  if (!hljs.getLanguage(language)) return null;
  return purify.sanitize(hljs.highlight(code, { language, ignoreIllegals: true }).value, CLEAN);
}

let typesetter = null;

/** Clean nodes of a formula in TeX, or null when it is none. The library is loaded with the first call. */
export async function typeset(tex, isDisplay) {
  typesetter ??= import("./vendor/temml-0.13.5.min.js");
  const { default: temml } = await typesetter;
  const settings = { displayMode: isDisplay, throwOnError: true, trust: false, annotate: true, maxExpand: 200 };
  const html = temml.renderToString(tex, settings).replace(/ style="[^"]*"/g, ""); // the policy of the page knows none
  return purify.sanitize(html, FORMULA);
}
