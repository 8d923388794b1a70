/**
 * Refusals and failures in words a person understands. Pure but for the language.
 */

import { language, t } from "./language.js";

const SENTENCES = {
  unreachable: "The server cannot be reached. Check the network, or whether it is running.",
  gateway: "The way to the server is broken: nothing behind the load balancer answered.",
  redis_unavailable: "The memory of the server (Redis) is away. Nothing is lost; try again in a moment.",
  overloaded: "The server has as many replies in work as it can. Try again in a moment.",
  draining: "This backend is shutting down. Another one can take the question.",
  rate_limited: "That was too quick for the server. Wait a moment, then try again.",
  chat_busy: "A reply is already being written in this chat.",
  too_large: "The message is too large for the server.",
  backend_lost: "The backend that wrote this is gone. What it had written is kept.",
  run_lost: "The rest of this reply is lost. What had arrived is shown.",
  model_unavailable: "The model cannot be reached.",
  model_not_found: "The model is not installed at the provider.",
  model_auth: "The provider did not accept the credentials.",
  model_throttled: "The provider asks for a pause. Try again in a moment.",
  model_timeout: "The model took too long to answer.",
  model_error: "The model failed while answering.",
  no_vision: "The model of this agent cannot see pictures. Choose another agent, or send words only.",
  context_overflow: "The chat has become too long for the model. A new chat helps.",
};

/** Titles that tell at a glance who is away: the memory, the model or the way to the server. */
export function troubleTitle(code) {
  if (code === "redis_unavailable") return t("Memory is away");
  if (code === "no_vision") return t("It cannot see pictures");
  if (code.startsWith("model_") || code === "context_overflow") return t("The model could not answer");
  if (code === "unreachable" || code === "gateway") return t("No connection");
  if (code === "backend_lost" || code === "run_lost" || code === "draining") return t("Interrupted");
  return t("Not sent");
}

/** One sentence for a refusal or a failed reply; the server's own when it gives one. */
export function sentence({ code, detail, message, errors }) {
  const most = tooLong(errors);
  if (most) return t("The message is too long: {n} characters fit, send it in parts.", { most, n: most });
  const said = SENTENCES[code] ? t(SENTENCES[code]) : "";
  if (language() !== "en" && said) return said; // the server speaks English
  return detail || message || said || t("The server refused this without a reason.");
}

/** The longest message the server takes, told by its refusal of a longer one; else 0. */
export function tooLong(errors) {
  const found = (errors ?? []).find(({ loc, msg }) => /message/.test(String(loc)) && /at most \d+ char/.test(msg));
  return found ? Number(/at most (\d+)/.exec(found.msg)[1]) : 0;
}
