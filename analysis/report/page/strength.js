// Score by strength: a line with its band for each method and reference.

function strengthSection(core) {
  const host = find("#strength-charts");
  const choice = { metric: core.metric };
  const shown = core.metrics.filter((metric) => core.cells.some((cell) => cell.scores[metric.name]));
  find("#strength-controls").append(select("Score", shown.map((metric) => [metric.name, metric.label]), choice.metric, (value) => {
    choice.metric = value;
    update();
  }));
  const of = (name) => [...state.cells].map((place) => core.cells[place]).filter((cell) => panelName(cell) === name && cell.scores[choice.metric]);
  const panels = new Panels(host, (panel, name) => {
    const chart = new Chart(panel, {
      label: "Score by strength", height: 360,
      draw: (each) => drawStrength(each, of(name), metricOf(core, choice.metric), core),
      table: () => strengthTable(of(name), metricOf(core, choice.metric), core),
    });
    return chart;
  });

  function update() {
    const cells = [...state.cells].map((place) => core.cells[place]);
    const metric = metricOf(core, choice.metric);
    panels.update([...new Set(cells.map(panelName))]);
    for (const chart of panels.charts.values()) chart.label(`${metric.label} by strength`);
    find("#strength-legend").replaceChildren(legend(cells));
    const bands = choice.metric === core.metric ? core.interval : core.spread;
    const names = strengthLabel(cells, core);
    const tied = core.tested && choice.metric === core.metric ? " Filled marks are the best and those tied with it." : "";
    find("#strength-caption").replaceChildren(`Each mark is a setting: ${bands}.${tied}${zeroTold(cells)}`, el("span", { class: "on-phones" }, ` The ${names}.`));
  }
  onFilter(update);
  update();
}

const metricOf = (core, name) => core.metrics.find((metric) => metric.name === name) ?? { name, label: name, unit: "", decimals: 3 };
const zeroTold = (cells) => (cells.some((cell) => cell.strength === 0) ? " Strength 0 stands by itself at the left: it has no logarithm." : "");

function axisLabel(metric) {
  const way = { higher: ", higher is better", lower: ", lower is better" }[metric.better] ?? "";
  return `${metric.label}${metric.unit ? ` (${metric.unit})` : ""}${way}`;
}

// On how the strengths of these methods are called: "strength: beta, tau (ipo)".
function strengthLabel(cells, core, width) {
  if (width < 480) return "strength";
  const names = new Map();
  for (const cell of cells) names.set(core.strengths[cell.method], [...new Set([...(names.get(core.strengths[cell.method]) ?? []), cell.method])]);
  if (names.size === 1) return `${[...names.keys()][0]}, the strength`;
  return `strength: ${[...names].map(([name, methods]) => `${name} (${methods.slice(0, 3).join(", ")}${methods.length > 3 ? ", …" : ""})`).join(", ")}`;
}

function drawStrength(chart, cells, metric, core) {
  const placed = cells.filter((cell) => isNumber(cell.strength));
  const level = cells.filter((cell) => !isNumber(cell.strength));
  if (!cells.length) return chart.empty("No run that is shown has this score.");
  const ends = cells.flatMap((cell) => cell.scores[metric.name].slice(0, 3).filter(isNumber));
  const [low, high] = padded(ends);
  const ticks = linearTicks(low, high, 7), texts = tickTexts(ticks);
  const series = seriesOf(placed);
  const direct = chart.width >= 520 && series.length + level.length <= 12;
  const names = direct ? [...series.map((each) => each.at(-1)), ...level].map(seriesName) : [];
  const area = chart.area(texts, names);
  const strengths = placed.map((cell) => cell.strength);
  const x = logarithmic(strengths.length ? strengths : [0.1, 1], [area.left + 14, area.right - 14]);
  const y = linear([low, high], [area.bottom, area.top]);
  const xTicks = strengths.length ? strengthTicks(strengths, x, 40) : [];
  chart.axes(area, { scale: x, ticks: xTicks, texts: xTicks.map(short), label: strengthLabel(placed.length ? placed : cells, core, chart.width) }, { scale: y, ticks, texts, label: axisLabel(metric) });
  const labels = [];
  for (const cell of level) {
    const [mean, bottom, top] = cell.scores[metric.name];
    const look = `${methodClass(cell)} ${dashClass(cell)}`;
    if (isNumber(bottom)) chart.base.append(band([[area.left, y(top)], [area.right, y(top)]], [[area.left, y(bottom)], [area.right, y(bottom)]], look));
    chart.base.append(line([[area.left, y(mean)], [area.right, y(mean)]], `${look} level`));
    labels.push({ x: area.right - 6, y: y(mean), text: seriesName(cell), classes: methodClass(cell) });
    chart.points.push(strengthPoint(cell, metric, core, (area.left + area.right) / 2, y(mean)));
  }
  for (const each of series) drawOneStrength(chart, each, metric, core, x, y, labels);
  for (const fit of core.fits.filter((each) => each.metric === metric.name && each.cells.some((place) => cells.includes(core.cells[place])))) drawFit(chart, fit, core, x, y);
  if (direct) chart.base.append(endLabels(labels, area));
  return undefined;
}

