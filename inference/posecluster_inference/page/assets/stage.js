// The picture with the skeletons of an answer over it: red joints on white bones.

import { fixed, say, shape } from "./dom.js";

const JOINT_RADIUS = 4.5; // sizes in CSS pixels
const REACH = 26;
const NAME_SIZE = 12;
const NAME_SHAPE = 0.56; // mean width of a letter, relative to the font size
// Joints of the pose task whose names take precedence where names would overlap. If no name of another task
// matches, the names take precedence in the order of the landmarks.
const FIRST = /shoulder|elbow|wrist|hip|knee|ankle|nose/;

export const spoken = (name) => name.replaceAll("_", " ");

const percent = (share) => `${Math.round(share * 100)} %`;

/** Return the description of a joint for its tooltip and for screen readers. */
function facts(joint, world) {
  const present = joint.presence === undefined ? "" : `  present ${percent(joint.presence)}`;
  return [
    `x ${fixed(joint.x, 3)}  y ${fixed(joint.y, 3)}  z ${fixed(joint.z, 3)}`,
    `visible ${percent(joint.visibility)}${present}`,
    `in space ${["x", "y", "z"].map((axis) => fixed(world[axis], 2)).join("  ")} m`,
  ];
}

export class Stage {
  /** `onSelect(person, joint)` is called on selection by pointer or keyboard; both are null without a selection. */
  constructor({ stage, frame, svg, tip, photo, still, video, empty }, onSelect) {
    Object.assign(this, { stage, frame, svg, tip, photo, still, video, empty, onSelect });
    this.size = { width: 4, height: 3 };
    this.people = [];
    this.bones = [];
    this.selected = null;
    this.showsLabels = false;
    new ResizeObserver(() => this.#scale()).observe(stage);
    addEventListener("resize", () => this.#fit());
    frame.addEventListener("pointermove", (event) => this.#point(event));
    frame.addEventListener("pointerdown", (event) => this.#point(event));
    frame.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.select(null));
    svg.addEventListener("keydown", (event) => this.#key(event));
    svg.addEventListener("focus", () => {
      if (svg.matches(":focus-visible") && this.selected === null && this.people.length) this.select([0, 0]);
    });
    svg.addEventListener("blur", () => this.select(null));
  }

  /** Show one of the layers "photo", "still" and "video", or none. */
  show(layer, { width, height } = {}) {
    for (const name of ["photo", "still", "video"]) this[name].hidden = name !== layer;
    this.empty.hidden = layer !== null;
    this.frame.hidden = layer === null;
    this.stage.classList.toggle("full", layer !== null);
    if (width) this.resize(width, height);
  }

  /** Set the size of the picture; the frame has its aspect ratio and fits into the window. */
  resize(width, height) {
    this.size = { width, height };
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#fit();
  }

  #fit() {
    const { width, height } = this.size;
    const tallest = Math.max(260, innerHeight * 0.72);
    this.frame.style.aspectRatio = `${width} / ${height}`;
    this.frame.style.maxWidth = `${Math.max(60, Math.round((tallest * width) / height))}px`;
    this.#scale();
  }

  /** Draw these people; `bones` are pairs of indices. A selected joint stays selected from frame to frame. */
  draw(people, bones) {
    const selected = this.selected;
    this.people = people;
    this.bones = bones;
    this.selected = null;
    this.tip.hidden = true;
    const { width, height } = this.size;
    const groups = people.map((person, number) => {
      const group = shape("g", { role: "group", "aria-label": `Person ${number + 1}` });
      const at = person.landmarks.map(({ x, y }) => [x * width, y * height]);
      const lines = { halo: [], bone: [] };
      for (const [from, to] of bones) {
        const opacity = Math.min(person.landmarks[from].visibility, person.landmarks[to].visibility);
        const ends = { x1: at[from][0], y1: at[from][1], x2: at[to][0], y2: at[to][1] };
        for (const kind of ["halo", "bone"]) {
          lines[kind].push(shape("line", { class: kind, ...ends, opacity: opacity.toFixed(3) }));
        }
      }
      const joints = person.landmarks.map((joint, index) =>
        shape("circle", {
          class: "joint",
          id: `joint-${number}-${index}`,
          role: "option",
          "aria-label": `${spoken(joint.name)}, person ${number + 1}: ${facts(joint, person.world_landmarks[index]).join(", ")}`,
          "aria-selected": "false",
          cx: at[index][0],
          cy: at[index][1],
          opacity: joint.visibility.toFixed(3),
        }),
      );
      group.append(...lines.halo, ...lines.bone, ...joints);
      if (people.length > 1) {
        const top = at.reduce((highest, one) => (one[1] < highest[1] ? one : highest));
        group.append(shape("text", { class: "name number", x: top[0], y: top[1], "aria-hidden": "true" }, `${number + 1}`));
      }
      return group;
    });
    this.ring = shape("circle", { class: "ring", visibility: "hidden" });
    this.names = shape("g", { "aria-hidden": "true" });
    this.svg.replaceChildren(...groups, this.names, this.ring);
    this.svg.removeAttribute("aria-activedescendant");
    this.#scale();
    if (selected) this.select(selected[0] < people.length ? selected : null, { isNew: false });
  }

  /** Return the names of visible joints that fit, as [text, x, y]; the argument is picture pixels per CSS pixel. */
  #places(unit) {
    const size = NAME_SIZE * unit;
    const taken = [];
    const free = (box) => !taken.some((one) => box[0] < one[2] && one[0] < box[2] && box[1] < one[3] && one[1] < box[3]);
    return this.people
      .flatMap(({ landmarks }) => landmarks.filter(({ visibility }) => visibility >= 0.5))
      .sort((one, other) => FIRST.test(other.name) - FIRST.test(one.name))
      .flatMap((joint) => {
        const text = spoken(joint.name);
        const [x, y] = [joint.x * this.size.width + 8 * unit, joint.y * this.size.height + 0.35 * size];
        const box = [x, y - size, x + NAME_SHAPE * size * text.length, y + 0.2 * size];
        if (!free(box)) return [];
        taken.push(box);
        return [[text, x, y]];
      });
  }

  /** Set the sizes that are given in CSS pixels, converted to pixels of the picture. */
  #scale() {
    const shown = this.svg.clientWidth || this.frame.clientWidth;
    if (!shown) return;
    const unit = this.size.width / shown;
    this.unit = unit;
    for (const joint of this.svg.querySelectorAll(".joint")) joint.setAttribute("r", JOINT_RADIUS * unit);
    for (const number of this.svg.querySelectorAll(".number")) {
      number.setAttribute("font-size", 20 * unit);
      number.setAttribute("dy", -12 * unit);
    }
    const names = this.showsLabels ? this.#places(unit) : [];
    const size = NAME_SIZE * unit;
    this.names?.replaceChildren(
      ...names.map(([text, x, y]) => shape("text", { class: "name", x, y, "font-size": size }, text)),
    );
    this.ring?.setAttribute("r", (JOINT_RADIUS + 4) * unit);
    if (this.selected) this.#placeTip();
  }

  /** Select a joint by [person, joint], or none. A selected joint that is redrawn is not announced again. */
  select(which, { isNew = true } = {}) {
    const [person, joint] = which ?? [null, null];
    const [before, beforeJoint] = this.selected ?? [null, null];
    if (isNew && person === before && joint === beforeJoint) return;
    if (this.selected) this.svg.getElementById(`joint-${before}-${beforeJoint}`)?.setAttribute("aria-selected", "false");
    this.selected = which;
    this.ring?.setAttribute("visibility", which ? "visible" : "hidden");
    this.tip.hidden = !which;
    if (which) {
      const circle = this.svg.getElementById(`joint-${person}-${joint}`);
      circle.setAttribute("aria-selected", "true");
      this.svg.setAttribute("aria-activedescendant", circle.id);
      this.ring.setAttribute("cx", circle.getAttribute("cx"));
      this.ring.setAttribute("cy", circle.getAttribute("cy"));
      this.#fillTip(person, joint);
      if (isNew && document.activeElement === this.svg) say(circle.getAttribute("aria-label"));
    } else {
      this.svg.removeAttribute("aria-activedescendant");
    }
    this.onSelect(person, joint);
  }

  #fillTip(person, joint) {
    const landmark = this.people[person].landmarks[joint];
    const title = document.createElement("b");
    title.textContent = this.people.length > 1 ? `${spoken(landmark.name)} · person ${person + 1}` : spoken(landmark.name);
    const lines = facts(landmark, this.people[person].world_landmarks[joint]).map((text) => {
      const line = document.createElement("span");
      line.textContent = text;
      return line;
    });
    this.tip.replaceChildren(title, ...lines);
    this.#placeTip();
  }

