// What went wrong, in words; and a countdown where asking again later helps.

import { make } from "./dom.js";

const MOST_TRIES = 5;

export class Notice {
  constructor(box) {
    this.box = box;
    this.tries = 0;
  }

  /** Take it away; `settled` also forgets how often we tried. */
  clear({ settled = false } = {}) {
    clearInterval(this.timer);
    if (settled) this.tries = 0;
    this.box.hidden = true;
    this.box.replaceChildren();
  }

  /** Say something; `actions` are [label, function] pairs; `countdown` is {seconds, then()}. */
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

  /** Show a Problem. One that passes is tried again when its time has come, a few times. */
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

  /** The words and the bar of a countdown that runs until `clear`. */
  #count({ seconds, then = () => {} }) {
    // a timer is silent: else a screen reader reads the whole notice again every second
    const words = make("span", { class: "countdown", role: "timer" });
    const bar = make("progress", { max: seconds, "aria-label": "Time until the next attempt" });
    const end = performance.now() + seconds * 1000;
    const tick = () => {
      const left = Math.max(0, (end - performance.now()) / 1000);
      const text = `Trying again in ${Math.ceil(left)} s`;
      if (words.textContent !== text) words.textContent = text;
      bar.value = seconds - left;
      if (left > 0) return;
      clearInterval(this.timer);
      then();
    };
    this.timer = setInterval(tick, 200);
    tick();
    return [words, bar];
  }

  #retry(retry) {
    this.clear();
    retry();
  }
}