function drawOneStrength(chart, cells, metric, core, x, y, labels) {
  const score = (cell) => cell.scores[metric.name];
  const look = `${methodClass(cells[0])} ${dashClass(cells[0])}`;
  const withBand = cells.filter((cell) => isNumber(score(cell)[1]));
  if (withBand.length > 1) chart.base.append(band(withBand.map((cell) => [x(cell.strength), y(score(cell)[2])]), withBand.map((cell) => [x(cell.strength), y(score(cell)[1])]), look));
  chart.base.append(line(cells.map((cell) => [x(cell.strength), y(score(cell)[0])]), look));
  for (const cell of cells) {
    const at = [x(cell.strength), y(score(cell)[0])];
    if (withBand.length === 1 && withBand[0] === cell) chart.base.append(whisker(at[0], y(score(cell)[1]), y(score(cell)[2]), look));
    const open = cell.degenerate || (core.tested && metric.name === core.metric && !cell.best && !cell.tied);
    chart.base.append(marker(cell, ...at, { class: `${look}${open ? " open" : ""}` }));
    chart.points.push(strengthPoint(cell, metric, core, ...at));
  }
  const last = cells.at(-1);
  labels.push({ x: x(last.strength), y: y(score(last)[0]), text: seriesName(last), classes: methodClass(last) });
}

// A fitted curve, and its best strength with its interval at the bottom.
function drawFit(chart, fit, core, x, y) {
  const look = methodClass(core.cells[fit.cells[0]]);
  chart.base.append(line(fit.strengths.map((strength, i) => [x(strength), y(fit.values[i])]), `${look} fit`));
  if (!fit.optimum) return;
  const [best, low, high] = fit.optimum, at = chart.height - 52;
  if (isNumber(low) && isNumber(high)) chart.base.append(crossbar(at, x(low), x(high), look));
  chart.base.append(svg("path", { class: `mark ${look}`, d: markerPath("diamond", x(best), at, 4) }));
}

function strengthPoint(cell, metric, core, x, y) {
  const rows = [[metric.label, spread(cell.scores[metric.name], metric)], ["seeds", String(cell.scores[metric.name][3])]];
  if (isNumber(cell.rank)) rows.push(["rank", `${cell.rank}${cell.tied && !cell.best ? ", tied with the best" : ""}`]);
  if (cell.degenerate) rows.push(["degenerate", cell.degenerate]);
  return { x, y, title: cell.label, rows };
}

function strengthTable(cells, metric) {
  const rows = seriesOf(cells).flat().map((cell) => {
    const [mean, low, high, seeds] = cell.scores[metric.name];
    return [cell.label, short(cell.strength), ...[mean, low, high].map((value) => fixed(value, metric.decimals)), String(seeds)];
  });
  return { caption: `${metric.label}${metric.unit ? `, in ${metric.unit}` : ""}, by strength.`, head: ["setting", "strength", "mean", "from", "to", "seeds"], rows };
}
