// Learning curves of all runs that the filters leave, overlaid; or means over the seeds of each setting.

const MANY_RUNS = 60;
const MANY_CELLS = 24;
const GRID = 120;
// Only what was logged often is smoothed: of a handful of evaluations each one counts.
const DENSE = 40;

async function curvesSection(core) {
  const packed = await payload("curves");
  if (!packed) {
    find("#curves-figure").hidden = true;
    find("#curves-none").hidden = false;
    return;
  }
  const byMetric = curvesByMetric(packed);
  const names = [...byMetric.keys()];
  const several = look.methods.length > 1 ? "method" : "strength";
  const shared = { seeds: core.runs.length > MANY_RUNS ? "mean" : "each", by: several, smooth: core.cells.length > MANY_CELLS ? 0.8 : 0 };
  const controls = find("#curves-controls");
  controls.append(
    select("Show", [["each", "each run"], ["mean", "means over seeds"]], shared.seeds, (value) => change({ seeds: value })),
    select("Colour", [["method", "by method"], ["strength", "by strength"], ["reference", "by reference"]], shared.by, (value) => change({ by: value })),
    smoothing(shared.smooth, (value) => change({ smooth: value })),
  );
  const first = names.includes("train/loss") ? "train/loss" : names[0];
  const second = names.find((name) => name !== first && name === core.metric) ?? names.find((name) => name !== first && name.startsWith("eval/")) ?? names.find((name) => name !== first);
  const panels = [first, second].filter(Boolean).map((metric) => curvePanel(core, byMetric, names, metric, shared));

  function change(changed) {
    Object.assign(shared, changed);
    update();
  }
  function update() {
    for (const panel of panels) panel();
    const cells = [...new Set([...state.runs].map((run) => core.cells[core.runs[run].cell]))];
    find("#curves-legend").replaceChildren(legend(cells, shared.by));
  }
  onFilter(update);
  update();
}

// {steps: [deltas], curves: [[run, metric, steps, values]], metrics} -> metric -> run -> {x, y}
function curvesByMetric(packed) {
  const steps = packed.steps.map((deltas) => {
    let at = 0;
    return deltas.map((delta) => (at += delta));
  });
  const found = new Map(packed.metrics.map((name) => [name, new Map()]));
  for (const [run, metric, at, values] of packed.curves) found.get(packed.metrics[metric]).set(run, { x: steps[at], y: values });
  return found;
}

function smoothing(share, change) {
  const told = el("output", {}, share.toFixed(2));
  const box = el("input", { type: "range", min: "0", max: "0.95", step: "0.05", value: share, on: { input: () => {
    told.textContent = Number(box.value).toFixed(2);
    change(Number(box.value));
  } } });
  return el("label", { class: "control" }, el("span", {}, "Smoothing"), box, told);
}

// One chart with a choice of its metric; gives what draws it anew.
function curvePanel(core, byMetric, names, metric, shared) {
  const choice = { metric, log: spansDecades(byMetric.get(metric)) };
  const told = (name) => metricOf(core, name).label;
  const bar = el("div", { class: "controls" },
    select("Metric", names.map((name) => [name, told(name)]), metric, (value) => change({ metric: value })),
    checkbox("logarithmic", choice.log, (value) => change({ log: value })));
  const host = el("div", { class: "panel" }, bar);
  find("#curves-charts").append(host);
  let drawn = [];
  const chart = new Chart(host, {
    label: "Learning curves", height: 320,
    draw: (each) => {
      drawn = drawCurves(each, lines(), core, choice, shared);
    },
    nearest: (x, y) => nearestCurve(drawn, x, y, core, choice),
    table: () => curveTable(lines(), core, choice),
  });
  const lines = () => curveLines(byMetric.get(choice.metric), core, shared);
  function change(changed) {
    Object.assign(choice, changed);
    update();
  }
  function update() {
    chart.label(`${told(choice.metric)} over training steps`);
    chart.changed();
  }
  return update;
}

