// The same prompt answered by the starting policy and by chosen runs, side by side.

const AT_FIRST = 3;
const AT_ONCE = 8;

async function responsesSection(core) {
  const data = await payload("responses");
  if (!data) {
    find("#responses-figure").hidden = true;
    find("#responses-none").hidden = false;
    return;
  }
  const answered = new Set(data.prompts.flatMap((prompt) => prompt.answers.map(([run]) => run)));
  const order = core.preferred.filter((run) => answered.has(run));
  const choice = { prompt: 0, runs: firstRuns(core, order) };
  const byRun = data.prompts.map((prompt) => new Map(prompt.answers));
  const picker = el("select", { id: "prompt-choice", on: { change: () => go(Number(picker.value)) } },
    ...data.prompts.map((prompt, i) => el("option", { value: i }, `${i + 1}. ${oneLine(prompt.text, 90)}`)));
  const step = (by) => go((choice.prompt + by + data.prompts.length) % data.prompts.length);
  find("#responses-controls").append(
    el("label", { class: "control wide" }, el("span", {}, "Prompt"), picker),
    el("div", { class: "steps" },
      el("button", { type: "button", on: { click: () => step(-1) } }, "Previous"),
      el("button", { type: "button", on: { click: () => step(1) } }, "Next")),
  );
  find("#responses-told").textContent = data.told;
  const boxes = el("div", { class: "choices", role: "group", "aria-label": "Runs whose answers are shown" });
  find("#responses-runs").append(boxes);

  function go(prompt) {
    choice.prompt = prompt;
    picker.value = String(prompt);
    show();
  }
  function choose(run, on) {
    choice.runs = order.filter((each) => (each === run ? on : choice.runs.includes(each)));
    listRuns();
    show();
  }
  function listRuns() {
    const full = choice.runs.length >= AT_ONCE;
    const had = document.activeElement?.value;
    boxes.replaceChildren(...order.filter((run) => state.runs.has(run) || choice.runs.includes(run)).map((run) => {
      const box = el("input", { type: "checkbox", value: run, on: { change: () => choose(run, box.checked) } });
      box.checked = choice.runs.includes(run);
      box.disabled = full && !box.checked;
      return el("label", { class: "control check" }, box, el("span", { class: `dot ${methodClass(core.cells[core.runs[run].cell])}`, "aria-hidden": "true" }), el("span", {}, runTitle(core, run)));
    }));
    if (had !== undefined) find(`input[value="${Number(had)}"]`, boxes)?.focus();
    find("#responses-summary").textContent = `Runs: ${choice.runs.length} of ${order.length} chosen${full ? `, no more than ${AT_ONCE} at once` : ""}`;
  }
  function show() {
    const prompt = data.prompts[choice.prompt];
    find("#responses-prompt").replaceChildren(el("h4", {}, `Prompt ${choice.prompt + 1} of ${data.prompts.length}`), writing(prompt.text));
    const cards = prompt.start ? [card("starting policy", null, prompt.start, core)] : [];
    const chosen = choice.runs.filter((run) => state.runs.has(run));
    // Where the filters leave none of those chosen, the best of the others stand for them.
    const shown = chosen.length ? chosen : order.filter((run) => state.runs.has(run)).slice(0, AT_FIRST);
    for (const run of shown) {
      const answer = byRun[choice.prompt].get(run);
      cards.push(answer ? card(runTitle(core, run), core.cells[core.runs[run].cell], answer, core) : missingCard(runTitle(core, run)));
    }
    find("#responses-cards").replaceChildren(...cards);
  }
  onFilter(() => {
    listRuns();
    show();
  });
  listRuns();
  show();
}

// The best setting of each method, as far as there are answers of it.
function firstRuns(core, order) {
  const methods = new Set(), chosen = [];
  for (const run of order) {
    const { method } = core.cells[core.runs[run].cell];
    if (!methods.has(method) && chosen.length < AT_FIRST) {
      methods.add(method);
      chosen.push(run);
    }
  }
  return order.filter((run) => chosen.includes(run) || (methods.size === 1 && order.indexOf(run) < AT_FIRST));
}

// Text as it was written, whatever direction its script runs in, kept apart from what stands around it.
const writing = (text) => (text ? el("p", { class: "writing", dir: "auto" }, text) : el("p", { class: "writing none" }, "(empty)"));

const missingCard = (title) => el("article", { class: "card" }, el("h4", {}, title), el("p", { class: "quiet" }, "This run did not answer this prompt."));

// An answer is [text, tokens, reward, kl, win, ended].
function card(title, cell, [text, tokens, reward, kl, win, ended]) {
  const facts = [["reward", reward, 2], ["KL", kl, 2], ["tokens", tokens, 0]].filter(([, value]) => isNumber(value));
  const wins = { 1: "better than the start", 0.5: "as good as the start", 0: "worse than the start" }[win];
  return el("article", { class: `card ${cell ? methodClass(cell) : "start"}` },
    el("h4", {}, title), writing(text),
    el("dl", { class: "facts" }, ...facts.map(([name, value, decimals]) => el("div", {}, el("dt", {}, name), el("dd", {}, fixed(value, decimals))))),
    wins || ended === false ? el("p", { class: "verdicts" }, [wins, ended === false ? "did not end by itself" : ""].filter(Boolean).join("; ")) : null);
}
