/**
 * How often the service is read, and what happens when the device wakes, the network is back or another tab has news.
 *
 * Knows the clock and the browser's signs of life, not what is read.
 */

const PACE_MS = { calm: 15_000, busy: 4_000, status: 2_000 };

export class Watch {
  #tick = 0;
  #tabs = new BroadcastChannel("chat");

  /** `look()` reads, `wake()` doubts what was open before, `pace()` names the pace: "calm", "busy" or "status". */
  constructor({ look, wake, pace }) {
    Object.assign(this, { look, wake, pace });
    addEventListener("online", () => this.#woke());
    addEventListener("pageshow", ({ persisted }) => persisted && this.#woke());
    document.addEventListener("visibilitychange", () => document.hidden || this.#woke());
    this.#tabs.onmessage = () => this.now();
  }

  /** Reads now, and from now on at its pace; nothing while nobody looks. */
  now() {
    this.plan();
    if (!document.hidden) void this.look();
  }

  plan() {
    clearTimeout(this.#tick);
    this.#tick = setTimeout(() => this.now(), PACE_MS[this.pace()]);
  }

  tellTabs() {
    this.#tabs.postMessage("changed");
    this.plan();
  }

  #woke() {
    this.wake();
    this.now();
  }
}