// Whether curves that are all positive end in different orders of magnitude, as losses of different methods do.
function spansDecades(curves) {
  const ends = [...curves.values()].map(({ y }) => y.at(-1));
  return [...curves.values()].every(({ y }) => Math.min(...y) > 0) && Math.max(...ends) > 30 * Math.min(...ends);
}

// Lines to draw: {cell, title, x, y}, and where seeds are averaged low and high.
function curveLines(curves, core, shared) {
  const shown = [...curves].filter(([run]) => state.runs.has(run));
  const smooth = ([run, { x, y }]) => ({ run, cell: core.cells[core.runs[run].cell], x, y: smoothed(x, y, shared.smooth) });
  if (shared.seeds === "each") return shown.map(smooth).map((each) => ({ ...each, title: runTitle(core, each.run) }));
  const groups = new Map();
  for (const each of shown.map(smooth)) groups.set(each.cell, [...(groups.get(each.cell) ?? []), each]);
  return [...groups].map(([cell, members]) => ({ cell, title: cell.label, ...meanCurve(members) }));
}

const runTitle = (core, place) => {
  const run = core.runs[place];
  return `${core.cells[run.cell].label}${run.seed === null ? "" : `, seed ${run.seed}`}`;
};

// Exponential smoothing that knows how far points are apart.
function smoothed(x, y, share) {
  if (!share || y.length <= DENSE) return y;
  const step = (x.at(-1) - x[0]) / (x.length - 1) || 1;
  let value = y[0];
  return y.map((each, i) => {
    const kept = i ? share ** ((x[i] - x[i - 1]) / step) : 0;
    value = kept * value + (1 - kept) * each;
    return value;
  });
}

// The mean over seeds, and one standard error to each side, as far as all of them went.
function meanCurve(members) {
  if (members.length === 1) return { x: members[0].x, y: members[0].y, low: null, high: null, seeds: 1 };
  const from = Math.max(...members.map(({ x }) => x[0])), to = Math.min(...members.map(({ x }) => x.at(-1)));
  const alike = members.every(({ x }) => x.length === members[0].x.length && x.every((at, i) => at === members[0].x[i]));
  if (!alike && !(from < to)) return { x: members[0].x, y: members[0].y, low: null, high: null, seeds: 1 };
  const grid = alike ? members[0].x : Array.from({ length: GRID }, (_, i) => from + ((to - from) * i) / (GRID - 1));
  const values = members.map(({ x, y }) => (alike ? y : resampled(x, y, grid)));
  const n = members.length, low = [], high = [];
  const mean = grid.map((_, i) => {
    const middle = values.reduce((sum, each) => sum + each[i], 0) / n;
    const error = Math.sqrt(values.reduce((sum, each) => sum + (each[i] - middle) ** 2, 0) / (n - 1) / n);
    low.push(middle - error);
    high.push(middle + error);
    return middle;
  });
  return { x: grid, y: mean, low, high, seeds: n };
}

function resampled(x, y, grid) {
  let i = 0;
  return grid.map((at) => {
    while (i < x.length - 2 && x[i + 1] < at) i += 1;
    const share = (at - x[i]) / (x[i + 1] - x[i] || 1);
    return y[i] + (y[i + 1] - y[i]) * Math.max(0, Math.min(1, share));
  });
}

