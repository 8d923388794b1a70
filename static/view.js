/**
 * The document: this file and its rooms in `view/` are the only ones that touch it.
 *
 * Shows what it is given and turns clicks and keys into the actions it was given; decides nothing about chats.
 */

import { recall, remember } from "./device.js";
import { t } from "./language.js";
import { part } from "./part.js";
import { Agents } from "./view/agents.js";
import { Composer } from "./view/composer.js";
import { askForKey, isDialogOpen, showKeys, wireDialogs } from "./view/dialogs.js";
import { $, save } from "./view/dom.js";
import { Header } from "./view/header.js";
import { ChatList } from "./view/list.js";
import { Side } from "./view/side.js";
import { toast } from "./view/toast.js";
import { Transcript } from "./view/transcript.js";
import { translate } from "./view/translate.js";

const PATIENCE_MS = 20_000;
const KEYBOARD_PX = 120;

export class View {
  askForKey = askForKey;
  save = save;
  toast = toast;
  #chat = null;
  #focus = null; // comes when the page has begun
  #wasLive = false;
  #about = null;
  #settings = null;
  #look = null;

  constructor(actions) {
    translate();
    this.actions = actions;
    this.transcript = new Transcript(actions);
    this.composer = new Composer({ ...actions, editLast: () => this.transcript.editLast() });
    this.list = new ChatList(actions);
    this.header = new Header(actions);
    this.agents = new Agents(actions);
    this.side = new Side();
    wireDialogs();
    this.#wireButtons();
    document.addEventListener("keydown", (event) => this.#key(event));
    visualViewport?.addEventListener("resize", () => this.#fitViewport());
    globalThis.pageBegan(); // first.js
    part("view/focus.js").then(({ Focus }) => (this.#focus = new Focus()), console.info);
  }

  /** Another chat is the visible one. */
  open(chat, draft) {
    this.#chat = chat;
    this.#wasLive = false;
    this.#page("chat");
    this.transcript.open(chat);
    this.composer.fill(draft);
    this.composer.showFiles(chat.attachments);
    this.showChat(chat);
    this.showState(chat);
    this.composer.focus();
  }

  openStatus() {
    $("status-back").href = this.#chat?.id ? `#/chat/${encodeURIComponent(this.#chat.id)}` : "#/";
    this.#chat = null;
    this.#page("status");
    this.header.call(t("Status"));
    $("status-title").focus({ preventScroll: true });
  }

  /** Turns came, went or ended. */
  showChat(chat) {
    this.transcript.sync();
    const isEmpty = chat.turns.length === 0 && chat.refused === null;
    $("chat-page").classList.toggle("is-empty", isEmpty);
    $("empty").hidden = $("beneath").hidden = !isEmpty;
    $("unknown").hidden = !(isEmpty && chat.id && chat.isNew && !chat.isUnread);
    $("gone").hidden = !chat.isGone;
    const isTold = Boolean(chat.about.instructions) || chat.about.temperature != null;
    $("told").hidden = !isTold && !(isEmpty && chat.isNew);
    $("told-words").textContent = t(isTold ? "With instructions of its own" : "Give instructions");
    this.header.show(chat);
    this.agents.show(chat.agent, chat.state !== "idle");
    this.#focus?.keep();
  }

  showState(chat) {
    const { state } = chat;
    this.composer.show(state);
    this.agents.show(chat.agent, state !== "idle");
    document.body.dataset.state = state;
    $("bar").hidden = state !== "resuming";
    if (state === "resuming") $("bar-words").textContent = reconnecting(chat);
    if (this.#wasLive && state === "idle") this.header.ring("✓");
    this.#wasLive = state !== "idle";
    this.#focus?.keep();
  }

  showAgents(agents) {
    this.agents.list(agents);
  }

  /** What the server says of itself: that no real model answers, how long a message may be. */
  showServer({ provider, message_max_chars: most, file_max_kb: largest }) {
    document.documentElement.classList.toggle("is-demo", provider === "demo");
    $("demo").hidden = provider !== "demo" || recall("demo-seen") !== "";
    this.composer.counter.limit(most);
    if (largest) this.composer.attach.offer();
  }

  /** The dialog about a chat; see `view/about.js`. What is seldom needed is fetched when it is. */
  async details(chat) {
    const came = await this.#part("view/about.js");
    if (came) (this.#about ??= new came.ChatDialog(this.actions)).open(chat);
  }

  /** One file, whole. */
  async lookAt(file) {
    const came = await this.#part("view/look.js");
    if (came) await (this.#look ??= new came.Look(this.actions)).open(file);
  }

  /** A picture made small enough; see `view/shrink.js`. */
  async shrink(blob, most) {
    return (await part("view/shrink.js")).shrink(blob, most);
  }

  /** What shows who is at work. */
  async statusView() {
    const came = await this.#part("view/status.js");
    return came && new came.StatusView(this.actions);
  }

  async #openSettings() {
    const came = await this.#part("view/settings.js");
    if (came) (this.#settings ??= new came.Settings(this.actions)).open();
  }

  /** A part of the page; when it does not come, that is said. */
  #part(path) {
    return part(path).catch(() => this.toast(t("This part of the page has not arrived. Try again in a moment.")));
  }

  /** A chat could not be read. */
  showTrouble(words, onclick) {
    $("load-trouble").hidden = !words;
    $("load-words").textContent = words;
    $("load-again").onclick = onclick;
  }

  #page(name) {
    document.body.dataset.page = name;
    $("chat-page").hidden = name !== "chat";
    $("status-page").hidden = name !== "status";
    if (name === "status") $("to-status").setAttribute("aria-current", "page");
    else $("to-status").removeAttribute("aria-current");
    this.side.close(false);
  }

  #wireButtons() {
    const clicks = {
      "new-chat": () => (this.side.close(false), this.actions.newChat()),
      "gone-new": this.actions.newChat,
      "settings-open": () => void this.#openSettings(),
      told: () => this.actions.details(this.#chat.id),
      about: () => this.actions.details(this.#chat.id),
      "demo-close": () => (remember("demo-seen", "1"), ($("demo").hidden = true)),
      "bar-now": this.actions.hurry,
      skip: (event) => (event.preventDefault(), $("box").focus()),
    };
    for (const [id, onclick] of Object.entries(clicks)) $(id).addEventListener("click", onclick);
    for (const button of document.querySelectorAll("[data-ask]"))
      button.addEventListener("click", () => this.actions.send(button.textContent));
  }

  #key(event) {
    const { key, shiftKey } = event;
    const hasCtrl = event.ctrlKey || event.metaKey;
    const act = (deed) => (event.preventDefault(), deed());
    if (isDialogOpen()) return;
    if (hasCtrl && shiftKey && key.toLowerCase() === "o") act(this.actions.newChat);
    else if (hasCtrl && shiftKey && key.toLowerCase() === "s") act(() => this.side.toggle());
    else if (hasCtrl && !shiftKey && key.toLowerCase() === "k") act(() => this.#openFilter());
    else if (hasCtrl && key === "/") act(showKeys);
    else if (key === "Escape" && shiftKey) act(() => $("box").focus());
    else if (key === "Escape" && !event.isComposing) this.#escape(event.target);
  }

  #openFilter() {
    this.side.reveal();
    this.list.focusFilter();
  }

  /** Esc closes what is open; a reply it stops only where nothing else could be meant. */
  #escape(target) {
    if (this.side.close()) return;
    if (target === $("box") || !target.matches("input, textarea, select")) this.actions.stop();
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
  if (Date.now() - cutAt < PATIENCE_MS)
    return t(isAccepted ? "Reconnecting, your answer is safe" : "Reconnecting, your message is safe");
  return t(
    isAccepted
      ? "The server has not answered for a while. Your answer is safe, this page keeps trying."
      : "The server has not answered for a while. Your message is safe, this page keeps trying.",
  );
}
