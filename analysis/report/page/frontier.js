// Score against distance: what a policy gains, and how far it moves from its reference for that.

const DISTANCES = ["eval/kl", "eval/kl_k3", "eval/kl_per_token"];

function frontierSection(core) {
  const has = (name) => core.cells.some((cell) => cell.scores[name]);
  const distances = DISTANCES.filter(has);
  const gains = core.metrics.filter((metric) => !DISTANCES.includes(metric.name) && has(metric.name));
  if (!distances.length || !gains.length) {
    find("#frontier-figure").hidden = true;
    find("#frontier-none").hidden = false;
    return;
  }
  const reward = gains.find((metric) => metric.name === "eval/reward") ?? gains[0];
  const choice = { gain: reward.name, distance: distances[0], root: false, curves: null };
  const controls = find("#frontier-controls");
  controls.append(select("Score", gains.map((metric) => [metric.name, metric.label]), choice.gain, (value) => change({ gain: value })));
  if (distances.length > 1) controls.append(select("Distance", distances.map((name) => [name, metricOf(core, name).label]), choice.distance, (value) => change({ distance: value })));
  controls.append(checkbox("square root of KL", false, (value) => change({ root: value })));
  if (core.paths) controls.append(checkbox("paths of training", false, async (value) => change({ curves: value ? curvesByMetric(await payload("curves")) : null })));
  const cellsOf = (name) => [...state.cells].map((place) => core.cells[place]).filter((cell) => panelName(cell) === name && cell.scores[choice.gain] && cell.scores[choice.distance]);
  const panels = new Panels(find("#frontier-charts"), (panel, name) => new Chart(panel, {
    label: "Score against KL", height: 380,
    draw: (chart) => drawFrontier(chart, cellsOf(name), core, choice),
    table: () => frontierTable(cellsOf(name), core, choice),
  }));

  function change(changed) {
    Object.assign(choice, changed);
    update();
  }
  function update() {
    const cells = [...state.cells].map((place) => core.cells[place]);
    panels.update([...new Set(cells.map(panelName))]);
    for (const chart of panels.charts.values()) chart.label(`${metricOf(core, choice.gain).label} against ${metricOf(core, choice.distance).label}`);
    find("#frontier-legend").replaceChildren(legend(cells));
  }
  onFilter(update);
  update();
}

// Cells that no other one beats in both, from the least distance on.
function undominated(cells, gain, distance, better) {
  const sign = better === "lower" ? -1 : 1;
  const sound = cells.filter((cell) => !cell.degenerate);
  const sorted = [...sound].sort((a, b) => a.scores[distance][0] - b.scores[distance][0] || sign * (b.scores[gain][0] - a.scores[gain][0]));
  const kept = [];
  let best = -Infinity;
  for (const cell of sorted) {
    const value = sign * cell.scores[gain][0];
    if (value > best) {
      kept.push(cell);
      best = value;
    }
  }
  return kept;
}

function drawFrontier(chart, cells, core, { gain, distance, root, curves }) {
  if (!cells.length) return chart.empty("No run that is shown has both scores.");
  const [gained, moved] = [metricOf(core, gain), metricOf(core, distance)];
  const far = (value) => (root ? Math.sqrt(Math.max(0, value)) : value);
  const paths = curves ? trainingPaths(cells, curves, gain, distance) : [];
  const known = (metric, at) => [...cells.flatMap((cell) => cell.scores[metric].slice(0, 3).filter(isNumber)), ...paths.flatMap((each) => each.points.map((point) => point[at]))];
  const xs = known(distance, 0).map(far);
  const [left, right] = padded([0, ...xs], 0.04);
  const [low, high] = padded(known(gain, 1));
  const yTicks = linearTicks(low, high, 7), yTexts = tickTexts(yTicks);
  const area = chart.area(yTexts, chart.width >= 520 ? ["orpo 0.05 "] : []);
  const x = linear([Math.min(0, left, ...xs) < 0 ? Math.min(0, ...xs) : 0, right], [area.left + 6, area.right - 6]);
  const y = linear([low, high], [area.bottom, area.top]);
  const xTicks = linearTicks(0, right, Math.max(5, Math.floor(chart.width / 110)));
  const unit = moved.unit ? ` (${root ? `square root of ${moved.unit}` : moved.unit})` : "";
  chart.axes(area, { scale: x, ticks: xTicks, texts: tickTexts(xTicks), label: `${root ? "√ " : ""}${moved.label}${unit}` }, { scale: y, ticks: yTicks, texts: yTexts, label: axisLabel(gained) });
  const at = (cell) => [x(far(cell.scores[distance][0])), y(cell.scores[gain][0])];
  const frontier = undominated(cells, gain, distance, gained.better);
  for (const { cell, points } of paths) chart.base.append(line(points.map(([moves, gains]) => [x(far(moves)), y(gains)]), `${methodClass(cell)} path`));
  if (frontier.length > 1) chart.base.append(svg("path", { class: "frontier", d: stairs(frontier.map(at)) }));
  for (const series of seriesOf(cells)) {
    const look = `${methodClass(series[0])} ${dashClass(series[0])}`;
    if (series.length > 1) chart.base.append(line(series.map(at), `${look} thin`));
    for (const cell of series) drawCell(chart, cell, at(cell), { x, y, far, gain, distance, many: cells.length > 60 }, look, frontier.includes(cell));
    for (const cell of series) chart.points.push(frontierPoint(cell, at(cell), gained, moved, frontier.includes(cell)));
  }
  if (cells.length <= 40) chart.base.append(pointLabels(frontier.map((cell) => ({ at: at(cell), text: `${cell.method} ${short(cell.strength)}`, classes: methodClass(cell) })), cells.map(at), area));
  return undefined;
}