function drawCurves(chart, lines, core, { metric, log }, shared) {
  if (!lines.length) {
    chart.empty("No run that is shown has this curve.");
    return [];
  }
  const told = metricOf(core, metric);
  const use = log ? (value) => (value > 0 ? Math.log10(value) : NaN) : (value) => value;
  const banded = lines.filter((each) => each.low).length <= 12 ? lines.filter((each) => each.low) : [];
  const [low, high] = padded([lines.map((each) => each.y), banded.map((each) => each.low), banded.map((each) => each.high)].flat(2).map(use).filter(isNumber));
  const powers = log ? linearTicks(Math.ceil(low), high, 6).filter(Number.isInteger) : [];
  const ticks = powers.length > 1 ? powers : linearTicks(low, high, 7);
  const texts = log ? ticks.map((tick) => short(+(10 ** tick).toPrecision(2))) : tickTexts(ticks);
  const area = chart.area(texts);
  const ends = lines.flatMap((each) => [each.x[0], each.x.at(-1)]);
  const [start, stop] = [Math.min(0, ...ends), Math.max(1, ...ends)];
  const x = linear([start, stop], [area.left + 4, area.right - 4]), y = linear([low, high], [area.bottom, area.top]);
  const xTicks = linearTicks(start, stop, Math.max(4, Math.floor(chart.width / 110)));
  chart.axes(area, { scale: x, ticks: xTicks, texts: tickTexts(xTicks), label: "training step" }, { scale: y, ticks, texts, label: axisLabel(told) });
  const drawn = lines.map((each) => ({ ...each, points: each.x.map((at, i) => [x(at), y(use(each.y[i])), i]).filter((point) => isNumber(point[1])) })).filter((each) => each.points.length);
  for (const each of banded) chart.base.append(band(each.x.map((at, i) => [x(at), y(use(each.high[i]))]), each.x.map((at, i) => [x(at), y(use(each.low[i]))]), colourClass(each.cell, shared.by)));
  drawGrouped(chart, drawn, shared.by);
  for (const each of drawn) chart.points.push(curvePoint(each, each.points.at(-1), core, metric));
  return drawn;
}

// Lines that look alike are one element: a thousand runs are drawn as a dozen.
function drawGrouped(chart, drawn, by) {
  const groups = new Map();
  for (const each of drawn) {
    const colour = colourClass(each.cell, by), classes = `${colour} ${dashClass(each.cell)}`;
    if (each.points.length > 1) groups.set(classes, (groups.get(classes) ?? "") + path(each.points));
    // A single point is no line.
    else chart.base.append(marker(each.cell, each.points[0][0], each.points[0][1], { class: `lone ${colour}` }));
  }
  const faint = drawn.length > 200 ? "faint" : drawn.length > 24 ? "light" : "";
  for (const [classes, d] of groups) chart.base.append(svg("path", { class: `line curve ${faint} ${classes}`, d }));
}

function curvePoint(each, [left, top, i], core, metric) {
  const told = metricOf(core, metric);
  const at = each.low ? [each.y[i], each.low[i], each.high[i]] : [each.y[i], null, null];
  const exact = { ...told, decimals: Math.max(told.decimals, 3) };
  const rows = [[told.label, spread(at, exact)], ["step", short(Math.round(each.x[i]))]];
  if (each.seeds) rows.push(["seeds", String(each.seeds)]);
  else if (core.runs[each.run].status !== "completed") rows.push(["status", core.runs[each.run].status]);
  return {
    x: left, y: top, title: each.title, rows,
    over: () => [svg("path", { class: "line strong-back", d: path(each.points) }), svg("path", { class: `line strong ${methodClass(each.cell)}`, d: path(each.points) })],
  };
}

function nearestCurve(drawn, x, y, core, { metric }) {
  let best = null, least = NEAR;
  for (const each of drawn) {
    const i = nearestIndex(each.points, x);
    const far = Math.abs(each.points[i][1] - y) + Math.max(0, Math.abs(each.points[i][0] - x) - 30);
    if (far < least) [best, least] = [[each, each.points[i]], far];
  }
  return best && curvePoint(...best, core, metric);
}

function nearestIndex(points, x) {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle;
    else high = middle;
  }
  return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? low : high;
}

function curveTable(lines, core, { metric }) {
  const told = metricOf(core, metric), decimals = Math.max(told.decimals, 3);
  const rows = lines.map(({ title, x, y }) => [title, String(Math.round(x.at(-1))), ...[y[0], y.at(-1), Math.min(...y), Math.max(...y)].map((value) => fixed(value, decimals))]);
  return { caption: `${told.label} over training.`, head: ["run", "last step", "first", "last", "least", "most"], rows };
}
