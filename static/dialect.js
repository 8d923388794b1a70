/**
 * What models write beyond Markdown, as extensions of the reader: formulas, folded parts, footnotes, and nesting too
 * deep to be meant.
 *
 * Pure: text in, tokens and HTML text out. Cleaning is `markdown.js`' business.
 */

const DEEPEST = 24; // markers of quotations and lists on one line; more is a model in a loop
const BOTTOMLESS = new RegExp(`^(?:[ \\t]{0,3}(?:>|[-*+]|\\d{1,9}[.)])){${DEEPEST}}[^\\n]*(?:\\n|$)`);
const CROWDED = 4_000; // characters of a paragraph from which on one of little but marks or line ends is a loop, too
const MARKS = /[[\]*_<$\\~`|]/g;
const PARAGRAPH = /^(?:[^\n]*[^\s][^\n]*(?:\n|$))+/;

const DISPLAY = /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/;
const INLINE = /^(?:\\\(([\s\S]+?)\\\)|\\\[([\s\S]+?)\\\]|\$\$([^$]+?)\$\$|\$((?:[^$\\\n`]|\\.)+?)\$(?!\d))/;
const BLANK_LINE = /\n[ \t]*\n/;
const FOLD = /<(\/?)details[^>]*>/gi;
const SUMMARY = /^\s*<summary[^>]*>([\s\S]*?)<\/summary>/i;
const NOTE = /^\[\^([^\]\s]{1,40})\](?!:)/;
const NOTE_TEXT = /^ {0,3}\[\^([^\]\s]{1,40})\]:[ \t]*([^\n]*(?:\n(?!\[\^)[ \t]*[^\s][^\n]*)*)(?:\n+|$)/;

/** The extensions for marked; `escape` makes text safe inside HTML. */
export const EXTENSIONS = (escape) => [
  {
    name: "plain",
    level: "block",
    tokenizer(src) {
      const raw = BOTTOMLESS.exec(src)?.[0] ?? crowdIn(src);
      if (raw) return { type: "plain", raw, text: raw };
    },
    renderer: ({ text }) => `<p class="raw">${escape(text)}</p>\n`, // one node, however many lines
  },
  {
    name: "formula",
    level: "block",
    start: (src) => src.match(/^ {0,3}(?:\$\$|\\\[)/m)?.index,
    tokenizer(src) {
      const found = DISPLAY.exec(src);
      if (found) return { type: "formula", raw: found[0], text: found[0].trim() };
    },
    renderer: ({ text }) => `<p class="formula"><code class="math display">${escape(text)}</code></p>\n`,
  },
  {
    name: "term",
    level: "inline",
    start: (src) => src.match(/\$|\\[([]/)?.index,
    tokenizer(src) {
      const found = INLINE.exec(src);
      if (!found || BLANK_LINE.test(found[0])) return;
      if (found[4] !== undefined && !isFormula(found[4])) return;
      return { type: "term", raw: found[0], text: found[0] };
    },
    renderer: ({ text }) => `<code class="math${/^(\$\$|\\\[)/.test(text) ? " display" : ""}">${escape(text)}</code>`,
  },
  {
    name: "fold",
    level: "block",
    start: (src) => src.match(/<details/i)?.index,
    tokenizer(src) {
      if (!/^<details[\s>]/i.test(src)) return;
      const raw = balanced(src);
      const inner = raw.replace(/^<details[^>]*>/i, "").replace(/<\/details>\s*$/i, "");
      const title = SUMMARY.exec(inner);
      return {
        type: "fold",
        raw,
        title: this.lexer.inlineTokens(title?.[1].trim() ?? ""),
        tokens: this.lexer.blockTokens(`${inner.slice(title?.[0].length ?? 0).replace(/^\s*\n/, "")}\n`, []),
      };
    },
    renderer({ title, tokens }) {
      const words = title.length > 0 ? this.parser.parseInline(title) : "…";
      return `<details><summary>${words}</summary>${this.parser.parse(tokens)}</details>\n`;
    },
  },
  {
    name: "note",
    level: "inline",
    start: (src) => src.match(/\[\^/)?.index,
    tokenizer(src) {
      const found = NOTE.exec(src);
      if (found) return { type: "note", raw: found[0], text: found[1] };
    },
    renderer: ({ text }) => `<sup class="note">${escape(text)}</sup>`,
  },
  {
    name: "notetext",
    level: "block",
    start: (src) => src.match(/^ {0,3}\[\^[^\]\s]+\]:/m)?.index,
    tokenizer(src) {
      const found = NOTE_TEXT.exec(src);
      if (found)
        return { type: "notetext", raw: found[0], name: found[1], tokens: this.lexer.inlineTokens(found[2].trim()) };
    },
    renderer({ name, tokens }) {
      return `<p class="note-text"><sup>${escape(name)}</sup> ${this.parser.parseInline(tokens)}</p>\n`;
    },
  },
];

/** The paragraph at the start of `src` when it is little but marks or line ends, which would take the page seconds. */
function crowdIn(src) {
  if (src.length < CROWDED) return "";
  const raw = PARAGRAPH.exec(src)?.[0] ?? "";
  if (raw.length < CROWDED || /^ {0,3}(?:```|~~~|\|)/.test(raw)) return "";
  const share = (pattern) => (raw.match(pattern) ?? []).length / raw.length;
  return share(MARKS) > 1 / 5 || share(/\n/g) > 1 / 8 ? raw : "";
}

/** Between single dollars: a formula, and not two prices. */
const isFormula = (text) =>
  /^\S/.test(text) && /\S$/.test(text) && (/^\p{L}['′]*$/u.test(text) || /[\\^_=+*<>{}|/]|\(.*\)/.test(text));

/** From `<details>` to its own end, or to the end of the text while it is still being written. */
function balanced(src) {
  let depth = 0;
  for (const { 0: tag, 1: isEnd, index } of src.matchAll(FOLD)) {
    depth += isEnd ? -1 : 1;
    if (depth > DEEPEST) return src.slice(0, index);
    if (depth === 0) return src.slice(0, index + tag.length) + (/^[ \t]*\n*/.exec(src.slice(index + tag.length))?.[0] ?? "");
  }
  return src;
}

/** The TeX inside the marks of a formula. */
export const texOf = (source) => source.replace(/^(?:\$\$?|\\[[(])/, "").replace(/(?:\$\$?|\\[\])])$/, "").trim();
