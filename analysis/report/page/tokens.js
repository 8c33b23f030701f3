// What a policy says less and more often than its reference, token by token.

const MOST_TOKENS = 15;

async function tokensSection(core) {
  const studies = await payload("tokens");
  if (!studies) {
    find("#tokens-figure").hidden = true;
    find("#tokens-none").hidden = false;
    return;
  }
  const byRun = new Map(studies.map((study) => [study.run, study]));
  const choice = { run: core.preferred.find((run) => byRun.has(run)) };
  const controls = find("#tokens-controls");
  const picker = el("select", { on: { change: () => change(Number(picker.value)) } });
  controls.append(el("label", { class: "control wide" }, el("span", {}, "Run"), picker));
  const chart = new Chart(find("#tokens-histogram"), {
    label: "Vocabulary items by their log-ratio", height: 300,
    draw: (each) => drawHistogram(each, alike(core, byRun, choice.run), choice.run, core),
    table: () => histogramTable(byRun.get(choice.run), runTitle(core, choice.run)),
  });

  function change(run) {
    choice.run = run;
    update();
  }
  function update() {
    const shown = core.preferred.filter((run) => byRun.has(run) && state.runs.has(run));
    if (shown.length && !shown.includes(choice.run)) choice.run = shown[0];
    const listed = shown.length ? shown : [choice.run];
    picker.replaceChildren(...[...listed].sort((a, b) => a - b).map((run) => el("option", { value: run }, runTitle(core, run))));
    picker.value = String(choice.run);
    const study = byRun.get(choice.run);
    find("#tokens-eos").textContent = eosSentence(study);
    find("#tokens-lowered").replaceChildren(tokenList("Most lowered", study.lowered, largest(study)));
    find("#tokens-raised").replaceChildren(tokenList("Most raised", study.raised, largest(study)));
    chart.host.hidden = !study.counts.length;
    find("#tokens-legend").replaceChildren(legend(alike(core, byRun, choice.run).map(({ run }) => core.cells[core.runs[run].cell]), "strength", false));
    chart.label(`How many vocabulary items have which log-ratio, ${runTitle(core, choice.run)}`);
    chart.changed();
  }
  onFilter(update);
  update();
}

const largest = (study) => Math.max(1e-9, ...[...study.lowered, ...study.raised].map((token) => Math.abs(token[1])));

function eosSentence(study) {
  if (!study.eos) return "Nothing is known of the token that ends an answer.";
  const [token, ratio, times] = study.eos;
  const way = ratio < 0 ? "less" : "more";
  const logp = isNumber(study.eosLogp) ? `; its log-probability is ${fixed(study.eosLogp, 2)} nats` : "";
  return `The end of an answer, ${token}, is ${way} likely than under the reference: mean log-ratio ${fixed(ratio, 3)} nats over ${count(times, "place")}${logp}.`;
}

// Tokens as rows of a table, each with a bar as long as its log-ratio.
function tokenList(title, tokens, most, whole = false) {
  const rows = tokens.slice(0, whole ? tokens.length : MOST_TOKENS).map(([token, ratio, times]) => {
    const bar = el("span", { class: `bar ${ratio < 0 ? "down" : "up"}` });
    bar.style.width = `${(100 * Math.abs(ratio)) / most}%`;
    return el("tr", {}, el("th", { scope: "row" }, el("bdi", { class: "token" }, token)), el("td", { class: "bars" }, bar),
      el("td", { class: "number" }, fixed(ratio, 2)), el("td", { class: "number quiet" }, times.toLocaleString("en")));
  });
  const all = tokens.length > MOST_TOKENS && !whole;
  const table = el("table", { class: "tokens" }, el("caption", {}, title),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "token"), el("th", { scope: "col", "aria-label": "bar" }), el("th", { scope: "col", class: "number" }, "nats"), el("th", { scope: "col", class: "number" }, "places"))),
    el("tbody", {}, ...rows));
  if (!all) return table;
  const more = el("button", { type: "button", class: "more", on: { click: () => more.parentNode.replaceWith(tokenList(title, tokens, most, true)) } }, `Show all ${tokens.length}`);
  return el("div", {}, table, more);
}

