/**
 * The view `#/status`: backends, live runs with a stop on each, stop times of the last hour, Redis. Part of the view.
 */

import { ago, bytes, duration, plural, sentence, troubleTitle } from "../words.js";
import { $, h } from "./dom.js";
import { badge, trouble } from "./turn.js";

export class StatusView {
  #painted = "";

  /** `actions`: stopRun(run), refreshStatus(). */
  constructor(actions) {
    this.actions = actions;
  }

  show(status) {
    const painted = JSON.stringify(status);
    if (painted === this.#painted) return;
    this.#painted = painted;
    const focused = document.activeElement?.dataset?.run;
    $("status-body").replaceChildren(
      section(
        plural(status.backends.length, "backend"),
        h("div", { class: "cards" }, ...status.backends.map((backend) => backendCard(backend, status.runs))),
      ),
      section(plural(status.runs.length, "live run"), this.#runs(status.runs)),
      section("Stops of the last hour", stops(status.stops)),
      section("Redis", redis(status.redis)),
    );
    if (focused) document.querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
  }

  showProblem(problem) {
    this.#painted = "";
    const again = h("button", { type: "button", class: "plain", onclick: this.actions.refreshStatus }, "Try again");
    const title = problem.code === "redis_unavailable" || problem.isLost ? troubleTitle(problem.code) : "No status";
    $("status-body").replaceChildren(trouble(title, sentence(problem), again, problem.requestId));
  }

  #runs(runs) {
    if (runs.length === 0) return quiet("Nobody is waiting for a reply.");
    return table(
      ["Chat", "Agent", "Backend", "For", ""],
      runs.map((run) => [
        h("a", { href: `#/chat/${encodeURIComponent(run.chat_id)}` }, run.chat_id),
        run.agent,
        badge(run.backend),
        ago(run.started_at) === "now" ? "under 1 min" : ago(run.started_at),
        h(
          "button",
          {
            type: "button",
            class: "plain",
            "data-run": run.run_id,
            "aria-label": `Stop the run of ${run.chat_id}`,
            onclick: () => this.actions.stopRun(run),
          },
          "Stop",
        ),
      ]),
    );
  }
}

const section = (title, ...children) => h("section", {}, h("h2", {}, title), ...children);
const quiet = (words) => h("p", { class: "hint" }, words);

function backendCard({ backend, version, started_at: at, stop_listener: listener }, runs) {
  const count = runs.filter((run) => run.backend === backend).length;
  const isListening = listener === "listening";
  return h(
    "div",
    { class: "card" },
    badge(backend),
    h("p", {}, h("span", { class: "figure" }, String(count)), count === 1 ? " live run" : " live runs"),
    quiet(`version ${version} · up ${ago(at) === "now" ? "just now" : `for ${ago(at)}`}`),
    quiet(isListening ? "hears a stop at once" : "hears a stop by polling: the wake-up link is down"),
  );
}

function stops(list) {
  if (list.length === 0) return quiet("No reply was stopped in the last hour.");
  const times = list
    .map(({ stop_ms: ms }) => ms)
    .filter((ms) => ms != null)
    .sort((one, other) => one - other);
  const middle = times[Math.floor(times.length / 2)];
  const words =
    times.length > 0
      ? `${plural(list.length, "stop")} · median ${duration(middle)} · slowest ${duration(times.at(-1))}`
      : "";
  return h(
    "div",
    {},
    quiet(words),
    table(
      ["When", "Chat", "Ran on", "Asked through", "Took"],
      list
        .slice(0, 20)
        .map((stop) => [
          new Date(stop.at).toLocaleTimeString(),
          h("a", { href: `#/chat/${encodeURIComponent(stop.chat_id)}` }, stop.chat_id),
          stop.backend ? badge(stop.backend) : "",
          stop.answered_by ? badge(stop.answered_by) : "",
          duration(stop.stop_ms),
        ]),
    ),
  );
}

const redis = ({ status, version, latency_ms: latency, used_memory_bytes: used, maxmemory_policy: policy }) =>
  h("p", {}, `${status} · version ${version} · answers in ${duration(latency)} · ${bytes(used ?? 0)} used · ${policy}`);

const table = (heads, rows) =>
  h(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": heads[0] },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...heads.map((head) => h(head ? "th" : "td", head ? { scope: "col" } : {}, head)))),
      h("tbody", {}, ...rows.map((cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, cell))))),
    ),
  );
