// Shows the server's state from /healthz, polled while the page is visible.

import { health } from "./api.js";
import { byId, bytes, duration, make } from "./dom.js";

const PERIOD_MS = 2000;
const SAID = { ready: "ready", starting: "starting", draining: "shutting down", unavailable: "no worker lives" };

export function watchHealth() {
  let timer = 0;
  const turn = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      draw(await health());
    } catch (problem) {
      gone(problem);
    }
    clearTimeout(timer);
    timer = setTimeout(turn, PERIOD_MS);
  };
  document.addEventListener("visibilitychange", turn);
  turn();
}

function pill(kind, text) {
  byId("pill").className = `pill ${kind}`;
  if (byId("pill").textContent !== text) byId("pill").textContent = text;
}

function gone(problem) {
  pill("gone", "no answer");
  byId("uptime").textContent = "";
  byId("health").replaceChildren(make("p", { class: "nothing" }, `${problem.title}. Retrying every ${PERIOD_MS / 1000} s.`));
}

function gauge(name, value, limit, text, low, high) {
  const meter = make("meter", { min: 0, max: limit, low: limit * low, high: limit * high, optimum: 0, value });
  meter.setAttribute("aria-label", name);
  return make("div", { class: "gauge" }, make("div", {}, name, make("span", {}, text)), meter);
}

function draw({ status, memory, queue, workers, uptime_seconds: uptime, version }) {
  pill(status, SAID[status] ?? status);
  if (!workers) { // a server with tokens reports only its status on this port
    byId("health").replaceChildren(make("p", { class: "nothing" }, "No details, because this server requires tokens."));
    return;
  }
  const busy = workers.filter(({ state }) => state === "busy").length;
  byId("uptime").textContent = `version ${version}, up ${duration(uptime)}`;
  const list = workers.map(({ state, requests, memory_bytes: used }, index) =>
    make("li", { class: state === "busy" ? "busy-worker" : state },
      make("b", {}, `Worker ${index + 1}: ${state}`),
      make("span", {}, `${requests} answered`),
      make("span", {}, bytes(used))));
  byId("health").replaceChildren(
    gauge("Queue", queue.length, queue.limit, `${queue.length} of ${queue.limit} places`, 0.5, 0.85),
    gauge("Memory", memory.used_bytes, memory.limit_bytes,
      `${bytes(memory.used_bytes)} of ${bytes(memory.limit_bytes)}`, 0.8, 0.95),
    gauge("Workers", busy, workers.length, `${busy} of ${workers.length} busy`, 1, 1),
    make("ul", { class: "workers" }, ...list),
  );
}
