// Comforts; every page works without them.
"use strict";

for (const form of document.querySelectorAll("form[data-submits]")) {
  form.addEventListener("change", (event) => {
    if (event.target.tagName === "SELECT") form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {  // as the browser would, without what is empty
    event.preventDefault();
    const target = new URL(form.action);
    target.search = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    location.assign(target);
  });
}

const file = document.getElementById("file");
if (file) {
  file.addEventListener("error", () => {
    document.getElementById("cannot-play").hidden = false;
    file.hidden = true;
  });
}

// Nobody who follows a link, or has pressed on one, is held up: to load the page anew would cancel that.
let leaving = false;
let pressing = false;
addEventListener("beforeunload", () => { leaving = true; });
for (const kind of ["pointerdown", "pointerup", "pointercancel"]) {
  addEventListener(kind, (event) => { pressing = kind === "pointerdown" && event.target.closest("a, button") !== null; });
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
  if (waiting || pressing) setTimeout(look, 700);
  else if (!leaving) location.reload();
}
if (awaited.length) {
  setTimeout(look, 500);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}
