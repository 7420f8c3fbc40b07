"use strict";

// Figures take colours from the page's style sheet when they are painted: paint them again when these change.
(() => {
  const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();

  const paint = () => {
    for (const view of [...Bokeh.index.all_views()]) {
      if (view.model.name === "ink" && view.model.glyph) {
        view.model.glyph.text_color = { value: ink() };
      }
    }
    for (const view of [...Bokeh.index.all_views()]) {
      if (typeof view.invalidate_painters === "function" && typeof view.repaint === "function") {
        view.invalidate_painters();
        view.repaint(); // at once: a printer does not wait
      }
    }
  };

  const folded = [];
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  window.addEventListener("beforeprint", () => {
    folded.push(...document.querySelectorAll("details:not([open])"));
    folded.forEach((details) => { details.open = true; });
    paint();
  });
  window.addEventListener("afterprint", () => {
    folded.splice(0).forEach((details) => { details.open = false; });
    paint();
  });

  const whenDrawn = () => {
    const { documents } = Bokeh;
    const drawn = documents.length > 0 && documents.every((one) => one.is_idle);
    setTimeout(drawn ? paint : whenDrawn, 30);
  };
  document.addEventListener("DOMContentLoaded", whenDrawn);
})();
