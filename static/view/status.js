/**
 * The view `#/status`: backends, the line before the model, live runs with a stop on each, stops of the last hour, Redis.
 * Part of the view.
 */

import { language, t } from "../language.js";
import { sentence, troubleTitle } from "../trouble.js";
import { ago, bytes, duration } from "../words.js";
import { $, button, h } from "./dom.js";
import { chart } from "./chart.js";
import { badge } from "./facts.js";
import { become } from "./grow.js";
import { trouble } from "./notice.js";

export class StatusView {
  #painted = "";
  #live = []; // the runs that are shown

  /** `actions`: stopRun(run), refreshStatus(), titleOf(id). */
  constructor(actions) {
    this.actions = actions;
    $("status-body").addEventListener("click", ({ target }) => this.#press(target.closest("[data-run]")));
  }

  show(status) {
    const painted = JSON.stringify(status);
    if (painted === this.#painted) return;
    this.#painted = painted;
    this.#live = status.runs;
    const hadFocus = $("status-body").contains(document.activeElement);
    const fresh = h(
      "div",
      {},
      section(
        t("{n} backend|{n} backends", { n: status.backends.length }),
        h("div", { class: "cards" }, ...status.backends.map((backend) => backendCard(backend, status.runs))),
      ),
      section(t("{n} live run|{n} live runs", { n: status.runs.length }), lineWords(status.line), this.#runs(status.runs)),
      section(
        t("Stops of the last hour"),
        chart(status.stops),
        stops(status.stops, (id) => this.#link(id)),
      ),
      section("Redis", redis(status.redis)),
    );
    become($("status-body"), fresh);
    if (hadFocus && !$("status-body").contains(document.activeElement)) $("status-title").focus({ preventScroll: true });
  }

  #press(button) {
    const run = this.#live.find(({ run_id: id }) => id === button?.dataset.run);
    if (run) this.actions.stopRun(run);
  }

  showProblem(problem) {
    this.#painted = "";
    const again = button(t("Try again"), this.actions.refreshStatus);
    const title = problem.code === "redis_unavailable" || problem.isLost ? troubleTitle(problem.code) : t("No status");
    $("status-body").replaceChildren(trouble(title, sentence(problem), again, problem.requestId));
  }

  /** A chat by its title, where the list knows it. */
  #link(id) {
    const title = this.actions.titleOf(id);
    return h("a", { href: `#/chat/${encodeURIComponent(id)}`, title: id, dir: "auto" }, title || id);
  }

  #runs(runs) {
    if (runs.length === 0) return quiet(t("Nobody is waiting for a reply."));
    return table(
      "runs",
      [t("Chat"), t("Agent"), t("Backend"), t("For"), ""],
      runs.map((run) => [
        run.run_id,
        this.#link(run.chat_id),
        run.agent,
        badge(run.backend),
        run.asked > 0 ? t("waits for a person") : (minutes(run.started_at) ?? t("under 1 min")),
        h(
          "button",
          {
            type: "button",
            class: "plain",
            "data-run": run.run_id,
            "aria-label": t("Stop the run of {id}", { id: run.chat_id }),
          },
          t("Stop"),
        ),
      ]),
    );
  }
}

/** How long ago in words, or null for less than a minute. */
const minutes = (at) => (Date.now() - Date.parse(at) < 60_000 ? null : ago(at));

const section = (title, ...children) => h("section", {}, h("h2", {}, title), ...children.filter(Boolean));
const quiet = (words) => h("p", { class: "hint" }, words);

/** Who waits for the model, where it makes only so many replies at once. */
const lineWords = (line) => line && quiet(t("The model makes {limit} at once: {working} at work, {waiting} waiting", line));

function backendCard({ backend, version, started_at: at, stop_listener: listener }, runs) {
  const count = runs.filter((run) => run.backend === backend).length;
  const isListening = listener === "listening";
  return h(
    "div",
    { class: "card" },
    badge(backend),
    h("p", {}, h("span", { class: "figure" }, String(count)), " ", t("live run|live runs", { n: count })),
    quiet(t("version {version}", { version }) + " · " + (minutes(at) ? t("up for {time}", { time: ago(at) }) : t("up just now"))),
    quiet(t(isListening ? "hears a stop at once" : "hears a stop by polling: the wake-up link is down")),
  );
}

function stops(list, link) {
  if (list.length === 0) return quiet(t("No reply was stopped in the last hour."));
  const times = list
    .map(({ stop_ms: ms }) => ms)
    .filter((ms) => ms != null)
    .sort((one, other) => one - other);
  const middle = duration(times[Math.floor(times.length / 2)]);
  const values = { n: list.length, middle, slowest: duration(times.at(-1)) };
  return h(
    "div",
    {},
    quiet(
      times.length > 0
        ? t("{n} stop · median {middle} · slowest {slowest}|{n} stops · median {middle} · slowest {slowest}", values)
        : "",
    ),
    table(
      "stops",
      [t("When"), t("Chat"), t("Ran on"), t("Asked through"), t("Took")],
      list
        .slice(0, 20)
        .map((stop) => [
          `${stop.at} ${stop.chat_id}`,
          new Date(stop.at).toLocaleTimeString(language()),
          link(stop.chat_id),
          stop.backend ? badge(stop.backend) : "",
          stop.answered_by ? badge(stop.answered_by) : "",
          duration(stop.stop_ms),
        ]),
    ),
  );
}

function redis({ status, version, latency_ms: latency, used_memory_bytes: used, maxmemory_policy: policy }) {
  const values = { status: t(status), version, latency: duration(latency), used: bytes(used ?? 0), policy };
  return h("p", {}, t("{status} · version {version} · answers in {latency} · {used} used · {policy}", values));
}

/** `rows`: of each a key that no other has, then its cells. */
const table = (name, heads, rows) =>
  h(
    "div",
    { class: `table ${name}`, tabindex: "0", role: "group", "aria-label": heads[0] },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...heads.map((head) => h(head ? "th" : "td", head ? { scope: "col" } : {}, head)))),
      h("tbody", {}, ...rows.map(([key, ...cells]) => h("tr", { "data-key": key }, ...cells.map((cell) => h("td", {}, cell))))),
    ),
  );
