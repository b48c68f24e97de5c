const NET = $network, { size, channels, classes } = NET;
const { exp, floor, max, min } = Math, add = (a, b) => a + b;
const [pad, button, file, small, hint, answer, table] = document.querySelectorAll("[id]");
const view = pad.getContext("2d"), seen = small.getContext("2d", { willReadFrequently: true });
let net;

// Probabilities -> bars: a row for each class, or for the most probable ones where there are many. None: empty bars.
function show(shares) {
  const order = [...classes.keys()], best = shares?.indexOf(max(...shares));
  if (classes[20] !== undefined) order.sort((a, b) => shares ? shares[b] - shares[a] : 0).splice(10);
  table.replaceChildren(...order.map(index => {
    const row = document.createElement("tr"), share = shares ? shares[index] : 0;
    row.innerHTML = "<td dir=auto><td><i></i><td>";
    const [name, bar, percent] = row.children;
    if (index === best) row.className = "best";
    name.textContent = classes[index];
    bar.firstChild.style.width = percent.textContent = (100 * share).toFixed(1) + "%";
    return row;
  }));
  const text = classes[best] ?? "–";
  if (answer.textContent !== text) answer.textContent = text;
}

// Pixels, row by row, as bytes of grey or of red, green and blue -> bars.
async function classify(pixels) {
  const outputs = await net?.(pixels);
  if (!outputs) return;
  const most = max(...outputs), powers = outputs.map(x => exp(x - most));
  const sum = powers.reduce(add), image = seen.createImageData(size, size);
  image.data.forEach((_, i) => image.data[i] = i % 4 > 2 ? 255 : pixels[(i >> 2) * channels + i % 4 % channels]);
  seen.putImageData(image, 0, 0);
  show(powers.map(x => x / sum));
}

// Lines of n pixels -> the `side` pixels in their middle, scaled to `size` as those of the training were, as columns.
function scaled(from, n, side) {
  const ratio = side / size, reach = max(ratio, 1), to = [];
  for (let j = 0; j < size; j++) {
    const centre = (n - side) / 2 + (j + .5) * ratio, near = [];
    const first = max(0, floor(centre - reach + .5)), end = min(n, floor(centre + reach + .5));
    for (let i = first; i < end; i++) near.push(max(0, 1 - Math.abs(i + .5 - centre) / reach));
    const total = near.reduce(add), weights = near.map(one => floor(one / total * 2 ** 22 + .5));
    for (let line = first; line < from.length; line += n)
      to.push(weights.reduce((sum, weight, i) => sum + weight * from[line + i], 2 ** 21) / 2 ** 22 | 0);
  }
  return to;
}

// An image in red, green, blue and alpha -> pixels.
function prepare({ data, width, height }) {
  const side = min(width, height), starts = [...Array(width * height).keys()].map(i => 4 * i);
  const plane = value => scaled(scaled(starts.map(value), width, side), height, side);
  const grey = i => 19595 * data[i] + 38470 * data[i + 1] + 7471 * data[i + 2] + 32768 >> 16;
  if (channels < 2) return plane(grey);
  const [red, green, blue] = [0, 1, 2].map(k => plane(i => data[i + k]));
  return red.flatMap((value, i) => [value, green[i], blue[i]]);
}

// Anything that can be drawn -> its pixels; the large canvas shows what is taken of it.
function look(source, width, height) {
  const side = min(width, height), scale = min(1, 1024 / side);
  const sheet = new OffscreenCanvas(width * scale, height * scale), page = sheet.getContext("2d");
  page.fillStyle = "#fff";
  page.fillRect(0, 0, width, height);
  page.drawImage(source, 0, 0, sheet.width, sheet.height);
  const cut = [(width - side) / 2, (height - side) / 2, side, side].map(one => one * scale);
  view.drawImage(sheet, ...cut, 0, 0, pad.width, pad.height);
  classify(prepare(page.getImageData(0, 0, sheet.width, sheet.height)));
}

async function open(image) {
  try {
    const bitmap = await createImageBitmap(image, { colorSpaceConversion: "none" });
    hint.textContent = "";
    look(bitmap, bitmap.width, bitmap.height);
  } catch {
    hint.textContent = "Cannot read " + image.name;
  }
}

// What happens to an image that is chosen, pasted or dropped.
function opening(start) {
  const take = ({ files }) => files.length && start(files[0]);
  file.onchange = () => take(file);
  document.onpaste = event => take(event.clipboardData);
  ondragover = ondrop = event => {
    event.preventDefault();
    take(event.dataTransfer);
  };
}
