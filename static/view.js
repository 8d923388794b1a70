/**
 * The document: this file and its rooms in `view/` are the only ones that touch it.
 *
 * Shows what it is given and turns clicks and keys into the actions it was given; decides nothing about chats.
 */

import { recall, remember } from "./device.js";
import { Composer } from "./view/composer.js";
import { askForKey, ChatDialog, isDialogOpen, showKeys, wireDialogs } from "./view/dialogs.js";
import { $, h } from "./view/dom.js";
import { ChatList } from "./view/list.js";
import { StatusView } from "./view/status.js";
import { Transcript } from "./view/transcript.js";

const PATIENCE_MS = 20_000;
const KEYBOARD_PX = 120;
const THEMES = { "": "System", light: "Light", dark: "Dark" };

export class View {
  #chat = null;
  #toastTimer = 0;

  constructor(actions) {
    this.actions = actions;
    this.transcript = new Transcript(actions);
    this.composer = new Composer({ ...actions, editLast: () => this.transcript.editLast() });
    this.list = new ChatList(actions);
    this.status = new StatusView(actions);
    this.dialog = new ChatDialog(actions);
    wireDialogs();
    this.#wireButtons();
    this.#wireChoices();
    document.addEventListener("keydown", (event) => this.#key(event));
    visualViewport?.addEventListener("resize", () => this.#fitViewport());
  }

  askForKey = askForKey;

  /** Another chat is the visible one. */
  open(chat, draft) {
    this.#chat = chat;
    this.#page("chat");
    this.transcript.open(chat);
    this.composer.fill(draft);
    this.showChat(chat);
    this.showState(chat);
    this.composer.focus();
  }

  openStatus() {
    this.#chat = null;
    this.#page("status");
    document.title = "Status";
    $("status-title").focus({ preventScroll: true });
  }

  /** Turns came, went or ended. */
  showChat(chat) {
    this.transcript.sync();
    $("empty").hidden = chat.turns.length > 0 || chat.refused !== null;
    const title = chat.title || "New chat";
    $("title").textContent = title;
    document.title = chat.title || "Chat";
    $("agent").value = chat.agent;
  }

  showState(chat) {
    const { state } = chat;
    this.composer.show(state);
    $("agent").disabled = state !== "idle";
    document.body.dataset.state = state;
    $("bar").hidden = state !== "resuming";
    if (state === "resuming") $("bar-words").textContent = reconnecting(chat);
  }

  showAgents(agents, current) {
    const options = agents.map(({ name, description }) => h("option", { value: name, title: description }, name));
    $("agent").replaceChildren(...options);
    $("agent").value = current;
    $("agent-field").hidden = agents.length < 2;
  }

  /** Says calmly that no real model answers. */
  showProvider(provider) {
    $("demo").hidden = provider !== "demo" || recall("demo-seen") !== "";
  }

  /** A chat could not be read. */
  showTrouble(words, onclick) {
    $("load-trouble").hidden = !words;
    $("load-words").textContent = words;
    $("load-again").onclick = onclick;
  }

  /** One line at the bottom for `ms`, with at most one thing to do. */
  toast(words, { action = "", onclick = null, ms = 5000 } = {}) {
    clearTimeout(this.#toastTimer);
    const close = () => ($("toast").hidden = true);
    $("toast-words").textContent = words;
    $("toast-action").hidden = !action;
    $("toast-action").textContent = action;
    $("toast-action").onclick = () => (close(), onclick());
    $("toast").hidden = false;
    this.#toastTimer = setTimeout(close, ms);
  }

  /** Hands a file to the person. */
  save(blob, name) {
    const address = URL.createObjectURL(blob);
    h("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  #page(name) {
    document.body.dataset.page = name;
    $("chat-page").hidden = name !== "chat";
    $("status-page").hidden = name !== "status";
    this.#drawer(false);
  }

  #drawer(isOpen) {
    document.body.classList.toggle("drawer", isOpen);
    for (const id of ["menu", "status-menu"]) $(id).setAttribute("aria-expanded", String(isOpen));
    if (isOpen) $("new-chat").focus();
  }

  #wireButtons() {
    const clicks = {
      menu: () => this.#drawer(true),
      "status-menu": () => this.#drawer(true),
      "close-drawer": () => (this.#drawer(false), $("menu").focus()),
      veil: () => this.#drawer(false),
      "new-chat": this.actions.newChat,
      about: () => this.actions.details(this.#chat.id),
      "show-keys": showKeys,
      "demo-close": () => (remember("demo-seen", "1"), ($("demo").hidden = true)),
      "bar-now": this.actions.hurry,
      side: ({ target }) => target.closest("a") && this.#drawer(false),
      skip: (event) => (event.preventDefault(), $("box").focus()),
    };
    for (const [id, onclick] of Object.entries(clicks)) $(id).addEventListener("click", onclick);
    $("agent").addEventListener("change", ({ target }) => this.actions.chooseAgent(target.value));
    for (const button of document.querySelectorAll("[data-ask]"))
      button.addEventListener("click", () => this.actions.send(button.dataset.ask));
  }

  /** Light, dark or as the system; facts shown or hidden. Both are kept on this device. */
  #wireChoices() {
    const theme = (name) => {
      document.documentElement.dataset.theme = name;
      $("theme").textContent = `Theme: ${THEMES[name]}`;
    };
    const facts = (isHidden) => {
      document.documentElement.classList.toggle("no-facts", isHidden);
      $("facts").setAttribute("aria-pressed", String(!isHidden));
    };
    const names = Object.keys(THEMES);
    theme(names.includes(recall("theme")) ? recall("theme") : "");
    facts(recall("facts") === "hidden");
    $("theme").addEventListener("click", () => {
      const next = names[(names.indexOf(recall("theme")) + 1) % names.length];
      remember("theme", next);
      theme(next);
    });
    $("facts").addEventListener("click", () => {
      const isHidden = recall("facts") !== "hidden";
      remember("facts", isHidden ? "hidden" : "");
      facts(isHidden);
    });
  }

  #key(event) {
    const { key, shiftKey } = event;
    const hasCtrl = event.ctrlKey || event.metaKey;
    const act = (deed) => (event.preventDefault(), deed());
    if (isDialogOpen()) return;
    if (hasCtrl && shiftKey && key.toLowerCase() === "o") act(this.actions.newChat);
    else if (hasCtrl && !shiftKey && key.toLowerCase() === "k") act(() => this.#openFilter());
    else if (hasCtrl && key === "/") act(showKeys);
    else if (key === "Escape" && shiftKey) act(() => $("box").focus());
    else if (key === "Escape" && !event.isComposing) this.#escape();
  }

  #openFilter() {
    if (getComputedStyle($("menu")).display !== "none") this.#drawer(true);
    this.list.focusFilter();
  }

  #escape() {
    if (this.composer.closeChoice()) return;
    if (document.body.classList.contains("drawer")) return this.#drawer(false);
    this.actions.stop();
  }

  /** Phones whose keyboard covers the page without changing its height: the box stays above it. */
  #fitViewport() {
    const { height, scale } = visualViewport;
    const isCovered = scale === 1 && innerHeight - height > KEYBOARD_PX;
    document.documentElement.style.setProperty("--height", isCovered ? `${height}px` : "");
    this.transcript.keep();
  }
}

/** Calm words for a broken connection; they say so when it takes long, instead of turning in circles. */
function reconnecting({ run: { isAccepted, cutAt } }) {
  const what = isAccepted ? "answer" : "message";
  if (Date.now() - cutAt < PATIENCE_MS) return `Reconnecting, your ${what} is safe`;
  return `The server has not answered for a while. Your ${what} is safe, this page keeps trying.`;
}
