"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const charts = read("charts");
  const scenes = read("scenes");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Charts -------------------------------------------------------------------------------------
  const chartNodes = [...document.querySelectorAll("[data-chart]")];

  function themed(layout) {
    const text = colour("--text"), grid = colour("--line");
    const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true };
    const full = {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: text },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 56, r: 16, t: 12, b: 48 }, hovermode: "closest",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: grid, activecolor: colour("--accent") },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      ...layout,
    };
    for (const name of ["xaxis", "yaxis", "yaxis2"]) {
      if (full[name] || name !== "yaxis2") full[name] = { ...axis, ...full[name] };
    }
    return full;
  }

  function drawCharts() {
    for (const node of chartNodes) {
      const chart = charts[node.dataset.chart];
      Plotly.react(node, chart.data, themed(chart.layout), {
        responsive: true, displaylogo: false,
        modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      });
    }
  }

  // A chart inside closed details has no width until they are opened.
  for (const details of document.querySelectorAll("details")) {
    details.addEventListener("toggle", () => {
      for (const node of details.querySelectorAll("[data-chart]")) Plotly.Plots.resize(node);
      redraw();
    });
  }

  // Poses --------------------------------------------------------------------------------------
  const START = { yaw: 0.65, pitch: 0.16 };
  const VIEWS = { camera: { yaw: 0, pitch: 0 }, side: { yaw: Math.PI / 2, pitch: 0 }, top: { yaw: 0, pitch: Math.PI / 2 } };
  const FLOOR_MM = 500;
  const states = {};
  const canvases = [...document.querySelectorAll("canvas.pose")];

  for (const [key, scene] of Object.entries(scenes)) {
    const reach = { low: [1e9, 1e9, 1e9], high: [-1e9, -1e9, -1e9] };
    for (const pose of scene.true.concat(...scene.predicted)) {
      pose.forEach((value, i) => {
        reach.low[i % 3] = Math.min(reach.low[i % 3], value);
        reach.high[i % 3] = Math.max(reach.high[i % 3], value);
      });
    }
    const centre = [0, 1, 2].map((i) => (reach.low[i] + reach.high[i]) / 2);
    const radius = Math.hypot(...[0, 1, 2].map((i) => (reach.high[i] - reach.low[i]) / 2));
    states[key] = { ...START, frame: 0, centre, radius: Math.max(radius, 1), floor: reach.high[1] };
  }

  function fitted(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    return { context, width, height, ratio };
  }

  // The camera looks along +z with y downwards; a positive pitch looks down from above.
  function projector(state, width, height) {
    const scale = (Math.min(width, height) * 0.47) / state.radius;
    const [cy, sy, cp, sp] = [Math.cos(state.yaw), Math.sin(state.yaw), Math.cos(state.pitch), Math.sin(state.pitch)];
    return (x, y, z) => {
      const [dx, dy, dz] = [x - state.centre[0], y - state.centre[1], z - state.centre[2]];
      const across = dx * cy + dz * sy, depth = -dx * sy + dz * cy;
      return [width / 2 + scale * across, height / 2 + scale * (dy * cp - depth * sp)];
    };
  }

  function drawFloor(context, state, project, ratio) {
    const half = Math.max(FLOOR_MM, Math.ceil((state.radius * 0.75) / FLOOR_MM) * FLOOR_MM);
    context.strokeStyle = colour("--grid");
    context.lineWidth = ratio;
    context.beginPath();
    for (let at = -half; at <= half; at += FLOOR_MM) {
      for (const [a, b] of [[[at, -half], [at, half]], [[-half, at], [half, at]]]) {
        const [x0, y0] = project(state.centre[0] + a[0], state.floor, state.centre[2] + a[1]);
        const [x1, y1] = project(state.centre[0] + b[0], state.floor, state.centre[2] + b[1]);
        context.moveTo(x0, y0); context.lineTo(x1, y1);
      }
    }
    context.stroke();
  }

  function sideColour(name) {
    return { "#d95f02": colour("--left"), "#1f78b4": colour("--right") }[name] || colour("--middle");
  }

  function drawBones(context, bones, at, style) {
    context.lineCap = "round";
    for (const [joint, parent, side] of bones) {
      context.strokeStyle = style.colour || sideColour(side);
      context.lineWidth = style.width;
      context.setLineDash(style.dash || []);
      context.beginPath(); context.moveTo(...at(joint)); context.lineTo(...at(parent)); context.stroke();
    }
    context.setLineDash([]);
  }

  function drawPose(canvas) {
    const { context, width, height, ratio } = fitted(canvas);
    if (!width || !height) return;
    const key = canvas.dataset.scene, scene = scenes[key], state = states[key];
    const project = projector(state, width, height);
    drawFloor(context, state, project, ratio);
    const placed = (pose) => (joint) => project(pose[3 * joint], pose[3 * joint + 1], pose[3 * joint + 2]);
    const dash = [5 * ratio, 4 * ratio];
    drawBones(context, scene.bones, placed(scene.true[state.frame]), { colour: colour("--truth"), width: 2 * ratio, dash });
    drawBones(context, scene.bones, placed(scene.predicted[canvas.dataset.run][state.frame]), { width: 3 * ratio });
    context.fillStyle = colour("--soft");
    context.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
    const degrees = (angle) => Math.round((angle * 180) / Math.PI);
    context.fillText(`turned ${degrees(state.yaw)}°, from ${degrees(state.pitch)}° above`, 8 * ratio, 16 * ratio);
  }

  function redraw(key) {
    for (const canvas of canvases) if (key === undefined || canvas.dataset.scene === key) drawPose(canvas);
    for (const canvas of flat) if (key === undefined || canvas.dataset.scene === key) drawPicture(canvas);
  }

  for (const canvas of canvases) {
    const key = canvas.dataset.scene;
    let from = null;
    const turn = (yaw, pitch) => {
      const state = states[key], limit = Math.PI / 2;
      const wrapped = (state.yaw + yaw + 3 * Math.PI) % (2 * Math.PI) - Math.PI;
      Object.assign(state, { yaw: wrapped, pitch: Math.max(-limit, Math.min(limit, state.pitch + pitch)) });
      redraw(key);
    };
    canvas.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      turn((event.clientX - from[0]) * 0.01, (event.clientY - from[1]) * 0.01);
      from = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
    canvas.addEventListener("dblclick", () => { Object.assign(states[key], START); redraw(key); });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
      if (step) { event.preventDefault(); turn(...step); }
    });
  }

  for (const button of document.querySelectorAll("[data-view]")) {
    const holder = button.closest(".frame, .player");
    button.addEventListener("click", () => {
      const key = holder.querySelector("canvas.pose").dataset.scene;
      Object.assign(states[key], VIEWS[button.dataset.view]);
      redraw(key);
    });
  }

  // The player ---------------------------------------------------------------------------------
  const flat = [...document.querySelectorAll("canvas.picture-2d")];
  const loaded = new Map();

  function imageOf(uri, then) {
    if (!loaded.has(uri)) {
      const image = new Image();
      image.addEventListener("load", then);
      image.src = uri;
      loaded.set(uri, image);
    }
    return loaded.get(uri);
  }

  function drawPicture(canvas) {
    const { context, width, height, ratio } = fitted(canvas);
    const key = canvas.dataset.scene, scene = scenes[key], state = states[key];
    const picture = scene.pictures && scene.pictures[state.frame];
    if (!picture) return;
    const [left, top, w, h] = picture.box, scale = Math.min(width / w, height / h);
    const [x0, y0] = [(width - scale * w) / 2, (height - scale * h) / 2];
    const image = imageOf(picture.uri, () => drawPicture(canvas));
    if (!image.complete) return;
    context.drawImage(image, x0, y0, scale * w, scale * h);
    const joints = scene.joints_px[state.frame];
    const at = (joint) => [x0 + scale * (joints[2 * joint] - left), y0 + scale * (joints[2 * joint + 1] - top)];
    drawBones(context, scene.bones, at, { colour: "#ffffff", width: 4 * ratio });
    for (const [joint, parent, side] of scene.bones) {
      context.strokeStyle = side; context.lineWidth = 2.2 * ratio;
      context.beginPath(); context.moveTo(...at(joint)); context.lineTo(...at(parent)); context.stroke();
    }
  }

  for (const player of document.querySelectorAll(".player")) {
    const key = player.dataset.scene, scene = scenes[key], state = states[key];
    const slider = player.querySelector("input[type=range]"), button = player.querySelector(".play");
    const last = scene.true.length - 1;
    let timer = null;
    slider.max = last;
    if (!scene.pictures) player.querySelector(".picture-pane").remove();
    const go = (frame) => {
      state.frame = frame;
      slider.value = frame;
      player.querySelector(".where").textContent = `${scene.labels[frame]} (${frame + 1} of ${last + 1})`;
      for (const output of player.querySelectorAll("[data-error]")) output.textContent = scene.errors[output.dataset.error][frame].toFixed(1);
      redraw(key);
    };
    const pause = () => { clearInterval(timer); timer = null; button.textContent = "play"; };
    const play = () => {
      const rate = Number(player.querySelector(".speed").value);
      timer = setInterval(() => go(state.frame >= last ? 0 : state.frame + 1), 1000 / rate);
      button.textContent = "pause";
    };
    button.addEventListener("click", () => (timer ? pause() : play()));
    slider.addEventListener("input", () => { pause(); go(Number(slider.value)); });
    player.querySelector(".speed").addEventListener("change", () => { if (timer) { pause(); play(); } });
    go(0);
  }

  // Sampling points ----------------------------------------------------------------------------
  const controls = document.getElementById("sampling-controls");
  function showDots() {
    const layer = controls.querySelector("select").value;
    const levels = new Set([...controls.querySelectorAll("input:checked")].map((box) => box.dataset.level));
    for (const dot of document.querySelectorAll("circle.dot")) {
      const seen = (layer === "all" || dot.dataset.layer === layer) && levels.has(dot.dataset.level);
      dot.style.display = seen ? "" : "none";
    }
  }
  if (controls) { controls.addEventListener("change", showDots); showDots(); }

  dark.addEventListener("change", () => { drawCharts(); redraw(); });
  new ResizeObserver(() => redraw()).observe(document.querySelector("main"));
  drawCharts();
  redraw();
})();
