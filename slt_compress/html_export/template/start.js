
// The module is compressed. It is asked whether it computes here what it should, before it answers.
try {
  const packed = Uint8Array.from(atob(NET.module), letter => letter.charCodeAt());
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const { instance: { exports } } = await WebAssembly.instantiate(await new Response(plain).arrayBuffer());
  if (exports.slt_selftest()) throw Error("wrong outputs");
  net = exports;
  document.body.dataset.ready = performance.now();
} catch (error) {
  hint.textContent = "It does not run: " + error.message;
}
