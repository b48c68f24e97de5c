"""How a page of `export --format html` does on scripted drawings: a copy of it that draws by itself, in any browser.

    python -m benchmarks.page TICKET DATA_DIR [--digits 100] [--output drawings.html]

DATA_DIR holds MNIST. Of the first test images, as many of each digit, the middle lines are found by thinning (Zhang and
Suen 1984) and traced to strokes. Each digit gets a random size, a fifth of the pad to nearly all of it, and a random
place. Opened in a browser, the page draws them on its pad by pointer events, one after the other, and ends with a line:
how many it has recognised; how many when it gets the pad as an image file, which it does not centre; the milliseconds
from the start of loading until it could answer; and the median of those that the last event of a stroke takes, with
everything that it causes.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

import slt_compress
from slt_compress.pipeline.images import images_for
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket

Point = tuple[float, float]  # across and down
Bits = npt.NDArray[np.bool_]

DRAW = """
<script type=module>
const CASES = $cases, pad = document.getElementById("pad"), answer = document.getElementById("answer");
const fire = (type, [x, y]) => {
  const box = pad.getBoundingClientRect(), at = { clientX: box.x + x * box.width, clientY: box.y + y * box.height };
  pad.dispatchEvent(new PointerEvent(type, { ...at, pointerId: 1, bubbles: true }));
};
while (!document.body.dataset.ready) await new Promise(requestAnimationFrame);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const wrong = [], times = [];
let uncentred = 0;
for (const { name, strokes } of CASES) {
  document.getElementById("button").click();
  for (const stroke of strokes) {
    fire("pointerdown", stroke[0]);
    for (const point of stroke.slice(1, -1)) fire("pointermove", point);
    const start = performance.now();
    fire("pointermove", stroke.at(-1));
    await null; // the bars follow in a microtask
    times.push(performance.now() - start);
    fire("pointerup", stroke.at(-1));
  }
  if (answer.textContent !== name) wrong.push(name + " as " + answer.textContent);
  const drawn = await new Promise((done) => pad.toBlob(done)), held = new DataTransfer();
  held.items.add(new File([drawn], "drawn.png"));
  document.getElementById("file").files = held.files;
  document.getElementById("file").dispatchEvent(new Event("change"));
  await pause(100);
  uncentred += answer.textContent === name;
}
times.sort((a, b) => a - b);
const ready = Math.round(document.body.dataset.ready);
const line = `${CASES.length - wrong.length} of ${CASES.length} right, ${uncentred} as files, ready after ${ready} ms,`
  + ` ${times[times.length >> 1].toFixed(1)} ms a drawing; wrong: ${wrong.join(", ") || "none"}`;
document.body.append(line);
document.body.dataset.result = line;
</script>
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ticket", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--digits", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("drawings.html"))
    given = parser.parse_args()
    ticket = Ticket.load(given.ticket)
    written = slt_compress.export(ticket, given.output, format="html")
    cases = drawings(ticket, given.data, given.digits)
    page = written.file.read_text("utf-8") + DRAW.replace("$cases", json.dumps(cases))
    given.output.write_text(page, "utf-8")
    print(f"{written.bytes:,} bytes, module {written.module_bytes:,}; open {given.output} in a browser")


def drawings(ticket: Ticket, data: Path, count: int) -> list[dict[str, object]]:
    """Return digits of the test split as strokes of random size and place, in shares of the pad."""
    draw = random.Random(0)
    record = NetworkRecord.of(ticket)
    split = images_for(record, "mnist", data)
    images, labels = next(iter(split.batches(20 * count)))
    chosen: list[dict[str, object]] = []
    for digit in range(10):
        for index in (labels == digit).nonzero().flatten()[: count // 10].tolist():
            strokes = traced(thinned(enlarged(images[index])))
            points = np.array([point for stroke in strokes for point in stroke])
            low, extent = points.min(0), max(np.ptp(points, 0).max(), 1)
            side = draw.uniform(0.2, 0.85)
            place = [draw.uniform(0.06, 0.94 - side * span / extent) for span in np.ptp(points, 0)]
            moved = [
                [[place[axis] + side * (point[axis] - low[axis]) / extent for axis in (0, 1)] for point in stroke]
                for stroke in strokes
            ]
            chosen.append({"name": record.classes[digit], "strokes": moved})
    draw.shuffle(chosen)
    return chosen


def enlarged(image: torch.Tensor) -> Bits:
    """Return the shape in an image (1, size, size), four times as large: loops of a pixel or two stay open."""
    bits: Bits = F.interpolate(image[None].float(), scale_factor=4, mode="bicubic")[0, 0].numpy() > 128
    return bits


def thinned(image: Bits) -> Bits:
    """Return the middle lines of a shape, one pixel wide."""
    image = np.pad(image, 1)
    changed = True
    while changed:
        changed = False
        for step in (0, 1):
            around = [np.roll(image, shift, (0, 1)) for shift in _AROUND]  # from above, clockwise
            count = sum(one.astype(int) for one in around)
            turns = sum((~a & b).astype(int) for a, b in zip(around, [*around[1:], around[0]], strict=True))
            up, right, down, left = around[::2]
            free = (
                ~(up & right & down) & ~(right & down & left)
                if step == 0
                else ~(up & right & left) & ~(up & down & left)
            )
            gone = image & (count >= 2) & (count <= 6) & (turns == 1) & free
            changed |= bool(gone.any())
            image = image & ~gone
    return image[1:-1, 1:-1]


_AROUND = [(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)]  # rolls that bring neighbours here


def traced(image: Bits) -> list[list[Point]]:
    """Return the lines of a thinned image as strokes of every fourth point; ends first, straight on where they meet."""
    left = {(int(x), int(y)) for y, x in zip(*np.nonzero(image), strict=True)}
    everything, strokes = set(left), []
    near = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)]

    def beside(point: tuple[int, int], among: set[tuple[int, int]]) -> list[tuple[int, int]]:
        return [place for dx, dy in near if (place := (point[0] + dx, point[1] + dy)) in among]

    while left:
        start = min(left, key=lambda point: (len(beside(point, left)), point))
        left.remove(start)
        joint = beside(start, everything - left - {start})[:1]  # where it met an earlier stroke
        stroke = [*joint, start]
        while options := beside(stroke[-1], left):
            way = (stroke[-1][0] - stroke[-2][0], stroke[-1][1] - stroke[-2][1]) if len(stroke) > 1 else (0, 1)
            here = stroke[-1]
            stroke.append(max(options, key=lambda place: (place[0] - here[0]) * way[0] + (place[1] - here[1]) * way[1]))
            left.remove(stroke[-1])
        strokes.append([(float(x), float(y)) for x, y in [*stroke[:-1:4], stroke[-1]]])
    return strokes


if __name__ == "__main__":
    main()
