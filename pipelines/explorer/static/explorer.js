// Comforts; every page works without them.
"use strict";

for (const form of document.querySelectorAll("form[data-submits]")) {
  form.addEventListener("change", (event) => {
    if (event.target.tagName === "SELECT") form.requestSubmit();
  });
}

const file = document.getElementById("file");
if (file) {
  file.addEventListener("error", () => {
    document.getElementById("cannot-play").hidden = false;
    file.hidden = true;
  });
}

// What the page waits for: shown as it goes on, and the page anew when all of it is there.
const awaited = [...document.querySelectorAll("[data-await]")];
async function look() {
  const answer = await fetch("/progress.json");
  const tasks = new Map((await answer.json()).tasks.map((task) => [task.title, task]));
  let waiting = false;
  for (const element of awaited) {
    const task = tasks.get(element.dataset.await);
    if (!task) continue;
    element.querySelector("progress").value = task.percent;
    element.querySelector("output").textContent = task.percent;
    waiting ||= !task.finished;
  }
  if (waiting) setTimeout(look, 700);
  else location.reload();
}
if (awaited.length) setTimeout(look, 500);
