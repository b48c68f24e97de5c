
// The module is compressed. It is asked whether it computes here what it should, before it answers.
try {
  const packed = Uint8Array.from(atob(NET.module), letter => letter.charCodeAt());
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const { instance: { exports } } = await WebAssembly.instantiate(await new Response(plain).arrayBuffer());
  const { memory, slt_in, slt_out, slt_page, slt_selftest } = exports;
  if (slt_selftest()) throw Error("wrong outputs");
  net = pixels => {
    new Uint8Array(memory.buffer, slt_in.value).set(pixels);
    slt_page();
    return [...new Float32Array(memory.buffer, slt_out.value, classes.length)];
  };
  document.body.dataset.ready = performance.now();
} catch (error) {
  hint.textContent = "It does not run: " + error.message;
}
