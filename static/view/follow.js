/**
 * Scrolling that lets go: follows the end of the transcript until the person moves up, by whatever means and however
 * little, and again from the very end on.
 *
 * Part of the view. Whoever knows that something was sent says so with `toEnd`; nothing is guessed from the content.
 */

const AT_END = 2; // what zoom and rounding leave between the end and the end
const FAR = 24; // from here on the way back is offered
const UP_KEYS = ["PageUp", "ArrowUp", "Home"];

export class Follow {
  isFollowing = true;
  #scroller;
  #button;
  #top = 0;
  #finger = null; // where it touches
  #isHeld = false; // a button of the mouse is down on something, which must not move away from under it

  constructor(scroller, button) {
    this.#scroller = scroller;
    this.#button = button;
    const on = (type, act) => scroller.addEventListener(type, act, { passive: true });
    on("wheel", ({ deltaY }) => deltaY < 0 && this.#letGo());
    on("touchstart", ({ touches }) => (this.#finger = touches[0].clientY));
    on("touchmove", ({ touches }) => this.#dragged(touches[0].clientY));
    on("keydown", ({ key, shiftKey }) => (UP_KEYS.includes(key) || (key === " " && shiftKey)) && this.#letGo());
    on("scroll", () => this.#scrolled());
    on("pointerdown", ({ target, pointerType }) => (this.#isHeld = target !== scroller && pointerType !== "touch"));
    for (const type of ["pointerup", "pointercancel", "blur"]) addEventListener(type, () => this.#released());
    document.addEventListener("selectionchange", () => this.#selected());
    button.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.keep()).observe(scroller);
  }

  /** After the content has grown. */
  keep() {
    if (this.isFollowing && this.#scroller.scrollTop < this.#top - 1 && this.#gap() > AT_END) this.#letGo();
    if (this.isFollowing && !this.#isHeld) this.#jump();
    this.#offer();
  }

  /** To the end, and following from now on. */
  toEnd() {
    this.isFollowing = true;
    this.#top = 0;
    this.keep();
  }

  /** Another text: from its end. */
  begin() {
    this.isFollowing = true;
    this.#top = 0;
  }

  #released() {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    requestAnimationFrame(() => this.keep()); // the click comes first
  }

  #dragged(y) {
    if (y > this.#finger) this.#letGo();
    this.#finger = y;
  }

  #scrolled() {
    const top = this.#scroller.scrollTop;
    if (top < this.#top - 1 && this.#gap() > AT_END) this.#letGo();
    else if (top > this.#top && this.#gap() <= AT_END) this.isFollowing = true;
    this.#top = top;
    this.#offer();
  }

  /** Who marks words reads them: they must not run away. */
  #selected() {
    const selection = getSelection();
    if (selection.isCollapsed || !this.#scroller.contains(selection.anchorNode)) return;
    this.#letGo();
    this.#offer();
  }

  #letGo() {
    if (this.#scroller.scrollHeight <= this.#scroller.clientHeight) return;
    this.isFollowing = false;
  }

  #offer() {
    this.#button.hidden = this.isFollowing || this.#gap() <= FAR;
  }

  #jump() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#top = this.#scroller.scrollTop;
  }

  #gap() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }
}
