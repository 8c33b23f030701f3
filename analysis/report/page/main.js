// Brings the page to life: what is on top at once, what is large when nothing else is to do or it comes near the screen.

async function main() {
  themeSwitch();
  filterBox();
  for (const button of findAll("button[data-copy]")) button.addEventListener("click", () => copy(find(`#${button.dataset.copy}`).textContent, button));
  longTables();
  shorten();
  contents();
  const core = await payload("core");
  beginLook(core);
  beginState(core);
  filterPanel(core);
  strengthSection(core);
  frontierSection(core);
  runsSection(core);
  const later = [["#curves", curvesSection], ["#tokens", tokensSection], ["#responses", responsesSection]];
  const starts = later.map(([selector, begin]) => whenNear(find(selector), () => begin(core)));
  document.documentElement.dataset.ready = "yes";
  for (const start of starts) {
    await idle();
    await start();
  }
}

const idle = () => new Promise((done) => ("requestIdleCallback" in window ? requestIdleCallback(done, { timeout: 1000 }) : setTimeout(done, 50)));

// Begins a section once, when it comes near the screen or the function that this gives is called.
function whenNear(section, begin) {
  let begun = null;
  const start = () => {
    watch.disconnect();
    begun ??= begin().then(() => (section.dataset.ready = "yes"), told);
    return begun;
  };
  const watch = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && start(), { rootMargin: "900px 0px" });
  watch.observe(section);
  addEventListener("beforeprint", start);
  return start;
}

// Light, dark, or as the system has it.
function themeSwitch() {
  const root = document.documentElement, button = find("#theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const tell = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try {
      localStorage.setItem("prefsweep-theme", root.dataset.theme);
    } catch {
      // Pages from disk may have no storage: the choice holds until the page is closed.
    }
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();
}

// Open beside the page where there is room, closed on top of it where there is not.
function filterBox() {
  const wide = matchMedia("(min-width: 60.01rem)");
  const follow = () => (find("#filter-box").open = wide.matches);
  wide.addEventListener("change", follow);
  follow();
}

// Tables that show their first rows until asked for all.
function longTables() {
  for (const button of findAll("button[data-all]")) {
    button.addEventListener("click", () => {
      button.dataset.pressed = "yes";
      shorten();
    });
  }
}

// Of what the filters leave all is shown.
function shorten() {
  for (const button of findAll("button[data-all]")) {
    const short = !button.dataset.pressed && !(state.core && isFiltered());
    find(`#${button.dataset.all}`).classList.toggle("short", short);
    button.hidden = !short;
  }
}

// Marks where one is in the list of contents.
function contents() {
  const links = new Map(findAll("nav a").map((link) => [link.hash.slice(1), link]));
  const inView = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) inView[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    const first = [...links.keys()].find((id) => inView.has(id));
    for (const [id, link] of links) link[id === first ? "setAttribute" : "removeAttribute"]("aria-current", "true");
  }, { rootMargin: "-20% 0px -60% 0px" });
  for (const id of links.keys()) if (document.getElementById(id)) watch.observe(document.getElementById(id));
}

function told(error) {
  const box = find("#trouble");
  box.hidden = false;
  box.textContent = `A part of this page could not be shown: ${error}. A browser of 2023 or later shows all of it.`;
  throw error;
}

main().catch(told);
