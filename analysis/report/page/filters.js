// The choice of runs beside the page: a row of buttons for each facet, and a search.

function filterPanel(core) {
  const host = find("#filters");
  const search = el("input", { type: "search", id: "search", placeholder: "run, setting, error …", autocomplete: "off", spellcheck: "false" });
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => searchFor(search.value), 120);
  });
  const told = el("p", { class: "told", id: "filter-told", role: "status" });
  const reset = el("button", { type: "button", id: "reset", class: "reset", on: { click: () => again() } }, "Show all");
  const groups = state.facets.map(facetGroup);
  host.append(el("div", { class: "search" }, el("label", { for: "search" }, "Search"), search), ...groups.map((group) => group.node), el("div", { class: "foot" }, told, reset));

  function again() {
    search.value = "";
    resetFilters();
  }
  function update() {
    told.textContent = isFiltered() ? `${state.runs.size} of ${count(core.runs.length, "run")}` : `all ${count(core.runs.length, "run")}`;
    find("#filter-count").textContent = isFiltered() ? `${state.runs.size} of ${core.runs.length}` : "";
    reset.hidden = !isFiltered();
    for (const group of groups) group.update();
    for (const row of findAll("[data-cell]")) row.hidden = !state.cells.has(Number(row.dataset.cell));
    shorten();
    const hidden = core.cells.length - state.cells.size;
    find("#ranking-told").textContent = hidden ? `${count(hidden, "setting")} of ${core.cells.length} hidden by the filters. Ranks are among all.` : "";
  }
  onFilter(update);
  update();
}

const MOST_CHIPS = 12;

// Buttons for the values of a facet; a list to choose from where they are too many.
function facetGroup(facet) {
  const named = (value) => (facet.kind === "strength" ? short(value) : String(value));
  const buttons = facet.values.map((value) => {
    const button = el("button", { type: "button", class: "chip", "aria-pressed": "false", on: { click: () => toggleFacet(facet, value) } }, chipSwatch(facet, value), el("span", {}, named(value)));
    return { value, button };
  });
  const id = `facet-${state.facets.indexOf(facet)}`;
  const chips = el("div", { class: "chips" }, ...buttons.map(({ button }) => button));
  const node = el("div", { class: "facet", role: "group", "aria-labelledby": id, "data-facet": facet.name }, el("p", { id, class: "facet-name" }, facet.name));
  node.append(facet.values.length > MOST_CHIPS ? el("details", {}, el("summary", {}, `${facet.values.length} values`), chips) : chips);
  return {
    node,
    update() {
      const chosen = state.chosen.get(facet.name);
      node.classList.toggle("narrowed", Boolean(chosen?.size));
      for (const { value, button } of buttons) button.setAttribute("aria-pressed", String(Boolean(chosen?.has(value))));
    },
  };
}

function chipSwatch(facet, value) {
  const cell = state.core.cells.find((each) => each[facet.kind] === value);
  if (facet.kind === "method") return el("span", { class: `dot ${methodClass(cell)}`, "aria-hidden": "true" });
  if (facet.kind !== "reference") return null;
  const picture = svg("svg", { class: "swatch plain", width: 22, height: 12, "aria-hidden": "true" }, svg("path", { class: `line ${dashClass(cell)}`, d: "M1,6H21" }));
  picture.append(marker(cell, 11, 6, { size: 3.5 }));
  return picture;
}
