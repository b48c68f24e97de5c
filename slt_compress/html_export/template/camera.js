
// The camera, where the browser lets this page have one: not from everywhere, and never without asking.
const video = document.createElement("video");
let timer;

function stop() {
  clearInterval(timer);
  timer = 0;
  video.srcObject?.getTracks().forEach(track => track.stop());
  button.textContent = "Camera";
}

async function film() {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    video.muted = video.playsInline = true;
    await video.play();
    timer = setInterval(() => look(video, video.videoWidth, video.videoHeight), 150);
    button.textContent = "Stop camera";
    hint.textContent = "";
  } catch (error) {
    hint.textContent = "No camera: " + error.message;
  }
}

button.onclick = () => timer ? stop() : film();
if (!isSecureContext || !navigator.mediaDevices) {
  button.hidden = true;
  hint.textContent = "For the camera, open this page from https or localhost.";
}
opening(image => {
  stop();
  open(image);
});
show();
