// How settings look: a colour for each method, a dash and a marker for each reference, a ramp for strengths.

const COLOURS = 8;
const RAMP = 7;
const MARKERS = ["circle", "square", "triangle", "diamond", "cross", "bar"];

const look = { methods: [], references: [], strengths: [] };

function beginLook(core) {
  look.methods = [...new Set(core.cells.map((cell) => cell.method))];
  look.references = [...new Set(core.cells.map((cell) => cell.reference))];
  look.strengths = [...new Set(core.cells.map((cell) => cell.strength).filter(isNumber))].sort((a, b) => a - b);
}

const methodClass = (cell) => `m${look.methods.indexOf(cell.method) % COLOURS}`;
const dashClass = (cell) => `r${look.references.indexOf(cell.reference) % MARKERS.length}`;

function strengthClass(cell) {
  if (!isNumber(cell.strength)) return "q-none";
  const place = look.strengths.indexOf(cell.strength), last = Math.max(1, look.strengths.length - 1);
  return `q${Math.round((place / last) * (RAMP - 1))}`;
}

// The colour of a curve by what is asked for.
function colourClass(cell, by) {
  if (by === "strength") return strengthClass(cell);
  if (by === "reference") return `m${look.references.indexOf(cell.reference) % COLOURS}`;
  return methodClass(cell);
}

function marker(cell, x, y, options = {}) {
  const shape = MARKERS[look.references.indexOf(cell.reference) % MARKERS.length];
  const size = options.size ?? 4.5;
  return svg("path", { class: `mark ${options.class ?? ""}`, d: markerPath(shape, x, y, size) });
}

function markerPath(shape, x, y, r) {
  switch (shape) {
    case "square": return `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`;
    case "triangle": return `M${x},${y - r * 1.2}L${x + r * 1.15},${y + r}L${x - r * 1.15},${y + r}Z`;
    case "diamond": return `M${x},${y - r * 1.35}L${x + r * 1.35},${y}L${x},${y + r * 1.35}L${x - r * 1.35},${y}Z`;
    case "cross": return `M${x - r},${y - r * 0.4}h${r * 0.6}v${-r * 0.6}h${r * 0.8}v${r * 0.6}h${r * 0.6}v${r * 0.8}h${-r * 0.6}v${r * 0.6}h${-r * 0.8}v${-r * 0.6}h${-r * 0.6}Z`;
    case "bar": return `M${x - r * 0.5},${y - r * 1.2}h${r}v${r * 2.4}h${-r}Z`;
    default: return `M${x - r},${y}a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0Z`;
  }
}

// What colours and markers mean, for the cells that are drawn.
function legend(cells, by = "method", references = true) {
  const items = [];
  if (by === "strength") {
    const strengths = [...new Set(cells.map((cell) => cell.strength).filter(isNumber))].sort((a, b) => a - b);
    const shown = strengths.length > RAMP ? [strengths[0], strengths[Math.floor(strengths.length / 2)], strengths.at(-1)] : strengths;
    for (const value of shown) items.push(swatch(strengthClass({ strength: value }), "", `strength ${short(value)}`));
  } else if (by === "reference") {
    for (const cell of firstOf(cells, (each) => each.reference)) items.push(swatch(colourClass(cell, by), "", cell.reference || "no reference"));
  } else {
    const methods = firstOf(cells, (cell) => cell.method);
    if (look.methods.length > 1) for (const cell of methods) items.push(swatch(methodClass(cell), "", cell.method));
  }
  if (references && look.references.length > 1 && by !== "reference")
    for (const cell of firstOf(cells, (each) => each.reference)) items.push(swatch("plain", dashClass(cell), cell.reference || "no reference", cell));
  return el("ul", { class: "legend" }, ...items);
}

const firstOf = (cells, key) => [...new Map([...cells].reverse().map((cell) => [key(cell), cell])).values()].reverse();

function swatch(colour, dash, text, cell) {
  const picture = svg("svg", { class: `swatch ${colour}`, width: 26, height: 12, "aria-hidden": "true" });
  picture.append(svg("path", { class: `line ${dash}`, d: "M1,6H25" }));
  if (cell) picture.append(marker(cell, 13, 6, { size: 3.5 }));
  return el("li", {}, picture, el("span", {}, text));
}
