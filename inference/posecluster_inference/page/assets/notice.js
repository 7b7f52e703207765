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

  /** Say something; `actions` are [label, function] pairs. */
  show(title, detail, { mild = false, code = "", actions = [], more = [] } = {}) {
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
      ...more,
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
    const words = make("span", { class: "countdown" });
    const bar = make("progress", { max: problem.retryAfter, "aria-label": "Time until the next try" });
    shown.more = [words, bar];
    shown.actions.push(["Stop", () => this.clear({ settled: true })]);
    this.show(problem.title, problem.detail, shown);
    const end = performance.now() + problem.retryAfter * 1000;
    const tick = () => {
      const left = (end - performance.now()) / 1000;
      words.textContent = `Trying again in ${Math.max(0, Math.ceil(left))} s`;
      bar.value = problem.retryAfter - left;
      if (left <= 0) this.#retry(retry);
    };
    tick();
    this.timer = setInterval(tick, 200);
  }

  #retry(retry) {
    this.clear();
    retry();
  }
}
