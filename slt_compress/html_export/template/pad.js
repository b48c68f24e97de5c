
// Drawings: lines in shares of the pad. The network gets them as the data has its digits: of one size, with one pen,
// and in the middle, wherever and however large they were drawn.
const [ink, ground] = NET.dark ? ["#000", "#fff"] : ["#fff", "#000"];
let lines = [], pointer = -1;

function draw(on, scale, [x, y], pen) {
  on.fillStyle = ground;
  on.fillRect(0, 0, pad.width, pad.width);
  on.strokeStyle = ink;
  on.lineWidth = pen;
  on.lineCap = on.lineJoin = "round";
  for (const line of lines) {
    on.beginPath();
    // The first point is moved a little, so that a dot has a length.
    line.forEach((point, i) => on.lineTo(point[0] * scale + x + (i ? 0 : .01), point[1] * scale + y));
    on.stroke();
  }
}

function drawn() {
  const ranges = [0, 1].map(axis => {
    const values = lines.flat().map(point => point[axis]);
    return [min(...values), max(...values)];
  });
  const scale = (size * NET.fit - NET.pen) / max(...ranges.map(([low, high]) => high - low), .05);
  const move = ranges.map(([low, high]) => (size - scale * (low + high)) / 2);
  let pixels;
  for (let round = 0; round < 2; round++) {
    draw(seen, scale, move, NET.pen);
    pixels = seen.getImageData(0, 0, size, size).data.filter((_, i) => i % 4 < 1);
    if (!NET.mass) break;
    let sum = 0, across = 0, down = 0;
    pixels.forEach((value, i) => {
      sum += (value = NET.dark ? 255 - value : value);
      across += value * (size / 2 - i % size - .5);
      down += value * (size / 2 - (i / size | 0) - .5);
    });
    move[0] += across / sum;
    move[1] += down / sum;
  }
  return pixels;
}

function refresh() {
  draw(view, pad.width, [0, 0], 32);
  if (lines.length) classify(drawn());
}

function clear() {
  lines = [];
  seen.clearRect(0, 0, size, size);
  refresh();
  show();
}

function extend(event) {
  const box = pad.getBoundingClientRect();
  lines.at(-1).push([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
  refresh();
}

pad.onpointerdown = event => {
  if (event.button || pointer >= 0) return;
  pointer = event.pointerId;
  lines.push([]);
  extend(event);
};
// Else a line that leaves the pad would select text.
pad.onmousedown = () => false;
onpointermove = event => event.pointerId === pointer && extend(event);
onpointerup = onpointercancel = event => {
  if (event.pointerId === pointer) pointer = -1;
};
button.onclick = clear;
opening(image => {
  lines = [];
  open(image);
});
clear();