// How runs came to where they are: points of distance and gain at the steps where both were measured.
function trainingPaths(cells, curves, gain, distance) {
  const [gains, moves] = [curves.get(gain), curves.get(distance)];
  if (!gains || !moves) return [];
  const runs = cells.flatMap((cell) => cell.runs.filter((run) => state.runs.has(run) && gains.has(run) && moves.has(run)).map((run) => ({ cell, run })));
  return runs.map(({ cell, run }) => {
    const moved = new Map(moves.get(run).x.map((step, i) => [step, moves.get(run).y[i]]));
    const { x, y } = gains.get(run);
    return { cell, points: x.map((step, i) => [moved.get(step), y[i]]).filter(([far]) => isNumber(far)) };
  }).filter(({ points }) => points.length > 1);
}

function drawCell(chart, cell, at, { x, y, far, gain, distance, many }, look, best) {
  const [, low, high] = cell.scores[gain], [, near, away] = cell.scores[distance];
  if (isNumber(low) && !many) chart.base.append(whisker(at[0], y(low), y(high), look));
  if (isNumber(near) && !many) chart.base.append(crossbar(at[1], x(far(near)), x(far(away)), look));
  chart.base.append(marker(cell, ...at, { class: `${look}${cell.degenerate || !best ? " open" : ""}`, size: (best ? 5.5 : 4) * (many ? 0.7 : 1) }));
}

// From one point of the frontier to the next: as far as nothing better is known, the better of those before.
const stairs = (points) => points.map(([x, y], i) => (i ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M${x.toFixed(1)},${y.toFixed(1)}`)).join("");

// Labels above left of points, or below right where another point is in the way.
function pointLabels(labels, points, area) {
  const g = svg("g", { class: "labels" });
  const taken = points.map(([x, y]) => ({ left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 }));
  for (const { at: [x, y], text, classes } of labels) {
    const wide = text.length * 6.6;
    const places = [[x - wide - 9, y - 9], [x + 9, y + 16], [x + 9, y - 9], [x - wide - 9, y + 16], [x - wide / 2, y - 16], [x - wide / 2, y + 24]];
    const box = ([left, base]) => ({ left, right: left + wide, top: base - 11, bottom: base + 3 });
    const free = (place) => {
      const one = box(place);
      return one.left > area.left && one.right < area.right + 80 && one.top > area.top - 10 && one.bottom < area.bottom
        && taken.every((other) => one.right < other.left || one.left > other.right || one.bottom < other.top || one.top > other.bottom);
    };
    const place = places.find(free);
    if (!place) continue;
    taken.push(box(place));
    g.append(svg("text", { class: `end ${classes}`, x: place[0], y: place[1] }, text));
  }
  return g;
}

function frontierPoint(cell, [x, y], gained, moved, best) {
  const rows = [gained, moved].map((metric) => [metric.label, spread(cell.scores[metric.name], metric)]);
  if (best) rows.push(["frontier", "no other setting is better in both"]);
  if (cell.degenerate) rows.push(["degenerate", cell.degenerate]);
  return { x, y, title: cell.label, rows };
}

function frontierTable(cells, core, { gain, distance }) {
  const [gained, moved] = [metricOf(core, gain), metricOf(core, distance)];
  const frontier = undominated(cells, gain, distance, gained.better);
  const rows = [...cells].sort((a, b) => a.scores[distance][0] - b.scores[distance][0]).map((cell) => [
    cell.label, ...[gained, moved].flatMap((metric) => cell.scores[metric.name].slice(0, 3).map((value) => fixed(value, metric.decimals))), frontier.includes(cell) ? "yes" : "no"]);
  return { caption: `${gained.label} against ${moved.label}.`, head: ["setting", gained.label, "from", "to", moved.label, "from", "to", "on the frontier"], rows };
}
