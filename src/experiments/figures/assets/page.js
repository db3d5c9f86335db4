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
  let painted = () => {};  // what is drawn in the colours of the theme is drawn again
  const current = () => state.theme || (dark.matches ? "dark" : "light");
  const paint = () => {
    if (state.theme) root.dataset.theme = state.theme;
    theme.textContent = current() === "dark" ? "Light" : "Dark";
    painted();
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

  // A table or figure that is wider than the page says that it scrolls.
  const scrolling = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    const region = target.closest(".wide");
    region.nextElementSibling.hidden = region.scrollWidth <= region.clientWidth + 1;
  }));
  document.querySelectorAll(".wide > table").forEach((table) => {
    scrolling.observe(table);
    scrolling.observe(table.parentElement);
  });
  document.querySelectorAll(".enlarge").forEach((button) => button.addEventListener("click", () => {
    const whole = button.previousElementSibling.classList.toggle("enlarged");
    button.textContent = whole ? "Show the whole figure" : "Enlarge";
  }));

  const chart = byId("chart");
  if (chart) curves();

  function curves() {
    const metric = byId("metric"), axis = byId("axis"), log = byId("log"), hover = byId("hover");
    const labels = [...document.querySelectorAll(".group")];
    const switches = labels.map((label) => label.querySelector("input"));
    const family = getComputedStyle(document.body).fontFamily;
    const near = 30;  // pixels between the pointer and a point
    let lit = null, plot = null, lines = [], zoom = null, pointed = null;

    const label = (name) => (Object.hasOwn(data.labels, name) ? data.labels[name] : name);
    const shown = (number) => {
      if (number === null || number === undefined) return "–";
      const size = Math.abs(number);
      return size !== 0 && (size < 1e-3 || size >= 1e6)
        ? number.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e") : String(Number(number.toPrecision(4)));
    };
    // The samples in the legend have the colours of the present theme.
    const colors = () => labels.map((each) => getComputedStyle(each.querySelector("line")).stroke);
    const usable = (value) => value !== null && value !== undefined && (!log.checked || value > 0);

    // Axes begin where the data begin; the vertical one has a little room, but not beyond what is possible.
    const xs = () => lines.flatMap((line) => line.x[axis.value]).filter((x) => x !== null);
    const ends = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    const xRange = () => {
      const [low, high] = zoom || ends(xs());
      return low < high ? [low, high] : Number.isFinite(low) ? [low - 0.5, low + 0.5] : [0, 1];
    };
    const yRange = () => {
      const [from, to] = xRange();
      const values = lines.flatMap((line) => {
        const x = line.x[axis.value];
        return line.mean.flatMap((mean, i) => {
          const inside = x[i] >= from && x[i] <= to ? [mean, line.low[i], line.high[i]].filter(usable) : [];
          const next = line.mean[i + 1];
          if (!usable(mean) || !usable(next)) return inside;
          // A line may enter or leave the part that is enlarged between two points.
          const edges = [from, to].filter((edge) => (x[i] - edge) * (x[i + 1] - edge) < 0);
          return [...inside, ...edges.map((edge) => mean + (next - mean) * (edge - x[i]) / (x[i + 1] - x[i]))];
        });
      });
      if (!values.length) return log.checked ? [0.1, 1] : [0, 1];
      const means = lines.flatMap((line) => line.mean).filter(usable);
      let [low, high] = ends(values);
      if (log.checked) return low < high ? [low / 1.05, high * 1.05] : [low / 2, high * 2];
      const room = low < high ? 0.04 * (high - low) : Math.abs(low) / 2 || 0.5;
      const [least, most] = ends(means);
      const end = Object.hasOwn(data.ends, metric.value) ? data.ends[metric.value] : Infinity;
      low = least >= 0 ? Math.max(low - room, 0) : low - room;
      high = most <= end ? Math.min(high + room, end) : high + room;
      return [low, high];
    };
    const decades = (u, i, low, high) => {
      const size = Math.log10(high / low), ticks = [];
      const subs = size > 3 ? [1] : size > 0.8 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        for (const sub of subs) ticks.push(Number(`${sub}e${power}`));
      }
      const inside = ticks.filter((tick) => tick >= low && tick <= high);
      return inside.length > 1 ? inside : [low, high];
    };

    const painter = (u, { scale, hues, paper }) => {
      const { ctx, bbox } = u, unit = scale * uPlot.pxRatio;
      const at = (line, i, values) => [
        u.valToPos(line.x[axis.value][i], "x", true), u.valToPos(values[i], "y", true),
      ];
      const whole = (line, i, values) => line.x[axis.value][i] !== null && usable(values[i]);
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.lineJoin = "round";
      const faded = (line) => lit !== null && lit !== line.group;
      for (const line of lines) {  // the bands: a polygon around each sequence of points with an interval
        const floor = u.scales.y.min;
        const low = line.low.map((value) => (value === null ? null : Math.max(value, floor)));
        let stretch = [];
        const close = () => {
          if (stretch.length > 1) {
            ctx.beginPath();
            stretch.forEach((i) => ctx.lineTo(...at(line, i, line.high)));
            stretch.reverse().forEach((i) => ctx.lineTo(...at(line, i, low)));
            ctx.fill();
          }
          stretch = [];
        };
        ctx.globalAlpha = faded(line) ? 0.03 : 0.2;
        ctx.fillStyle = hues[line.group];
        line.mean.forEach((_, i) => {
          if (low[i] !== null && whole(line, i, line.high) && line.high[i] > floor) stretch.push(i); else close();
        });
        close();
      }
      for (const line of lines) {
        ctx.globalAlpha = faded(line) ? 0.15 : 1;
        ctx.strokeStyle = ctx.fillStyle = hues[line.group];
        ctx.lineWidth = (lit === line.group ? 4 : 2.2) * unit;
        ctx.setLineDash(data.groups[line.group].dash.map((length) => length * unit));
        ctx.beginPath();
        let pen = false, points = [];
        line.mean.forEach((_, i) => {
          const drawn = whole(line, i, line.mean);
          if (drawn) { ctx[pen ? "lineTo" : "moveTo"](...at(line, i, line.mean)); points.push(i); }
          pen = drawn;
        });
        ctx.stroke();
        ctx.setLineDash([]);
        const single = points.filter((i) => !points.includes(i - 1) && !points.includes(i + 1));
        for (const i of single) dot(ctx, at(line, i, line.mean), 4 * unit);
      }
      if (pointed !== null) {
        ctx.globalAlpha = 1;
        ctx.fillStyle = hues[pointed.line.group];
        dot(ctx, at(pointed.line, pointed.i, pointed.line.mean), 5 * unit);
        ctx.lineWidth = 1.5 * unit;
        ctx.strokeStyle = paper;
        ctx.stroke();
      }
      ctx.restore();
    };
    const dot = (ctx, [x, y], radius) => {
      ctx.beginPath();
      ctx.arc(x, y, radius, 0, 2 * Math.PI);
      ctx.fill();
    };

    // `scale` enlarges everything, for a picture that is printed smaller.
    const built = (target, width, height, scale, done) => {
      const theme = getComputedStyle(chart), ink = theme.color, rule = theme.borderTopColor;
      const look = { scale, hues: colors(), paper: theme.backgroundColor }, font = (size) => `${Math.round(size * scale)}px ${family}`;
      const side = (more) => ({
        stroke: ink, font: font(13), labelFont: font(13), labelSize: 24 * scale, gap: 5 * scale, labelGap: 0,
        grid: { stroke: rule, width: scale }, ticks: { stroke: ink, width: scale, size: 5 * scale },
        border: { show: true, stroke: ink, width: scale }, values: (_, ticks) => ticks.map(shown), ...more,
      });
      const whole = axis.value === "seconds" ? {} : {
        incrs: [1, 2, 5].flatMap((step) => Array.from({ length: 9 }, (_, power) => step * 10 ** power)).sort((a, b) => a - b),
      };
      const measure = document.createElement("canvas").getContext("2d");
      measure.font = font(13);
      const room = (u, ticks) => 14 * scale + Math.max(20, ...(ticks || []).map((text) => measure.measureText(text).width));
      return new uPlot({
        width, height, legend: { show: false }, padding: [10 * scale, 18 * scale, 0, 0],
        scales: { x: { time: false, range: xRange }, y: { range: yRange, distr: log.checked ? 3 : 1 } },
        series: [{}, { show: true, paths: () => null, points: { show: false } }],
        axes: [
          side({ label: label(axis.value), size: 30 * scale, space: 60 * scale, ...whole }),
          side({
            label: label(metric.value), size: room, space: 36 * scale,
            ...(log.checked ? { splits: decades, filter: (_, ticks) => ticks } : {}),
          }),
        ],
        cursor: {
          points: { show: false }, y: false, drag: { x: true, y: false, setScale: false },
          bind: { dblclick: () => () => { zoom = null; redraw(); } },
        },
        hooks: {
          draw: [(u) => { painter(u, look); if (done) done(u); }], setCursor: [point], setSelect: [zoomed],
        },
      }, [[0, 1], [null, null]], target);
    };

    const zoomed = (u) => {
      if (u.select.width < 8) return;
      zoom = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
      setTimeout(redraw);  // not while the library is busy with the button
    };

    // The nearest point to the pointer, in words.
    const point = (u) => {
      const { left, top } = u.cursor;
      let best = null, least = near;
      for (const line of left < 0 ? [] : lines) {
        line.mean.forEach((mean, i) => {
          if (!usable(mean) || line.x[axis.value][i] === null) return;
          const away = Math.hypot(u.valToPos(line.x[axis.value][i], "x") - left, u.valToPos(mean, "y") - top);
          if (away < least) { least = away; best = { line, i }; }
        });
      }
      const same = (best && best.line) === (pointed && pointed.line) && (best && best.i) === (pointed && pointed.i);
      if (same) return;
      pointed = best;
      hover.hidden = best === null;
      u.redraw(false, false);
      if (best === null) return;
      const { line, i } = best;
      const interval = line.low[i] === null || line.high[i] === null ? "" : ` [${shown(line.low[i])}, ${shown(line.high[i])}]`;
      const strong = document.createElement("strong");
      strong.textContent = data.groups[line.group].name;
      const rows = [
        `${label(axis.value)}: ${shown(line.x[axis.value][i])}`, `${label(metric.value)}: ${shown(line.mean[i])}${interval}`,
        `n = ${line.n[i]}`,
      ].map((text) => Object.assign(document.createElement("div"), { textContent: text }));
      hover.replaceChildren(strong, ...rows);
      hover.style.borderColor = colors()[line.group];
      const x = u.over.offsetLeft + u.valToPos(line.x[axis.value][i], "x"), y = u.over.offsetTop + u.valToPos(line.mean[i], "y");
      const { offsetWidth: width, offsetHeight: height } = hover;
      const beside = x + 14 + width <= chart.clientWidth ? x + 14 : Math.max(0, x - 14 - width);
      hover.style.left = `${Math.min(beside, Math.max(0, chart.clientWidth - width))}px`;
      hover.style.top = `${Math.max(0, Math.min(y - height / 2, chart.clientHeight - height))}px`;
    };

    const chosenLines = () => data.lines.filter((line) =>
      line.metric === metric.value && line.x[axis.value] && switches[line.group].checked);
    const redraw = () => {
      lines = chosenLines();
      pointed = null;
      if (lit !== null && !switches[lit].checked) lit = null;
      hover.hidden = true;
      byId("nothing").textContent = lines.length ? "" : switches.some((each) => each.checked)
        ? "There is no data for this metric and axis." : "All groups are switched off.";
      const count = lines.length === 1 ? "1 group" : `${lines.length} groups`;
      chart.setAttribute("aria-label", `${label(metric.value)} over ${label(axis.value)}, ${count}`);
      if (plot) plot.destroy();
      plot = built(chart, chart.clientWidth, chart.clientHeight, 1);
    };
    const chosen = () => {
      state.metric = metric.value;
      state.axis = axis.value;
      state.log = log.checked;
      state.off = data.groups.map((group) => group.name).filter((_, i) => !switches[i].checked);
      keep();
      redraw();
    };
    const changed = () => { zoom = null; chosen(); };
    const light = (group) => { if (lit !== group) { lit = group; plot.redraw(false, false); } };

    for (const select of [metric, axis]) {
      if ([...select.options].some((option) => option.value === state[select.id])) select.value = state[select.id];
      select.addEventListener("change", changed);
    }
    log.checked = Boolean(state.log);
    log.addEventListener("change", changed);
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

    redraw();
    painted = redraw;
    let size = [chart.clientWidth, chart.clientHeight].join();
    new ResizeObserver(() => {
      const now = [chart.clientWidth, chart.clientHeight].join();
      if (now !== size && chart.clientWidth) { size = now; redraw(); }
    }).observe(chart);

    // Paper gets a picture of its own, in the colours of light and with the resolution of print.
    const print = () => {
      const sheet = byId("printed"), theme = root.dataset.theme;
      root.dataset.theme = "light";
      lit = pointed = null;
      const copy = built(sheet, 3 * 660, 3 * 370, 3, (u) => { sheet.replaceChildren(u.ctx.canvas); });
      if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
      return copy;
    };
    addEventListener("beforeprint", print);
    matchMedia("print").addEventListener("change", (event) => { if (event.matches) print(); });
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
