"""A graph under onnxruntime-web, run by Node.js: the very files that a page will use, in a process of their own.

The process makes a session, and then turns one image after the other into outputs, until its input ends.

Left out: browsers. There, the page itself compares what it computes with what it should.
"""

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import torch

from slt_compress.errors import VerificationError
from slt_compress.web_export.runtime import BINARY, SCRIPT, Runtime

_SECONDS = 600  # that a session, or a batch, may take

# The first session, of nothing, fails; what it takes is the start of the runtime. A browser's page sees no more of the
# memory than this does: its pages are counted when it is made.
_DRIVER = """
import { readFileSync } from "node:fs";
const [script, binary, model, bytes] = process.argv.slice(2), memories = [], Memory = WebAssembly.Memory;
WebAssembly.Memory = class extends Memory {
  constructor(options) { super(options); memories.push(this); }
};
try {
  const { env, InferenceSession, Tensor } = await import(script);
  Object.assign(env.wasm, { numThreads: 1, wasmBinary: readFileSync(binary) });
  env.logLevel = "fatal";
  await InferenceSession.create(new Uint8Array(1)).catch(() => {});
  const content = readFileSync(model), start = performance.now();
  const session = await InferenceSession.create(content);
  const ms = performance.now() - start, heap = Math.max(0, ...memories.map(one => one.buffer.byteLength));
  process.stdout.write(JSON.stringify({ ms, heap }) + "\\n");
  const [input] = session.inputNames, [output] = session.outputNames, image = Buffer.alloc(+bytes);
  const shape = session.inputMetadata[0].shape.slice(1);
  let filled = 0;
  for await (const chunk of process.stdin)
    for (let at = 0; at < chunk.length;) {
      const taken = chunk.copy(image, filled, at);
      at += taken;
      filled += taken;
      if (filled < image.length) continue;
      filled = 0;
      const found = await session.run({ [input]: new Tensor("uint8", Uint8Array.from(image), [1, ...shape]) });
      const { data } = found[output];
      process.stdout.write(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    }
} catch (error) {
  console.error("reason: " + String(error?.message ?? error).split("\\n")[0]);
  process.exit(1);
}
"""


@dataclass(frozen=True)
class Session:
    """A graph that waits for images.

    Attributes:
        process: that runs it.
        version: of onnxruntime-web.
        log: what the process says of errors.
        outputs: of the graph for each image.
        milliseconds: it took to make the session, without the start of the runtime.
        heap_bytes: of the runtime's memory after that.
    """

    process: "subprocess.Popen[bytes]"
    version: str
    log: Path
    outputs: int
    milliseconds: float
    heap_bytes: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs, float32 (n, outputs), for pixels, uint8 (n, size, size, channels).

        Raises VerificationError if the runtime fails.
        """
        found: npt.NDArray[np.float32] = np.empty((len(images), self.outputs), np.float32)
        with _watched(self.process):
            for index, image in enumerate(images.numpy()):
                _send(self.process, image.tobytes())
                assert self.process.stdout
                answer = self.process.stdout.read(4 * self.outputs)
                if len(answer) < 4 * self.outputs:
                    raise _failure(self.process, self.version, self.log)
                found[index] = np.frombuffer(answer, np.float32)
        return torch.from_numpy(found)


@contextlib.contextmanager
def session(node: str, runtime: Runtime, model: Path, image_bytes: int, outputs: int) -> Iterator[Session]:
    """Give a graph that takes pixels, `image_bytes` for each image, and gives `outputs` numbers.

    `node` is the path of Node.js. What is needed on the way is put beside the graph. Raises VerificationError if
    onnxruntime-web does not take the graph.
    """
    folder = model.parent.resolve()
    for name, content in runtime.files.items():
        (folder / name).write_bytes(content)
    (folder / "run.mjs").write_text(_DRIVER)
    log = folder / "run.log"
    names = (f"./{SCRIPT}", BINARY, model.name, str(image_bytes))
    with log.open("wb") as errors:
        try:
            process = subprocess.Popen(
                [node, "run.mjs", *names],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=-1,
            )
        except OSError as error:
            raise VerificationError(f"cannot run {node}: {error}") from error
    try:
        with _watched(process):
            line = _line(process)
        if not line:
            raise _failure(process, runtime.version, log)
        found = json.loads(line)
        yield Session(process, runtime.version, log, outputs, found["ms"], found["heap"])
    finally:
        process.kill()
        process.communicate()


def _line(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout
    return process.stdout.readline()


def _send(process: "subprocess.Popen[bytes]", content: bytes) -> None:
    stream: IO[bytes] | None = process.stdin
    assert stream
    with contextlib.suppress(BrokenPipeError):  # its answer will be missing
        stream.write(content)
        stream.flush()


@contextlib.contextmanager
def _watched(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End a process that takes too long: nothing can be read of it then."""
    timer = threading.Timer(_SECONDS, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _failure(process: "subprocess.Popen[bytes]", version: str, log: Path) -> VerificationError:
    code = process.wait()
    lines = log.read_text("utf-8", "replace").splitlines()
    reason = next(
        (line.removeprefix("reason: ") for line in lines if line.startswith("reason: ")), f"it ended with {code}"
    )
    return VerificationError(f"onnxruntime-web {version} does not run the graph: {reason}: nothing was written")
