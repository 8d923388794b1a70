/**
 * What cannot wait for the modules: theme and text size before the first paint, so that nothing flashes, and what to do
 * when a file of the page did not arrive: a few tries, then a word about it instead of a page that only looks alive.
 */

const TRIES_MS = [2_000, 4_000, 8_000];
const PATIENCE_MS = 12_000; // after everything was loaded the page has to have begun
const dark = matchMedia("(prefers-color-scheme: dark)");

function kept(name) {
  try {
    return localStorage.getItem(`chat.${name}`) || "";
  } catch {
    return ""; // storage is forbidden here: as the system
  }
}

/** Puts on the theme, the text size and the facts of this device. */
globalThis.dressPage = () => {
  const theme = kept("theme");
  const root = document.documentElement;
  root.classList.toggle("dark", theme === "dark" || (theme !== "light" && dark.matches));
  root.classList.toggle("with-facts", kept("facts") === "shown");
  root.dataset.size = kept("size");
};

/** The page has begun: the tries that it took are forgotten. */
globalThis.pageBegan = () => {
  isAlive = true;
  document.documentElement.dataset.begun = "";
  tries("");
};

/** A file that is needed later does not come: a word about it, and no try that would end a page that lives. */
globalThis.pageMissing = say;

let isAlive = false;
let isSaid = false;

function tries(value) {
  try {
    if (value !== undefined) sessionStorage.setItem("chat.tries", value);
    return Number(sessionStorage.getItem("chat.tries"));
  } catch {
    return TRIES_MS.length; // it cannot be counted: no try at all
  }
}

function missing() {
  if (isAlive || isSaid) return;
  isSaid = true;
  const count = tries();
  if (count < TRIES_MS.length) setTimeout(() => (tries(String(count + 1)), location.reload()), TRIES_MS[count]);
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", say);
  else say();
}

function say() {
  document.getElementById("missing").hidden = false;
  document.getElementById("missing-now").onclick = () => (tries(""), location.reload());
}

dressPage();
dark.addEventListener("change", () => dressPage());
addEventListener(
  "error",
  ({ target, filename }) => {
    if (target instanceof HTMLScriptElement || filename?.startsWith(location.origin)) missing();
  },
  true,
);
addEventListener("load", () => setTimeout(missing, PATIENCE_MS));
