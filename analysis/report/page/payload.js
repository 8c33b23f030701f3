// The page's data: JSON in blocks that no browser executes, packed where it is large.

const unpacked = new Map();

// The value of the block with this name, once; null where the page has no such block.
function payload(name) {
  if (!unpacked.has(name)) unpacked.set(name, read(document.getElementById(`data-${name}`)));
  return unpacked.get(name);
}

async function read(block) {
  if (!block) return null;
  const text = block.textContent;
  if (block.dataset.packed !== "gzip") return JSON.parse(text);
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
