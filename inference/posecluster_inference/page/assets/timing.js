// The duration of a request: the stages in the server, and the remaining time.

import { bytes, make, milliseconds } from "./dom.js";

const MEANING = {
  queue: "waiting", decode: "decoding", inference: "inference", draw: "drawing", encode: "encoding", network: "network",
};

function entry(term, value, kind = "") {
  return make("div", kind ? { class: kind } : {}, make("dt", {}, term), make("dd", {}, value));
}

/** Show the timing of an exchange, as `detect` returns it. */
export function drawTiming(box, exchange) {
  const known = exchange.stages.reduce((sum, [, time]) => sum + time, 0);
  const parts = [...exchange.stages, ["network", Math.max(0, exchange.totalMs - known)]];
  const stack = make("div", { class: "stack", "aria-hidden": "true" });
  for (const [name, time] of parts) {
    const part = make("i", { class: name in MEANING ? name : "network", title: `${name}: ${milliseconds(time)}` });
    part.style.flexGrow = time;
    stack.append(part);
  }
  const legend = make("dl", { class: "legend" }, ...parts.map(([name, time]) =>
    entry(MEANING[name] ?? name, milliseconds(time), name in MEANING ? name : "network")));
  const facts = make("dl", { class: "facts" },
    entry("status", String(exchange.status)),
    entry("in all", milliseconds(exchange.totalMs)),
    entry("sent", bytes(exchange.sentBytes)),
    entry("received", bytes(exchange.receivedBytes)),
    entry("cache", exchange.cacheStatus.replace("posecluster; ", "") || "–", "wide"),
    ...(exchange.left ? [entry("quota", exchange.left.replace('"default";', ""), "wide")] : []),
    entry("request", exchange.requestId, "wide"),
  );
  box.replaceChildren(stack, legend, facts);
}
