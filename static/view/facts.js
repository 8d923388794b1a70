/**
 * What is known about a reply (agent, model, times, tokens, backend), behind a quiet "i". Part of the view.
 */

import { t } from "../language.js";
import { duration, hue } from "../words.js";
import { h, iconButton } from "./dom.js";

/** A line of facts and the button that shows it. */
export function factsOf(facts) {
  const line = h("p", { class: "facts" }, h("span", {}, wordsOf(facts)), facts.backend ? badge(facts.backend) : null);
  const toggle = iconButton("about", t("About this reply"), () => {
    const isShown = line.classList.toggle("shown");
    toggle.setAttribute("aria-expanded", String(isShown));
  });
  toggle.classList.add("facts-toggle");
  toggle.setAttribute("aria-expanded", "false");
  return { line, toggle };
}

function wordsOf({ agent, provider, model, first_token_ms: first, duration_ms: total, usage, left_out: left, continued }) {
  const tokens = usage?.output_tokens;
  const about = usage?.exact === false;
  return [
    agent,
    model ?? provider,
    first != null && t("first token {time}", { time: duration(first) }),
    total != null && t("total {time}", { time: duration(total) }),
    tokens > 0 && t(about ? "about {n} token|about {n} tokens" : "{n} token|{n} tokens", { n: tokens }),
    continued > 0 && t("continued {n} time|continued {n} times", { n: continued }),
    left > 0 && t("{n} earlier message left out|{n} earlier messages left out", { n: left }),
  ]
    .filter(Boolean)
    .join(" · ");
}

/** The name of a backend in its own colour. */
export const badge = (backend) => h("span", { class: `badge hue-${hue(backend)}` }, backend);
