// The message about a problem, with a countdown if a retry may help.

import { make } from "./dom.js";

const MOST_TRIES = 5;

export class Notice {
  constructor(box) {
    this.box = box;
    this.tries = 0;
  }

  /** Hide the message; `settled` also resets the number of attempts. */
  clear({ settled = false } = {}) {
    clearInterval(this.timer);
    if (settled) this.tries = 0;
    this.box.hidden = true;
    this.box.replaceChildren();
  }

  /** Show a message; `actions` are [label, function] pairs, and `countdown` is {seconds, then()}. */
  show(title, detail, { mild = false, code = "", actions = [], countdown = null } = {}) {
    this.clear();
    this.box.classList.toggle("mild", mild);
    const buttons = actions.map(([label, action]) => {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", action);
      return button;
    });
    this.box.append(
      make("strong", {}, title),
      ...(detail ? [make("span", {}, detail)] : []),
      ...(code ? [make("span", { class: "small" }, code)] : []),
      ...(countdown ? this.#count(countdown) : []),
      ...(buttons.length ? [make("div", { class: "row" }, ...buttons)] : []),
    );
    this.box.hidden = false;
  }

  /** Show a Problem. If it may pass, the request is retried after a countdown, a few times. */
  problem(problem, retry, actions = []) {
    const code = problem.status ? `${problem.status} ${problem.reason}`.trim() : "";
    const shown = { code, actions: [...actions] };
    if (!retry) return this.show(problem.title, problem.detail, shown);
    shown.actions.unshift([problem.passes ? "Try now" : "Try again", () => this.#retry(retry)]);
    this.tries += 1;
    if (!problem.passes || this.tries > MOST_TRIES) return this.show(problem.title, problem.detail, shown);
    shown.actions.push(["Stop", () => this.clear({ settled: true })]);
    shown.countdown = { seconds: Math.max(1, problem.retryAfter), then: () => this.#retry(retry) };
    this.show(problem.title, problem.detail, shown);
  }

  /** Return the text and the bar of a countdown that runs until `clear`. */
  #count({ seconds, then = () => {} }) {
    // The role timer is silent; otherwise a screen reader would read the whole message every second.
    const label = make("span", { class: "countdown", role: "timer" });
    const bar = make("progress", { max: seconds, "aria-label": "Time until the next attempt" });
    const end = performance.now() + seconds * 1000;
    const tick = () => {
      const left = Math.max(0, (end - performance.now()) / 1000);
      const remaining = `Trying again in ${Math.ceil(left)} s`;
      if (label.textContent !== remaining) label.textContent = remaining;
      bar.value = seconds - left;
      if (left > 0) return;
      clearInterval(this.timer);
      then();
    };
    this.timer = setInterval(tick, 200);
    tick();
    return [label, bar];
  }

  #retry(retry) {
    this.clear();
    retry();
  }
}
