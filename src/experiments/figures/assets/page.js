"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  // The reader's choices survive a reload; groups are stored by name, because new groups may be added.
  const storageKey = "comparison:" + location.pathname;
  const state = { off: [], sorted: {} };
  try { Object.assign(state, JSON.parse(sessionStorage.getItem(storageKey) || "{}")); } catch { /* start afresh */ }
  const keep = () => {
    try { sessionStorage.setItem(storageKey, JSON.stringify(state)); } catch { /* the browser stores nothing here */ }
  };

  // Light or dark: the system's setting until the button is pressed.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = byId("theme");
  const current = () => state.theme || (dark.matches ? "dark" : "light");
  const paint = () => {
    if (state.theme) root.dataset.theme = state.theme;
    theme.textContent = current() === "dark" ? "Light" : "Dark";
  };
  theme.hidden = false;
  theme.addEventListener("click", () => { state.theme = current() === "dark" ? "light" : "dark"; keep(); paint(); });
  dark.addEventListener("change", paint);
  paint();

  // Tables: numbers before texts, and missing values last, in both directions.
  const value = (row, column) => {
    const { number, text } = row.cells[column].dataset;
    return number !== undefined ? Number(number) : text;
  };
  const compared = (a, b) => {
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return typeof a === "number" ? (a > b) - (a < b) : a.localeCompare(b, undefined, { numeric: true });
  };
  const sort = (table, column, direction) => {
    const sign = direction === "ascending" ? 1 : -1;
    const keyed = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * compared(a, b);
    });
    table.tBodies[0].append(...keyed.map(([, row]) => row));
    for (const header of table.tHead.rows[0].cells) header.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  };
  document.querySelectorAll("table").forEach((table) => {
    const name = table.closest("section").id;
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
      const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      sort(table, column, direction);
      state.sorted[name] = [column, direction];
      keep();
    }));
    const [column, direction] = state.sorted[name] || [];
    if (column < headers.length) sort(table, column, direction);
  });

  const chart = byId("chart");
  if (chart) curves();

  function curves() {
    const metric = byId("metric"), axis = byId("axis"), log = byId("log");
    const switches = [...document.querySelectorAll(".group")].map((label) => label.querySelector("input"));
    const family = getComputedStyle(document.body).fontFamily;
    let lit = null;

    // Plotly interprets a few tags in its texts; a name must be shown literally.
    const literal = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
    const label = (name) => literal(Object.hasOwn(data.labels, name) ? data.labels[name] : name);
    const shown = (number) => (number === null || number === undefined ? "–" : String(Number(number.toPrecision(4))));

    const hover = (line, i) => {
      const interval = line.low[i] === null || line.high[i] === null ? "" : ` [${shown(line.low[i])}, ${shown(line.high[i])}]`;
      return `<b>${literal(data.groups[line.group].name)}</b><br>${label(axis.value)}: ${shown(line.x[axis.value][i])}`
        + `<br>${label(metric.value)}: ${shown(line.mean[i])}${interval}<br>n = ${line.n[i]}`;
    };

    // A polygon around each sequence of points with an interval, and null between two polygons.
    const outline = (line, floor) => {
      const x = [], y = [];
      let stretch = [];
      const close = () => {
        const back = [...stretch].reverse();
        if (stretch.length > 1) {
          x.push(...stretch.map((i) => line.x[axis.value][i]), ...back.map((i) => line.x[axis.value][i]), null);
          y.push(...stretch.map((i) => line.high[i]), ...back.map((i) => Math.max(line.low[i], floor)), null);
        }
        stretch = [];
      };
      line.x[axis.value].forEach((at, i) => {
        const whole = at !== null && line.low[i] !== null && line.high[i] !== null && line.high[i] > floor;
        if (whole) stretch.push(i); else close();
      });
      close();
      return { x, y };
    };

    const traces = (lines) => {
      const values = lines.flatMap((line) => [...line.mean, ...line.low]).filter((each) => each > 0);
      const floor = log.checked ? values.reduce((a, b) => Math.min(a, b), Infinity) : -Infinity;
      const faded = (line) => lit !== null && lit !== line.group;
      const bands = lines.map((line) => ({
        ...outline(line, floor), meta: line.group, mode: "lines", line: { width: 0 }, fill: "toself",
        fillcolor: data.groups[line.group].color, opacity: faded(line) ? 0.03 : 0.2, hoverinfo: "skip",
      }));
      const means = lines.map((line) => {
        const { color, dash } = data.groups[line.group];
        const single = line.mean.filter((each) => each !== null).length === 1;
        return {
          x: line.x[axis.value], y: line.mean, meta: line.group, mode: single ? "markers" : "lines",
          line: { color, dash, width: lit === line.group ? 4 : 2.4 }, marker: { color, size: 8 },
          opacity: faded(line) ? 0.15 : 1,
          hovertext: line.mean.map((_, i) => hover(line, i)), hoverinfo: "text", hoverlabel: { bordercolor: color },
        };
      });
      return [...bands, ...means];
    };

    const layout = () => ({
      margin: { l: 64, r: 12, t: 28, b: 52 }, hovermode: "closest", showlegend: false, autosize: true,
      font: { family, size: 13, color: "#1b1f24" },
      hoverlabel: { align: "left", bgcolor: "#ffffff", font: { family, size: 13, color: "#1b1f24" } },
      xaxis: { title: { text: label(axis.value) }, zeroline: false, showline: true, gridcolor: "#d9dde2", rangemode: "tozero" },
      yaxis: {
        title: { text: label(metric.value) }, zeroline: false, showline: true, gridcolor: "#d9dde2",
        type: log.checked ? "log" : "linear", exponentformat: "power",
      },
      uirevision: [metric.value, axis.value, log.checked].join("\n"),
    });
    const config = {
      displaylogo: false, responsive: true, modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
    };

    const draw = () => {
      const lines = data.lines.filter((line) =>
        line.metric === metric.value && line.x[axis.value] && switches[line.group].checked);
      byId("nothing").textContent = lines.length ? "" : switches.some((each) => each.checked)
        ? "There is no data for this metric and axis." : "All groups are switched off.";
      return Plotly.react(chart, traces(lines), layout(), config);
    };
    const chosen = () => {
      state.metric = metric.value;
      state.axis = axis.value;
      state.log = log.checked;
      state.off = data.groups.map((group) => group.name).filter((_, i) => !switches[i].checked);
      keep();
      draw();
    };
    const light = (group) => { if (lit !== group) { lit = group; draw(); } };

    for (const select of [metric, axis]) {
      if ([...select.options].some((option) => option.value === state[select.id])) select.value = state[select.id];
      select.addEventListener("change", chosen);
    }
    log.checked = Boolean(state.log);
    log.addEventListener("change", chosen);
    switches.forEach((each, group) => {
      each.checked = !state.off.includes(data.groups[group].name);
      each.addEventListener("change", chosen);
      const around = each.closest("label");
      around.addEventListener("mouseenter", () => light(each.checked ? group : null));
      around.addEventListener("mouseleave", () => light(null));
      each.addEventListener("focus", () => light(each.matches(":focus-visible") && each.checked ? group : null));
      each.addEventListener("blur", () => light(null));
    });
    const switchAll = (on) => { switches.forEach((each) => { each.checked = on; }); lit = null; chosen(); };
    byId("all").addEventListener("click", () => switchAll(true));
    byId("none").addEventListener("click", () => switchAll(false));

    addEventListener("beforeprint", () => Plotly.relayout(chart, { autosize: false, width: 660, height: 400 }));
    addEventListener("afterprint", () => Plotly.relayout(chart, { autosize: true, width: null, height: null }));
    draw();
  }

  // While runs are in progress, the page reloads itself and keeps its scroll position.
  const reload = byId("reload");
  if (reload) {
    let waiting;
    const wait = () => {
      clearTimeout(waiting);
      if (reload.checked) waiting = setTimeout(() => location.reload(), 1000 * data.refresh);
    };
    byId("reloading").hidden = false;
    reload.checked = !state.paused;
    reload.addEventListener("change", () => { state.paused = !reload.checked; keep(); wait(); });
    wait();
    history.scrollRestoration = "manual";
    scrollTo(0, state.scroll || 0);
    addEventListener("pagehide", () => { state.scroll = scrollY; keep(); });
  }
})();
