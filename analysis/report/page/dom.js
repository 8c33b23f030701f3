// Elements and numbers. Text goes in by textContent alone, so that nothing in it can become markup.

const MINUS = "\u2212";
const MISSING = "\u2013";
const SVG = "http://www.w3.org/2000/svg";

const find = (selector, root = document) => root.querySelector(selector);
const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];

// el("button", {class: "chip", on: {click}, "aria-pressed": "false"}, "text", child)
function el(tag, options = {}, ...children) {
  return fill(document.createElement(tag), options, children);
}

function svg(tag, options = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), options, children);
}

function fill(node, options, children) {
  for (const [name, value] of Object.entries(options)) {
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// The same digits as Python writes: ties away from zero, no minus zero.
function fixed(value, decimals) {
  if (!isNumber(value)) return MISSING;
  const digits = Math.abs(value).toFixed(decimals);
  return value < 0 && /[1-9]/.test(digits) ? MINUS + digits : digits;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

// 0.05, 10, 1e-5: as short as it can be told.
function short(value) {
  if (!isNumber(value)) return MISSING;
  const text = Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-4) ? value.toExponential() : String(+value.toPrecision(4));
  return text.replace("-", MINUS).replace("e+", "e").replace(`e${MINUS}`, "e-");
}

// "0.641 ± 0.036 nats", or with the ends of the band where it is lopsided.
function spread(estimate, metric) {
  const [mean, low, high] = estimate;
  const unit = metric.unit ? ` ${metric.unit}` : "";
  const told = fixed(mean, metric.decimals);
  if (!isNumber(low) || !isNumber(high)) return told + unit;
  const up = high - mean, down = mean - low;
  if (Math.abs(up - down) <= 0.02 * Math.max(up, down)) return `${told}\u00a0±\u00a0${fixed(up, metric.decimals)}${unit}`;
  return `${told} (${fixed(low, metric.decimals)} to ${fixed(high, metric.decimals)})${unit}`;
}

const oneLine = (text, most) => {
  const flat = text.replace(/\s+/g, " ");
  return flat.length > most ? `${flat.slice(0, most - 1)}…` : flat;
};

function seconds(value) {
  if (!isNumber(value)) return MISSING;
  if (value < 60) return `${value.toFixed(1)} s`;
  const minutes = Math.floor(Math.round(value) / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(value) % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// Said to those who do not see the page.
function announce(text) {
  find("#live").textContent = text;
}

async function copy(text, button) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    done = copyBySelection(text);
  }
  announce(done ? "Copied" : "Could not copy: select the text instead");
  const label = button.textContent;
  button.textContent = done ? "Copied" : "Select it";
  button.classList.toggle("done", done);
  setTimeout(() => {
    button.textContent = label;
    button.classList.remove("done");
  }, 1500);
}

// Where a page from disk may not use the clipboard.
function copyBySelection(text) {
  const area = el("textarea", { class: "offscreen", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  let done = false;
  try {
    done = document.execCommand("copy");
  } catch {
    done = false;
  }
  area.remove();
  if (before) before.focus();
  return done;
}

const copyButton = (text, what) =>
  el("button", { type: "button", class: "copy", "aria-label": `Copy ${what}`, on: { click: (event) => copy(text, event.currentTarget) } }, "Copy");

function select(label, options, chosen, change) {
  const box = el("select", { on: { change: () => change(box.value) } });
  for (const [value, text] of options) box.append(el("option", { value }, text));
  box.value = chosen;
  return el("label", { class: "control" }, el("span", {}, label), box);
}

function checkbox(label, checked, change) {
  const box = el("input", { type: "checkbox", on: { change: () => change(box.checked) } });
  box.checked = checked;
  return el("label", { class: "control check" }, box, el("span", {}, label));
}
