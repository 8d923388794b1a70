/**
 * What cannot wait for the modules: the chosen theme before the first paint, so that nothing flashes, and another try
 * when a file of the page did not arrive, so that a moment without a server leaves no dead page behind.
 */

const AGAIN_MS = 2_000;

try {
  document.documentElement.dataset.theme = localStorage.getItem("chat.theme") || "";
} catch {
  // storage is forbidden here: as the system
}

addEventListener(
  "error",
  ({ target }) => {
    if (target instanceof HTMLScriptElement) setTimeout(() => location.reload(), AGAIN_MS);
  },
  true,
);
