/**
 * Scrolling that lets go: follows the end of the transcript until the person scrolls away, and again from the end on.
 *
 * Part of the view. Whoever knows that something was sent says so with `toEnd`; nothing is guessed from the content.
 */

const NEAR = 60;

export class Follow {
  isFollowing = true;
  #scroller;
  #button;
  #top = 0;

  constructor(scroller, button) {
    this.#scroller = scroller;
    this.#button = button;
    scroller.addEventListener("wheel", (event) => event.deltaY < 0 && this.#letGo(), { passive: true });
    scroller.addEventListener("touchmove", () => this.#gap() > NEAR && this.#letGo(), { passive: true });
    scroller.addEventListener("keydown", ({ key }) => ["PageUp", "ArrowUp", "Home"].includes(key) && this.#letGo());
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    button.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.keep()).observe(scroller);
  }

  /** After the content has grown. */
  keep() {
    if (this.isFollowing) this.#jump();
    this.#button.hidden = this.isFollowing || this.#gap() <= NEAR;
  }

  /** To the end, and following from now on. */
  toEnd() {
    this.isFollowing = true;
    this.keep();
  }

  #scrolled() {
    const top = this.#scroller.scrollTop;
    if (top < this.#top - 1 && this.#gap() > NEAR)
      this.#letGo(); // dragged up by the scroll bar
    else if (this.#gap() <= NEAR && top >= this.#top) this.isFollowing = true;
    this.#top = top;
    this.#button.hidden = this.isFollowing || this.#gap() <= NEAR;
  }

  #letGo() {
    if (this.#scroller.scrollHeight <= this.#scroller.clientHeight) return;
    this.isFollowing = false;
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
