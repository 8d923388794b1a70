/**
 * Numbers, times and refusals in words a person understands. Pure.
 */

/** 38 -> "38 ms", 2140 -> "2.1 s", 95000 -> "1 min 35 s". */
export function duration(ms) {
  if (ms == null) return "";
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** How long ago: "now", "5 min", "3 h", "2 d", then the date. */
export function ago(iso, now = Date.now()) {
  const minutes = Math.floor((now - Date.parse(iso)) / 60_000);
  if (Number.isNaN(minutes)) return "";
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h`;
  if (minutes < 7 * 24 * 60) return `${Math.floor(minutes / 1440)} d`;
  return new Date(iso).toLocaleDateString();
}

export const bytes = (count) => `${(count / 1_048_576).toFixed(1)} MB`;

export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

export const wordCount = (text) => (text.match(/\S+/g) ?? []).length;

/** One of eight hues for a name; "backend-1", "backend-2" … come out different. */
export function hue(name) {
  const number = /(\d+)$/.exec(name);
  if (number) return Number(number[1]) % 8;
  return [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 8, 0);
}

/** "Stopped in 38 ms · ran on backend-1 · asked through backend-3". */
export function stopLine({ ms, backend, answeredBy }) {
  const pieces = [ms == null ? "Stopped" : `Stopped in ${duration(ms)}`];
  if (backend) pieces.push(`ran on ${backend}`);
  if (answeredBy) pieces.push(`asked through ${answeredBy}`);
  return pieces.join(" · ");
}

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
  context_overflow: "The chat has become too long for the model. A new chat helps.",
};

/** Titles that tell at a glance who is away: the memory, the model or the way to the server. */
export function troubleTitle(code) {
  if (code === "redis_unavailable") return "Memory is away";
  if (code.startsWith("model_") || code === "context_overflow") return "The model could not answer";
  if (code === "unreachable" || code === "gateway") return "No connection";
  if (code === "backend_lost" || code === "run_lost" || code === "draining") return "Interrupted";
  return "Not sent";
}

/** One sentence for a refusal or a failed reply; the server's own when it gives one. */
export const sentence = ({ code, detail, message }) =>
  detail || message || SENTENCES[code] || "The server refused this without a reason.";
