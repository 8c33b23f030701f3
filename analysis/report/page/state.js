// Which runs are shown. Values chosen within a facet are alternatives; facets and words of the search narrow down.

const state = { core: null, facets: [], chosen: new Map(), search: "", runs: new Set(), cells: new Set(), listeners: [] };

const onFilter = (listener) => state.listeners.push(listener);

function beginState(core) {
  state.core = core;
  state.facets = facetsOf(core);
  state.haystacks = core.runs.map((run) => [run.id, run.study, core.cells[run.cell].label, run.status, run.error, run.degenerate].join("\n").toLowerCase());
  applyFilters(false);
}

// A facet for what differs between runs.
function facetsOf(core) {
  const cell = (get) => (run) => get(core.cells[run.cell]);
  const facets = [
    { name: "Method", of: cell((c) => c.method), kind: "method" },
    { name: "Strength", of: cell((c) => c.strength), kind: "strength" },
    { name: "Reference", of: cell((c) => c.reference), kind: "reference" },
    { name: "Model", of: cell((c) => c.model) },
    { name: "Data", of: cell((c) => c.data) },
    ...[...new Set(core.cells.flatMap((c) => Object.keys(c.others)))].map((key) => ({ name: key, of: cell((c) => c.others[key] ?? "") })),
    { name: "Status", of: (run) => run.status },
  ];
  for (const facet of facets) {
    facet.values = [...new Set(core.runs.map(facet.of))].filter((value) => value !== null && value !== "");
    if (facet.kind === "strength") facet.values.sort((a, b) => a - b);
  }
  return facets.filter((facet) => facet.values.length > 1);
}

function toggleFacet(facet, value) {
  const chosen = state.chosen.get(facet.name) ?? new Set();
  if (!chosen.delete(value)) chosen.add(value);
  state.chosen.set(facet.name, chosen);
  applyFilters();
}

function searchFor(text) {
  state.search = text;
  applyFilters();
}

function resetFilters() {
  state.chosen.clear();
  state.search = "";
  applyFilters();
}

const isFiltered = () => state.search.trim() !== "" || [...state.chosen.values()].some((values) => values.size > 0);

function applyFilters(tell = true) {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  state.runs = new Set();
  state.cells = new Set();
  state.core.runs.forEach((run, place) => {
    const fits = state.facets.every((facet) => {
      const chosen = state.chosen.get(facet.name);
      return !chosen || chosen.size === 0 || chosen.has(facet.of(run));
    });
    if (fits && words.every((word) => state.haystacks[place].includes(word))) {
      state.runs.add(place);
      state.cells.add(run.cell);
    }
  });
  if (tell) for (const listener of state.listeners) listener();
}
