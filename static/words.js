/**
 * Numbers, times and names in words a person understands. Pure but for the language and the clock.
 */

import { language, t } from "./language.js";

/** 38 -> "38 ms", 2140 -> "2.1 s", 95000 -> "1 min 35 s". */
export function duration(ms) {
  if (ms == null) return "";
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toLocaleString(language(), { maximumFractionDigits: 1, minimumFractionDigits: 1 })} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** How long ago: "now", "5 min", "3 h", "2 d", then the date. */
export function ago(iso, now = Date.now()) {
  const minutes = Math.floor((now - Date.parse(iso)) / 60_000);
  if (Number.isNaN(minutes)) return "";
  if (minutes < 1) return t("now");
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h`;
  if (minutes < 7 * 24 * 60) return `${Math.floor(minutes / 1440)} d`;
  return new Date(iso).toLocaleDateString(language());
}

const DAY_MS = 86_400_000;

/** The group of the list a time belongs to: today, yesterday, the last week, the last month, then its month. */
export function dayGroup(iso, now = new Date()) {
  const then = new Date(iso);
  if (Number.isNaN(then.getTime())) return t("Older");
  const days = Math.round((midnight(now) - midnight(then)) / DAY_MS);
  if (days < 1) return t("Today");
  if (days < 2) return t("Yesterday");
  if (days < 7) return t("Last 7 days");
  if (days < 30) return t("Last 30 days");
  return then.toLocaleDateString(language(), { month: "long", year: "numeric" });
}

const midnight = (day) => new Date(day.getFullYear(), day.getMonth(), day.getDate()).getTime();

/** The time of a message: the hour today, with the day before that. */
export function clockTime(iso, now = new Date()) {
  const then = new Date(iso);
  if (Number.isNaN(then.getTime())) return "";
  const hour = { hour: "2-digit", minute: "2-digit" };
  const isToday = midnight(then) === midnight(now);
  return then.toLocaleString(language(), isToday ? hour : { day: "numeric", month: "short", ...hour });
}

/** The whole of a time, for who points at it. */
export const fullTime = (iso) => new Date(iso).toLocaleString(language(), { dateStyle: "full", timeStyle: "medium" });

/** A title without the marks of Markdown, in one line. */
export const cleanTitle = (title) =>
  title
    .replace(/```\w*|^\s*(?:#{1,6}\s+|>\s?|[-*+]\s+|\d+[.)]\s+)/gm, "")
    .replace(/!?\[([^\]]*)\]\([^)]*\)?/g, "$1")
    .replace(/(\*\*|__|~~|`)/g, "")
    .replace(/(^|[\s(])[*_]([^\s*_][^*_]*)[*_](?=[\s).,;:!?]|$)/g, "$1$2")
    .replace(/\s+/g, " ")
    .trim();

const ENDINGS = {
  python: "py", javascript: "js", typescript: "ts", bash: "sh", shell: "sh", sh: "sh", markdown: "md", rust: "rs",
  csharp: "cs", ruby: "rb", plaintext: "txt", text: "txt", dockerfile: "Dockerfile", makefile: "mk", "c++": "cpp",
}; // prettier-ignore

/** A name for a file of code: "python" -> "code.py". */
export const fileNameOf = (name) => `code.${ENDINGS[name] ?? (/^\w{1,6}$/.test(name) ? name : "txt")}`;

export const bytes = (count) => `${(count / 1_048_576).toFixed(1)} MB`;

export const wordCount = (text) => (text.match(/\S+/g) ?? []).length;

/** One of eight hues for a name; "backend-1", "backend-2" … come out different. */
export function hue(name) {
  const number = /(\d+)$/.exec(name);
  if (number) return Number(number[1]) % 8;
  return [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 8, 0);
}

/** "Stopped in 38 ms · ran on backend-1 · asked through backend-3". */
export function stopLine({ ms, backend, answeredBy }) {
  const pieces = [ms == null ? t("Stopped") : t("Stopped in {time}", { time: duration(ms) })];
  if (backend) pieces.push(t("ran on {backend}", { backend }));
  if (answeredBy) pieces.push(t("asked through {backend}", { backend: answeredBy }));
  return pieces.join(" · ");
}