  #placeTip() {
    const [person, joint] = this.selected;
    const { x, y } = this.people[person].landmarks[joint];
    const { clientWidth: width, clientHeight: height } = this.frame;
    const { offsetWidth, offsetHeight } = this.tip;
    const left = x * width + 16 + offsetWidth > width ? x * width - 16 - offsetWidth : x * width + 16;
    this.tip.style.left = `${Math.max(4, Math.min(left, width - offsetWidth - 4))}px`;
    this.tip.style.top = `${Math.max(4, Math.min(y * height - offsetHeight / 2, height - offsetHeight - 4))}px`;
  }

  #point(event) {
    if (!this.people.length || this.svg.classList.contains("off")) return;
    const box = this.svg.getBoundingClientRect();
    let nearest = null;
    let least = REACH ** 2;
    this.people.forEach(({ landmarks }, person) =>
      landmarks.forEach(({ x, y }, joint) => {
        const distance = (x * box.width - event.clientX + box.left) ** 2 + (y * box.height - event.clientY + box.top) ** 2;
        if (distance < least) [least, nearest] = [distance, [person, joint]];
      }),
    );
    this.select(nearest);
  }

  #key(event) {
    if (!this.people.length) return;
    const [person, joint] = this.selected ?? [0, 0];
    const count = this.people[person].landmarks.length;
    const people = this.people.length;
    const target = {
      ArrowRight: [person, (joint + 1) % count],
      ArrowLeft: [person, (joint + count - 1) % count],
      ArrowDown: [(person + 1) % people, joint],
      ArrowUp: [(person + people - 1) % people, joint],
      Home: [person, 0],
      End: [person, count - 1],
    }[event.key];
    if (target) {
      event.preventDefault();
      this.select(target);
    } else if (event.key === "Escape") {
      this.select(null);
    }
  }

  /** Return a PNG of the picture and its skeletons, in the size of the picture. */
  async png({ picture, skeleton, labels }) {
    const { width, height } = this.size;
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.fillStyle = "#0b0f14";
    context.fillRect(0, 0, width, height);
    const layer = [this.photo, this.still].find(({ hidden }) => !hidden);
    if (picture && layer) context.drawImage(layer, 0, 0, width, height);
    if (skeleton) this.#paint(context, labels);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  #paint(context, labels) {
    const { width, height } = this.size;
    const unit = Math.max(this.unit, Math.min(width, height) / 700);
    context.lineCap = "round";
    for (const { landmarks } of this.people) {
      for (const [from, to] of this.bones) {
        context.globalAlpha = Math.min(landmarks[from].visibility, landmarks[to].visibility);
        context.strokeStyle = "#fff";
        context.lineWidth = 3 * unit;
        context.beginPath();
        context.moveTo(landmarks[from].x * width, landmarks[from].y * height);
        context.lineTo(landmarks[to].x * width, landmarks[to].y * height);
        context.stroke();
      }
      for (const { x, y, visibility } of landmarks) {
        context.globalAlpha = visibility;
        context.fillStyle = "#f00";
        context.beginPath();
        context.arc(x * width, y * height, JOINT_RADIUS * unit, 0, 2 * Math.PI);
        context.fill();
      }
    }
    context.globalAlpha = 1;
    if (!labels) return;
    context.font = `${NAME_SIZE * unit}px sans-serif`;
    context.lineWidth = 2.5 * unit;
    context.lineJoin = "round";
    context.strokeStyle = "rgb(0 0 0 / 75%)";
    context.fillStyle = "#fff";
    for (const place of this.#places(unit)) {
      context.strokeText(...place);
      context.fillText(...place);
    }
  }
}
