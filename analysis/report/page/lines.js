// Marks that several charts draw: lines, bands, whiskers, and labels at the end of lines.

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

const line = (points, classes) => svg("path", { class: `line ${classes}`, d: path(points) });

// The area between two lines over the same places.
function band(above, below, classes) {
  return svg("path", { class: `band ${classes}`, d: `${path(above)}L${path([...below].reverse()).slice(1)}Z` });
}

const whisker = (x, low, high, classes) => svg("path", { class: `whisker ${classes}`, d: `M${x},${low}V${high}M${x - 3},${low}h6M${x - 3},${high}h6` });
const crossbar = (y, low, high, classes) => svg("path", { class: `whisker ${classes}`, d: `M${low},${y}H${high}M${low},${y - 3}v6M${high},${y - 3}v6` });

// Texts beside the ends of lines: {x, y, text, classes}, moved apart, with a thin line to where they belong.
function endLabels(labels, area) {
  const g = svg("g", { class: "labels" });
  for (const label of apart(labels, 15, area.top, area.bottom)) {
    if (Math.abs(label.at - label.y) > 3) g.append(svg("path", { class: `leader ${label.classes}`, d: `M${label.x + 6},${label.y}L${area.right + 8},${label.at}` }));
    g.append(svg("text", { class: `end ${label.classes}`, x: area.right + 11, y: label.at + 4 }, label.text));
  }
  return g;
}

// Cells that differ in the strength alone, in the order of strength.
function seriesOf(cells) {
  const series = new Map();
  for (const cell of cells) {
    const key = JSON.stringify([cell.method, cell.reference, cell.model, cell.data, cell.others]);
    if (!series.has(key)) series.set(key, []);
    series.get(key).push(cell);
  }
  for (const each of series.values()) each.sort((a, b) => (a.strength ?? -1) - (b.strength ?? -1));
  return [...series.values()];
}

// What tells a series from the others in a panel.
function seriesName(cell) {
  const words = [cell.method];
  if (look.references.length > 1 && cell.reference) words.push(cell.reference);
  return oneLine([...words, ...Object.entries(cell.others).map(([key, value]) => `${key}=${value}`)].join(", "), 40);
}

// Panels, one for each model and data set, since their scores have no common scale.
const panelName = (cell) => [cell.model, cell.data].filter(Boolean).join(" on ");

// Keeps one chart for each panel there is in `host`, made by `make(panelHost, name)`.
class Panels {
  constructor(host, make) {
    Object.assign(this, { host, make, charts: new Map() });
  }

  update(names) {
    for (const [name, chart] of this.charts) {
      if (!names.includes(name)) {
        chart.remove();
        this.charts.delete(name);
      }
    }
    for (const name of names) {
      if (!this.charts.has(name)) {
        const panel = el("div", { class: "panel" }, names.length > 1 ? el("h4", {}, name) : null);
        this.host.append(panel);
        this.charts.set(name, this.make(panel, name));
      }
    }
    this.host.classList.toggle("many", names.length > 1);
    for (const chart of this.charts.values()) chart.changed();
  }
}
