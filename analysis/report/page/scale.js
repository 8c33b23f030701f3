// From values to pixels, and the values that stand at an axis.

function linear([low, high], [from, to]) {
  const span = high - low || 1;
  const map = (value) => from + ((value - low) / span) * (to - from);
  map.ticks = (most) => linearTicks(low, high, most);
  return map;
}

// Logarithmic; zeros stand by themselves left of the smallest value, since they have no logarithm.
function logarithmic(values, [from, to]) {
  const positive = values.filter((value) => value > 0);
  const zero = positive.length < values.length;
  let low = Math.log10(Math.min(...positive)), high = Math.log10(Math.max(...positive));
  if (!positive.length) low = high = 0;
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const start = zero ? from + (to - from) * 0.12 : from;
  const map = (value) => (value > 0 ? start + ((Math.log10(value) - low) / (high - low)) * (to - start) : from);
  map.zero = zero;
  return map;
}

function linearTicks(low, high, most) {
  const step = niceStep((high - low) / Math.max(1, most));
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick += 1) ticks.push(tick * step);
  return ticks;
}

function niceStep(rough) {
  if (!(rough > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough * 0.999);
  return factor * power;
}

// A range with some air, and a width where all values are one.
function padded(values, share = 0.06) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low <= high)) return [0, 1];
  const air = (high - low) * share || Math.abs(high) * 0.1 || 0.5;
  return [low - air, high + air];
}

// Values as text, all with as many decimals as their distance asks for.
function tickTexts(ticks) {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : Math.abs(ticks[0]) || 1;
  const most = Math.max(...ticks.map(Math.abs));
  if (most >= 1e5 || (most > 0 && most < 1e-3)) return ticks.map(short);
  let decimals = 0;
  while (decimals < 6 && Math.abs(step * 10 ** decimals - Math.round(step * 10 ** decimals)) > 1e-6) decimals += 1;
  return ticks.map((tick) => fixed(tick, decimals));
}

// Values to stand at a logarithmic axis: all of them where there is room, else powers of ten.
function strengthTicks(values, x, room) {
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  const fits = distinct.every((value, i) => i === 0 || x(value) - x(distinct[i - 1]) >= room);
  if (fits) return distinct;
  const positive = distinct.filter((value) => value > 0);
  const powers = [];
  for (let power = Math.ceil(Math.log10(positive[0]) - 1e-9); 10 ** power <= positive.at(-1) * 1.0001; power += 1) powers.push(+(10 ** power).toPrecision(3));
  const kept = powers.length >= 2 ? powers : [positive[0], positive.at(-1)];
  return distinct[0] === 0 ? [0, ...kept] : kept;
}

// Moves labels apart that would cover each other; each has a wanted place `y`.
function apart(labels, gap, low, high) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  let before = low - gap;
  for (const label of sorted) before = label.at = Math.max(label.y, before + gap);
  let after = high + gap;
  for (const label of sorted.reverse()) after = label.at = Math.min(label.at, after - gap);
  return labels;
}
