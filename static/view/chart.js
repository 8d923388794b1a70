/**
 * The stops of the last hour as dots: when, and how long each took. Part of the view.
 */

import { t } from "../language.js";
import { clockTime, duration } from "../words.js";
import { h } from "./dom.js";

const HOUR_MS = 3_600_000;
const WIDEST = 640;
const HEIGHT = 96;
const BELOW = 18; // room for the times
const LEAST_MS = 50; // what the height stands for at least
const MARKS = [60, 45, 30, 15, 0]; // minutes ago

/** A small picture of `stops` ([{at, stop_ms}]), or null when there is none. */
export function chart(stops, now = Date.now()) {
  const known = stops.filter(({ at, stop_ms: ms }) => ms != null && now - Date.parse(at) < HOUR_MS);
  if (known.length === 0) return null;
  const most = Math.max(LEAST_MS, ...known.map(({ stop_ms: ms }) => ms));
  const width = Math.min(WIDEST, innerWidth - 48);
  const x = (time) => width * (1 - (now - time) / HOUR_MS);
  const y = (ms) => HEIGHT - (HEIGHT - 8) * (ms / most);
  const label = t("{n} stop in the last hour, the slowest took {time}|{n} stops in the last hour, the slowest took {time}", {
    n: known.length,
    time: duration(Math.max(...known.map(({ stop_ms: ms }) => ms))),
  });
  const picture = svg("svg", {
    viewBox: `-4 -4 ${width + 8} ${HEIGHT + BELOW + 8}`,
    class: "chart",
    role: "img",
    "aria-label": label,
  });
  picture.append(...MARKS.flatMap((minutes) => mark(minutes, x(now - minutes * 60_000), now)));
  picture.append(svg("text", { x: 2, y: 8 }, duration(most)));
  for (const { at, stop_ms: ms } of known)
    picture.append(
      svg("circle", { cx: x(Date.parse(at)), cy: y(ms), r: 3.5 }, svg("title", {}, `${clockTime(at)} · ${duration(ms)}`)),
    );
  return h("figure", {}, picture);
}

/** A line at a time of the hour, with its name below. */
function mark(minutes, x, now) {
  const anchor = minutes === 60 ? "start" : minutes === 0 ? "end" : "middle";
  const name = minutes === 0 ? t("now") : clockTime(new Date(now - minutes * 60_000).toISOString());
  return [
    svg("line", { x1: x, x2: x, y1: 0, y2: HEIGHT }),
    svg("text", { x, y: HEIGHT + BELOW - 2, "text-anchor": anchor }, name),
  ];
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
