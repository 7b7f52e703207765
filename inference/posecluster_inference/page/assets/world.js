// The world landmarks of one person in metres, on a canvas that the user can rotate.

const VIEWS = { front: [0.35, 0.12], side: [1.57, 0.08], top: [0, 1.5] };
const STEP = 0.15;
const STEEPEST = 1.55;
const EYE = 4.2; // distance of the viewpoint from the origin in metres, for the perspective
const TURN_SECONDS = 9;

export class World {
  constructor(canvas, spinButton) {
    this.canvas = canvas;
    this.spinButton = spinButton;
    this.points = [];
    this.bones = [];
    this.marked = null;
    [this.yaw, this.pitch] = VIEWS.front;
    this.waits = false;
    new ResizeObserver(() => this.#later()).observe(canvas);
    matchMedia("(resolution: 1dppx)").addEventListener("change", () => this.#later());
    canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("dblclick", () => this.look("front"));
    spinButton.addEventListener("click", () => this.spin(spinButton.getAttribute("aria-pressed") !== "true"));
  }

  /** Show these points (in metres; x right, y down, z away from the viewer); without points, clear the canvas. */
  draw(points, bones) {
    this.points = points;
    this.bones = points.length ? bones : [];
    this.#later();
  }

  mark(joint) {
    this.marked = joint;
    this.#later();
  }

  look(view) {
    this.spin(false);
    [this.yaw, this.pitch] = VIEWS[view];
    this.#later();
  }

  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.max(-STEEPEST, Math.min(STEEPEST, this.pitch + pitch));
    this.#later();
  }

  spin(on) {
    this.spinButton.setAttribute("aria-pressed", String(on));
    cancelAnimationFrame(this.frame);
    if (!on) return;
    let last = null;
    const turn = (now) => {
      if (last !== null && this.points.length) this.turn(((now - last) / 1000) * ((2 * Math.PI) / TURN_SECONDS), 0);
      last = now;
      this.frame = requestAnimationFrame(turn);
    };
    this.frame = requestAnimationFrame(turn);
  }

  #grab(event) {
    this.spin(false);
    this.canvas.setPointerCapture(event.pointerId);
    let [x, y] = [event.clientX, event.clientY];
    const ending = new AbortController();
    const end = () => ending.abort();
    const { signal } = ending;
    this.canvas.addEventListener("pointermove", (move) => {
      this.turn((move.clientX - x) * 0.01, (move.clientY - y) * 0.01);
      [x, y] = [move.clientX, move.clientY];
    }, { signal });
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, end, { signal });
  }

  #key(event) {
    const step = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
    if (!step) return;
    event.preventDefault();
    this.spin(false);
    this.turn(...step);
  }

  #later() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      this.#paint();
    });
  }

  /** Convert metres to [x, y, nearness] on the canvas. */
  #project({ x, y, z }, centre, scale) {
    const [sinYaw, cosYaw, sinPitch, cosPitch] = [
      Math.sin(this.yaw), Math.cos(this.yaw), Math.sin(this.pitch), Math.cos(this.pitch),
    ];
    const right = x * cosYaw - z * sinYaw;
    const away = x * sinYaw + z * cosYaw;
    const down = y - this.middle;
    const depth = away * cosPitch - down * sinPitch;
    const nearness = EYE / (EYE + depth);
    return [centre[0] + right * scale * nearness, centre[1] + (down * cosPitch + away * sinPitch) * scale * nearness, nearness];
  }

  #paint() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== wide || this.canvas.height !== high) Object.assign(this.canvas, { width: wide, height: high });
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const heights = this.points.map(({ y }) => y);
    const floor = this.points.length ? Math.max(...heights) + 0.03 : 0.9;
    const top = this.points.length ? Math.min(...heights) : -0.8;
    this.middle = (floor + top) / 2;
    const reach = Math.max(this.points.length ? 0.75 : 1.1, ...this.points.map(({ x, y, z }) => Math.hypot(x, y - this.middle, z)));
    const scale = (0.4 * Math.min(width, height * 1.15)) / reach;
    const project = (point) => this.#project(point, [width / 2, height / 2], scale);
    this.#paintFloor(context, project, floor);
    const at = this.points.map(project);
    const byDepth = (left, right) => left.nearness - right.nearness;
    const shapes = [
      ...this.bones.map(([from, to]) => ({ nearness: (at[from][2] + at[to][2]) / 2, from, to })),
      ...at.map(([, , nearness], joint) => ({ nearness: nearness + 0.01, joint })),
    ].sort(byDepth);
    for (const one of shapes) this.#paintShape(context, one, at);
  }

  #paintShape(context, { nearness, from, to, joint }, at) {
    const clear = (index) => Math.max(0.15, this.points[index].visibility);
    context.lineCap = "round";
    if (joint === undefined) {
      context.globalAlpha = Math.min(clear(from), clear(to));
      context.strokeStyle = "#fff";
      context.lineWidth = 3 * nearness;
      context.beginPath();
      context.moveTo(at[from][0], at[from][1]);
      context.lineTo(at[to][0], at[to][1]);
      context.stroke();
    } else {
      context.globalAlpha = clear(joint);
      context.fillStyle = "#f00";
      context.beginPath();
      context.arc(at[joint][0], at[joint][1], 4 * nearness, 0, 2 * Math.PI);
      context.fill();
      if (joint === this.marked) {
        context.globalAlpha = 1;
        context.strokeStyle = "#ffd60a";
        context.lineWidth = 2.5;
        context.beginPath();
        context.arc(at[joint][0], at[joint][1], 9, 0, 2 * Math.PI);
        context.stroke();
      }
    }
    context.globalAlpha = 1;
  }

  /** Draw a grid of half metres at the feet. */
  #paintFloor(context, project, floor) {
    context.strokeStyle = "rgb(255 255 255 / 22%)";
    context.lineWidth = 1;
    context.beginPath();
    for (let step = -1; step <= 1; step += 0.5) {
      for (const [from, to] of [[{ x: step, z: -1 }, { x: step, z: 1 }], [{ x: -1, z: step }, { x: 1, z: step }]]) {
        const [start, end] = [project({ ...from, y: floor }), project({ ...to, y: floor })];
        context.moveTo(start[0], start[1]);
        context.lineTo(end[0], end[1]);
      }
    }
    context.stroke();
  }
}
