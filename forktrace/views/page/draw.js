// Draws every plot in the colours of the theme that is on, and again when it changes.
"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const settings = {
    responsive: true,
    displaylogo: false,
    // None that would send anything anywhere.
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  // Put a value where a path such as "marker.colors" leads.
  function put(target, path, value) {
    const keys = path.split(".");
    const last = keys.pop();
    for (const key of keys) target = target[key] ??= {};
    target[last] = value;
  }

  // Some plots hold the same twice, as by trigger and by process.
  const choices = [...document.querySelectorAll(".choice input")];
  const chosen = (what) => choices.some((each) => each.checked && each.value === what);

  function draw() {
    const theme = dark.matches ? "dark" : "light";
    for (const [name, plot] of Object.entries(plots)) {
      const { data, layout, themes } = structuredClone(plot);
      const own = themes[theme];
      for (const [path, value] of Object.entries(own.layout)) put(layout, path, value);
      for (const [index, paths] of Object.entries(own.data)) {
        for (const [path, value] of Object.entries(paths)) put(data[index], path, value);
      }
      for (const trace of data) trace.visible = !trace.meta || chosen(trace.meta);
      const axes = data[0].type !== "icicle";
      Plotly.react(name, data, layout, { ...settings, displayModeBar: axes });
    }
    document.documentElement.dataset.drawn = theme;
  }

  for (const choice of choices) choice.addEventListener("change", draw);
  dark.addEventListener("change", draw);
  draw();
})();
