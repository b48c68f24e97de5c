// The runtime and the network lie beside this page. They work in a thread of their own: the page never waits for them.
const LOADING = "Loading the network …";
let compute, session, turn = 0, cleared = 0;

// What this network makes of some pixels -> a promise of its outputs.
async function outputs(Tensor, pixels) {
  const images = new Tensor("uint8", Uint8Array.from(pixels), [1, size, size, channels]);
  const found = await session.run({ [session.inputNames[0]]: images });
  return [...found[session.outputNames[0]].data];
}

// The generator's mixer: the images of the self-test are made of it.
function mixed(x) {
  x = Math.imul(x ^ x >>> 16, 0x21f0aaad);
  x = Math.imul(x ^ x >>> 15, 0x735a2d97);
  return (x ^ x >>> 15) >>> 0;
}

async function load() {
  if (location.protocol === "file:") throw Error("a page from a file can load no network. Serve its folder: python -m http.server");
  const { env, InferenceSession, Tensor } = await import(NET.runtime);
  env.wasm.numThreads = 1;
  env.wasm.proxy = true;
  const answer = await fetch(NET.model);
  if (!answer.ok) throw Error(NET.model + ": " + answer.status);
  const content = new Uint8Array(await answer.arrayBuffer()), start = performance.now();
  session = await InferenceSession.create(content);
  document.body.dataset.session = performance.now() - start;
  // It is asked whether it computes here what it should, before it answers.
  let word = NET.seed;
  for (const wanted of NET.probes) {
    const found = await outputs(Tensor, Array.from({ length: size * size * channels }, () => mixed(word++) >>> 24));
    const at = i => found[floor(i * found.length / wanted.length)];
    if (!wanted.every((value, i) => Math.abs(at(i) - value) <= NET.limit)) throw Error("wrong outputs");
  }
  compute = pixels => outputs(Tensor, pixels);
  if (hint.textContent === LOADING) hint.textContent = "";
  document.body.dataset.ready = performance.now();
}

function failed(error) {
  hint.textContent = "It does not run: " + error.message;
}

hint.textContent ||= LOADING;
let free = load().catch(failed);

// One image at a time: those that come meanwhile wait, and only the last of them is looked at.
net = async pixels => {
  const mine = ++turn;
  await free;
  if (!compute || mine < turn || mine <= cleared) return;
  const found = compute(pixels).catch(failed);
  free = found;
  const answer = await found;
  if (mine > cleared) return answer;
};
// Nothing is shown any more of what was drawn before the pad was cleared, or filmed before the camera was stopped.
button.addEventListener("click", () => cleared = turn);
