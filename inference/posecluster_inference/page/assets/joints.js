// The joints of one person as a table, and of all people as CSV.

import { fixed, make } from "./dom.js";
import { spoken } from "./stage.js";

const COLUMNS = [
  "person", "joint", "x", "y", "z", "visibility", "presence", "world_x", "world_y", "world_z",
];

export class Joints {
  constructor(table, nothing, onPoint) {
    this.table = table;
    this.body = table.querySelector("tbody");
    this.nothing = nothing;
    table.hidden = true;
    this.body.addEventListener("pointerover", (event) => {
      const row = event.target.closest("tr");
      if (row) onPoint(row.sectionRowIndex);
    });
    table.addEventListener("pointerleave", () => onPoint(null));
  }

  draw(person) {
    this.table.hidden = !person;
    this.nothing.hidden = Boolean(person);
    const rows = (person?.landmarks ?? []).map((joint, index) => {
      const world = person.world_landmarks[index];
      const cells = [
        fixed(joint.x, 3), fixed(joint.y, 3), fixed(joint.z, 3), `${Math.round(joint.visibility * 100)} %`,
        ...["x", "y", "z"].map((axis) => fixed(world[axis], 3)),
      ];
      return make("tr", {}, make("th", { scope: "row" }, spoken(joint.name)), ...cells.map((text) => make("td", {}, text)));
    });
    this.body.replaceChildren(...rows);
  }

  mark(joint) {
    this.body.querySelector(".on")?.classList.remove("on");
    this.body.rows[joint ?? -1]?.classList.add("on");
  }
}

/** Return all people of an answer as CSV, with unrounded numbers. */
export function csv({ people }) {
  const lines = people.flatMap(({ landmarks, world_landmarks: world }, person) =>
    landmarks.map((joint, index) =>
      [
        person + 1, joint.name, joint.x, joint.y, joint.z, joint.visibility, joint.presence,
        world[index].x, world[index].y, world[index].z,
      ].join(","),
    ),
  );
  return `${[COLUMNS.join(","), ...lines].join("\n")}\n`;
}
