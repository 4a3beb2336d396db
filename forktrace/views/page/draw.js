// Draws every plot in the colours of the theme that is on, and again when it changes.
"use strict";
(async () => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const telephone = window.matchMedia("(max-width: 560px)");
  const settings = {
    responsive: true,
    displaylogo: false,
    // None that would send anything anywhere.
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  // Plotly is compressed in the page: it is most of it.
  async function unpack(id) {
    const packed = atob(document.getElementById(id).textContent);
    const bytes = new Uint8Array(packed.length);
    for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
    const stream = new Blob([bytes]).stream();
    return new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text();
  }

  function run(code) {
    const script = document.createElement("script");
    script.textContent = code;
    document.head.append(script);
  }

  // Put a value where a path such as "marker.colors" leads.
  function put(target, path, value) {
    const keys = path.split(".");
    const last = keys.pop();
    for (const key of keys) target = target[key] = target[key] || {};
    target[last] = value;
  }

  // Some plots hold the same twice, as by trigger and by process.
  const choices = [...document.querySelectorAll(".choice input")];
  const chosen = (what) => choices.some((each) => each.checked && each.value === what);

  function draw() {
    const theme = dark.matches ? "dark" : "light";
    for (const [name, plot] of Object.entries(plots)) {
      const { data, layout, themes, narrow } = JSON.parse(JSON.stringify(plot));
      for (const own of telephone.matches ? [themes[theme], narrow] : [themes[theme]]) {
        for (const [path, value] of Object.entries(own.layout)) put(layout, path, value);
        for (const [index, paths] of Object.entries(own.data)) {
          for (const [path, value] of Object.entries(paths)) put(data[index], path, value);
        }
      }
      for (const trace of data) trace.visible = !trace.meta || chosen(trace.meta);
      const bar = data[0].type !== "icicle" && !telephone.matches;
      Plotly.react(name, data, layout, { ...settings, displayModeBar: bar });
    }
    document.documentElement.dataset.drawn = theme;
  }

  run(await unpack("plotly"));
  for (const name of Object.keys(plots)) document.getElementById(name).textContent = "";
  for (const choice of choices) choice.addEventListener("change", draw);
  for (const media of [dark, telephone]) media.addEventListener("change", draw);
  draw();
})();