// Studies of the same setting and seed at other strengths, for the histograms beside each other.
function alike(core, byRun, run) {
  const own = core.runs[run], cell = core.cells[own.cell];
  const same = seriesOf(core.cells.filter((each) => each.method === cell.method)).find((series) => series.includes(cell)) ?? [cell];
  const places = same.flatMap((each) => each.runs.filter((place) => core.runs[place].seed === own.seed && byRun.has(place)));
  return (places.includes(run) ? places : [run]).map((place) => ({ run: place, study: byRun.get(place) })).filter(({ study }) => study.counts.length);
}

function drawHistogram(chart, studies, chosen, core) {
  const own = studies.find(({ run }) => run === chosen);
  if (!own) return chart.empty("This run has no histogram.");
  const edges = studies.flatMap(({ study }) => [study.edges[0], study.edges.at(-1)]);
  const top = Math.max(1, ...studies.flatMap(({ study }) => study.counts));
  const powers = linearTicks(0, Math.log10(top), 6).filter(Number.isInteger);
  const texts = powers.map((power) => (10 ** power).toLocaleString("en"));
  const area = chart.area(texts);
  const x = linear([Math.min(...edges), Math.max(...edges)], [area.left, area.right]);
  // One item stands visibly above none.
  const y = linear([-0.35, Math.max(0.5, Math.log10(top) * 1.05)], [area.bottom, area.top]);
  const height = (items) => (items > 0 ? y(Math.log10(items)) : area.bottom);
  const xTicks = linearTicks(Math.min(...edges), Math.max(...edges), Math.max(5, Math.floor(chart.width / 90)));
  chart.axes(area, { scale: x, ticks: xTicks, texts: tickTexts(xTicks), label: "mean log p/p_ref of a vocabulary item (nats)" }, { scale: y, ticks: powers, texts, label: "vocabulary items" });
  for (const { run, study } of studies) {
    const cell = core.cells[core.runs[run].cell], colour = strengthClass(cell);
    const outline = study.counts.flatMap((items, i) => [[x(study.edges[i]), height(items)], [x(study.edges[i + 1]), height(items)]]);
    if (run === chosen) chart.base.append(band(outline, outline.map(([at]) => [at, area.bottom]), colour));
    chart.base.append(svg("path", { class: `line ${colour} ${run === chosen ? "strong" : "thin"}`, d: blocksPath(outline, area.bottom) }));
  }
  if (x(0) > area.left && x(0) < area.right) chart.base.append(svg("path", { class: "zero", d: `M${x(0)},${area.top}V${area.bottom}` }));
  own.study.counts.forEach((items, i) => {
    if (!items) return;
    const [from, to] = [own.study.edges[i], own.study.edges[i + 1]];
    chart.points.push({ x: (x(from) + x(to)) / 2, y: height(items), title: `${fixed(from, 2)} to ${fixed(to, 2)} nats`, rows: [["items", items.toLocaleString("en")]] });
  });
  return undefined;
}

// An outline without its stretches along the bottom.
function blocksPath(outline, bottom) {
  let d = "";
  outline.forEach(([at, high], i) => {
    const [before, last] = outline[i - 1] ?? [at, bottom];
    if (high < bottom && last >= bottom) d += `M${before.toFixed(1)},${bottom}`;
    if (high < bottom || last < bottom) d += `L${at.toFixed(1)},${high.toFixed(1)}`;
  });
  return d;
}

function histogramTable(study, title) {
  const rows = study.counts.map((items, i) => [`${fixed(study.edges[i], 3)} to ${fixed(study.edges[i + 1], 3)}`, items.toLocaleString("en")]);
  return { caption: `Vocabulary items by mean log-ratio, ${title}.`, head: ["nats", "items"], rows };
}
