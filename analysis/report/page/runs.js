// All runs, sorted as asked for, each with the command that carries it out again.

const A_PAGE = 25;

function runsSection(core) {
  const host = find("#runs-table");
  const metric = metricOf(core, core.metric);
  const columns = [
    { name: "run", of: (run) => run.id },
    { name: "setting", of: (run) => core.cells[run.cell].label },
    { name: "seed", of: (run) => run.seed, number: true },
    { name: "status", of: (run) => run.status },
    { name: metric.label, of: (run) => run.score, text: (run) => fixed(run.score, metric.decimals), number: true },
    { name: "steps", of: (run) => run.steps, text: (run) => (run.steps ?? MISSING).toLocaleString("en"), number: true },
    { name: "time", of: (run) => run.seconds, text: (run) => seconds(run.seconds), number: true },
  ];
  const choice = { column: null, down: false, shown: A_PAGE };
  const body = el("tbody", { role: "rowgroup" });
  const heads = columns.map((column) => {
    const button = el("button", { type: "button", on: { click: () => sortBy(column) } }, column.name);
    return el("th", { scope: "col", role: "columnheader", class: column.number ? "number" : null }, button);
  });
  const caption = el("caption");
  const more = el("button", { type: "button", class: "more", on: { click: () => showMore() } });
  host.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" },
    el("table", { class: "runs", role: "table" }, caption,
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads, el("th", { scope: "col", role: "columnheader" }, "again"))), body)), more);

  function sortBy(column) {
    choice.down = choice.column === column && !choice.down;
    choice.column = column;
    choice.shown = A_PAGE;
    update();
  }
  function showMore() {
    const first = choice.shown;
    choice.shown += A_PAGE * 4;
    update();
    find("button", body.children[first] ?? body)?.focus();
  }
  function ordered() {
    const places = [...state.runs];
    if (!choice.column) return places;
    const sign = choice.down ? -1 : 1;
    const value = (place) => choice.column.of(core.runs[place]);
    return places.sort((a, b) => compare(value(a), value(b), sign) || a - b);
  }
  function update() {
    const places = ordered(), shown = places.slice(0, choice.shown);
    columns.forEach((column, i) => heads[i].setAttribute("aria-sort", choice.column === column ? (choice.down ? "descending" : "ascending") : "none"));
    body.replaceChildren(...shown.map((place) => runRow(core, columns, core.runs[place])));
    caption.textContent = `${shown.length} of ${count(core.runs.length, "run")}${places.length < core.runs.length ? `; the filters leave ${places.length}` : ""}`;
    more.hidden = shown.length >= places.length;
    more.textContent = `Show ${Math.min(A_PAGE * 4, places.length - shown.length)} more`;
  }
  onFilter(() => {
    choice.shown = A_PAGE;
    update();
  });
  update();
}

// What is missing stands last, whichever way is up.
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
}

function runRow(core, columns, run) {
  const cells = columns.map((column, i) => {
    const text = column.text ? column.text(run) : String(column.of(run) ?? MISSING);
    const content = i === 0 && isWeb(run.url) ? el("a", { href: run.url, rel: "noopener noreferrer", target: "_blank" }, text) : text;
    return el(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, role: i === 0 ? "rowheader" : "cell", "data-name": column.name, class: [column.number ? "number" : "", column.name === "status" ? `status ${run.status === "completed" ? "" : "bad"}` : ""].join(" ").trim() || null }, content);
  });
  return el("tr", { role: "row" }, ...cells, el("td", { role: "cell", class: "last" }, run.command ? commandBox(run) : el("span", { class: "quiet" }, "not known")));
}

// A link may lead to the web and nowhere else.
function isWeb(url) {
  try {
    return ["https:", "http:"].includes(new URL(url).protocol);
  } catch {
    return false;
  }
}

function commandBox(run) {
  const box = el("details", { class: "command" }, el("summary", {}, "command"));
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1) box.append(el("code", {}, run.command));
  });
  return el("div", { class: "again" }, copyButton(run.command, `the command of ${run.id}`), box);
}
