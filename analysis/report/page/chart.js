// A chart: drawn at the width it has, when it comes near the screen; told point by point to pointer and keyboard; and
// the same numbers as a table below.

const NEAR = 36;
const charts = [];
const soon = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.chart.near = entry.isIntersecting;
    if (entry.isIntersecting) entry.target.chart.drawIfDue();
  }
}, { rootMargin: "400px 0px" });
const resized = new ResizeObserver((entries) => {
  for (const entry of entries) entry.target.chart.resize(entry.contentRect.width);
});

class Chart {
  // draw(chart) fills chart.base and chart.points; table() gives {caption, head, rows}; nearest(x, y) a point.
  constructor(host, { label, height, draw, table, nearest }) {
    Object.assign(this, { host, draw, tableOf: table, nearestOf: nearest, height, points: [], width: 0, near: false, due: true, at: -1 });
    this.svg = svg("svg", { "aria-hidden": "true", height });
    this.base = svg("g");
    this.over = svg("g", { class: "over" });
    this.svg.append(this.base, this.over);
    this.tip = el("div", { class: "tip", hidden: true });
    this.plot = el("div", {
      class: "plot", tabindex: "0", role: "group", "aria-roledescription": "chart", "aria-label": label,
      on: {
        pointermove: (event) => this.point(event),
        pointerdown: (event) => this.point(event),
        pointerleave: (event) => event.pointerType === "mouse" && this.hide(),
        keydown: (event) => this.key(event),
        blur: () => this.hide(),
      },
    }, this.svg, this.tip);
    this.plot.chart = this;
    this.table = el("details", { class: "numbers" }, el("summary", {}, "The numbers as a table"));
    this.table.addEventListener("toggle", () => this.fillTable());
    host.append(this.plot, this.table);
    charts.push(this);
    soon.observe(this.plot);
    resized.observe(this.plot);
  }

  remove() {
    soon.unobserve(this.plot);
    resized.unobserve(this.plot);
    charts.splice(charts.indexOf(this), 1);
    this.host.remove();
  }

  label(text) {
    this.plot.setAttribute("aria-label", `${text}. Arrow keys move through its points.`);
  }

  resize(width) {
    if (Math.round(width) === this.width) return;
    this.width = Math.round(width);
    this.changed();
  }

  changed() {
    this.due = true;
    delete this.plot.dataset.drawn;
    if (this.near) this.drawIfDue();
    if (this.table.open) this.fillTable();
  }

  drawIfDue() {
    if (!this.due || this.width < 50) return;
    this.due = false;
    this.hide();
    this.at = -1;
    this.points = [];
    this.base.replaceChildren();
    this.svg.setAttribute("width", this.width);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.draw(this);
    this.plot.dataset.drawn = String(this.points.length);
  }

  // Lines and texts of both axes; x and y are {scale, ticks, texts, label}. `area` is what margins leave.
  axes(area, x, y) {
    const g = svg("g", { class: "axes" });
    y.ticks.forEach((tick, i) => {
      const at = y.scale(tick);
      g.append(svg("path", { class: "grid", d: `M${area.left},${at}H${area.right}` }));
      g.append(svg("text", { class: "tick", x: area.left - 8, y: at + 4, "text-anchor": "end" }, y.texts[i]));
    });
    x.ticks.forEach((tick, i) => {
      const at = x.scale(tick);
      g.append(svg("path", { class: "stub", d: `M${at},${area.bottom}v5` }));
      g.append(svg("text", { class: "tick", x: at, y: area.bottom + 19, "text-anchor": "middle" }, x.texts[i]));
    });
    g.append(svg("path", { class: "axis", d: `M${area.left},${area.bottom}H${area.right}` }));
    g.append(svg("text", { class: "name", x: (area.left + area.right) / 2, y: area.bottom + 38, "text-anchor": "middle" }, x.label));
    g.append(svg("text", { class: "name", x: 0, y: 12 }, y.label));
    this.base.append(g);
  }

  // Where lines may be drawn, given the texts left and the labels right of it.
  area(leftTexts, rightLabels = []) {
    const wide = (texts) => Math.max(0, ...texts.map((text) => text.length)) * 6.9;
    const left = wide(leftTexts) + 12;
    const right = rightLabels.length ? Math.min(wide(rightLabels) + 14, this.width * 0.36) : 12;
    return { left, right: this.width - right, top: 28, bottom: this.height - 44 };
  }

  empty(text) {
    this.base.append(svg("text", { class: "name", x: this.width / 2, y: this.height / 2, "text-anchor": "middle" }, text));
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const found = this.nearestOf ? this.nearestOf(x, y) : this.nearest(x, y);
    if (found) this.show(found);
    else this.hide();
  }

  nearest(x, y) {
    let best = null, least = NEAR ** 2;
    for (const point of this.points) {
      const far = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (far < least) [best, least] = [point, far];
    }
    return best;
  }

  key(event) {
    if (event.key === "Escape") return this.hide();
    const last = this.points.length - 1;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if ((!step && event.key !== "Home" && event.key !== "End") || last < 0) return undefined;
    event.preventDefault();
    if (event.key === "Home") this.at = 0;
    else if (event.key === "End") this.at = last;
    else this.at = this.at < 0 ? (step > 0 ? 0 : last) : Math.max(0, Math.min(last, this.at + step));
    const point = this.points[this.at];
    this.show(point);
    announce([point.title, ...point.rows.map((row) => row.join(" "))].join(", "));
    return undefined;
  }

  show(point) {
    if (this.shown === point) return;
    this.shown = point;
    this.over.replaceChildren(...(point.over ? point.over() : []));
    this.over.append(svg("circle", { class: "ring", cx: point.x, cy: point.y, r: 8 }));
    const rows = point.rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
    this.tip.replaceChildren(el("strong", {}, point.title), el("dl", {}, ...rows));
    this.tip.hidden = false;
    const { offsetWidth: wide, offsetHeight: high } = this.tip;
    const left = point.x + 14 + wide > this.width ? point.x - 14 - wide : point.x + 14;
    const top = Math.max(0, Math.min(this.height - high, point.y - high / 2));
    this.tip.style.transform = `translate(${Math.max(0, Math.min(this.width - wide, left))}px, ${top}px)`;
  }

  hide() {
    if (!this.shown) return;
    this.shown = null;
    this.over.replaceChildren();
    this.tip.hidden = true;
  }

  fillTable() {
    if (this.table.open) this.table.replaceChildren(this.table.firstChild, dataTable(this.tableOf()));
  }
}

const MOST_ROWS = 500;

// Columns that hold numbers are set to the right; the first column names the row.
function dataTable({ caption, head, rows }) {
  const shown = rows.slice(0, MOST_ROWS);
  const more = rows.length - shown.length;
  const texts = head.map((_, i) => rows.some((row) => /[a-zA-Z]/.test(row[i] ?? "")));
  const body = shown.map((row) =>
    el("tr", {}, ...row.map((value, i) => el(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: texts[i] ? null : "number" }, String(value)))));
  const table = el("table", {},
    el("caption", {}, more > 0 ? `${caption} The first ${MOST_ROWS} of ${rows.length} rows.` : caption),
    el("thead", {}, el("tr", {}, ...head.map((name, i) => el("th", { scope: "col", class: texts[i] ? null : "number" }, name)))),
    el("tbody", {}, ...body));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
}

addEventListener("beforeprint", () => {
  for (const chart of charts) chart.drawIfDue();
});
