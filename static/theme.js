/* The chosen theme before the first paint, so that nothing flashes. The rest of the page is modules, which come later. */
try {
  document.documentElement.dataset.theme = localStorage.getItem("chat.theme") || "";
} catch {
  // storage is forbidden here: as the system
}
