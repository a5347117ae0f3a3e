// Draws each chart again, to be pointed at and zoomed. Without the script, and on paper, the page
// shows the charts that Python drew.

const WIDTH = 360, HEIGHT = 225, LEFT = 68, RIGHT = 10, TOP = 8, BOTTOM = 36;
const INNER = WIDTH - LEFT - RIGHT, TALL = HEIGHT - TOP - BOTTOM;
const PADDING = 0.05, MOST_MARKED = 40, LEAST_DRAG = 6;

function add(parent, name, attributes = {}, content = "") {
  const made = document.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = content;
  return parent.appendChild(made);
}

class Chart {
  constructor(figure, group) {
    const still = figure.querySelector(".drawn");
    Object.assign(this, JSON.parse(figure.querySelector("script").textContent), { figure, group });
    this.live = document.createElement("div");
    this.live.className = "live";
    this.live.tabIndex = 0;
    this.live.setAttribute("role", "slider");
    this.live.setAttribute("aria-label", `${still.getAttribute("aria-label")} ${group.help}`);
    this.svg = this.live.appendChild(still.querySelector("svg").cloneNode(false));
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("aria-hidden", "true");
    this.readout = document.createElement("p");
    this.readout.className = "readout";
    this.readout.style.minHeight = `${1.45 * Math.ceil((this.lines.length + 1) / 2)}em`;
    still.after(this.live, this.readout);
    figure.classList.add("is-live");
    this.listen();
  }

  draw(domain) {
    this.domain = domain;
    this.range = this.visibleRange();
    this.svg.replaceChildren();
    const yTicks = this.logY ? logTicks(this.range) : ticks(this.range, 5);
    for (const value of yTicks) {
      const y = TOP + this.y(value);
      add(this.svg, "line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y });
      add(this.svg, "text", { x: LEFT - 6, y: y + 3.5, "text-anchor": "end" }, text(value));
    }
    for (const value of ticks(domain, 6, true)) {
      const x = LEFT + this.x(value), line = { class: "grid", x1: x, x2: x };
      add(this.svg, "line", { ...line, y1: TOP, y2: TOP + TALL });
      add(this.svg, "text", { x, y: TOP + TALL + 15, "text-anchor": "middle" }, short(value));
    }
    const base = TOP + TALL, middle = LEFT + INNER / 2;
    add(this.svg, "line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: base, y2: base });
    add(this.svg, "text", { x: middle, y: HEIGHT - 5, "text-anchor": "middle" }, this.xLabel);
    const aside = { transform: `translate(11 ${TOP + TALL / 2}) rotate(-90)` };
    add(this.svg, "text", { ...aside, "text-anchor": "middle" }, this.yLabel);
    const plot = add(this.svg, "svg", { x: LEFT, y: TOP, width: INNER, height: TALL });
    for (const line of this.lines) this.drawLine(plot, line);
    this.marks = add(this.svg, "g");
  }

  drawLine(plot, line) {
    const paint = { stroke: `var(--${line.colour})`, fill: "none", "stroke-width": 1.6 };
    if (line.band) {
      const ends = line.band.map((end) => this.path(line.x, end));
      const back = this.path([...line.x].reverse(), [...line.band[1]].reverse());
      const area = `${ends[0]}${back.replaceAll("M", "L")}Z`;
      add(plot, "path", { d: area, fill: paint.stroke, opacity: 0.15 });
    }
    const pale = { ...paint, "stroke-width": 0.8, opacity: 0.35 };
    if (line.mean) add(plot, "path", { ...pale, d: this.path(line.x, line.y) });
    const strong = { ...paint, d: this.path(line.x, line.mean ?? line.y) };
    add(plot, "path", { ...strong, "stroke-dasharray": line.dashes });
    if (line.dashes || line.x.length > MOST_MARKED) return;
    line.x.forEach((x, place) => {
      if (line.y[place] === null) return;
      add(plot, "circle", { cx: this.x(x), cy: this.y(line.y[place]), r: 2, fill: paint.stroke });
    });
  }

  path(xs, ys) {
    let drawn = "", pen = "M";
    xs.forEach((x, place) => {
      if (ys[place] === null) { pen = "M"; return; }
      drawn += `${pen}${this.x(x).toFixed(1)} ${this.y(ys[place]).toFixed(1)}`;
      pen = "L";
    });
    return drawn;
  }

  visibleRange() {
    const shown = this.lines.flatMap((line) =>
      [line.y, ...(line.band ?? [])].flatMap((values) =>
        values.filter((value, place) => value !== null && between(line.x[place], this.domain))));
    if (!shown.length) return [this.logY ? 0.1 : 0, 1];
    let low = shown.reduce((one, other) => Math.min(one, other));
    let high = shown.reduce((one, other) => Math.max(one, other));
    if (this.logY) return [low / 1.1, high * 1.1];
    const padding = PADDING * (high - low || Math.abs(high) || 1);
    [low, high] = [this.yLimits[0] ?? low - padding, this.yLimits[1] ?? high + padding];
    return high > low ? [low, high] : [low, low + 1];
  }

  x(value) { return (INNER * (value - this.domain[0])) / (this.domain[1] - this.domain[0]); }

  y(value) {
    const [low, high, at] = [...this.range, value].map((end) => (this.logY ? Math.log(end) : end));
    return TALL * (1 - (at - low) / (high - low));
  }

  point(x) {
    this.marks.replaceChildren();
    this.readout.replaceChildren();
    this.figure.classList.toggle("is-pointed", x !== null);
    if (x === null) return;
    const lines = this.lines.filter((line) => line.x.length);
    const at = lines[0].x[nearest(lines[0], x)];
    const said = [`${this.xLabel} ${at}`];
    this.readout.append(said[0]);
    if (between(at, this.domain)) {
      const place = LEFT + this.x(at), line = { class: "cursor", x1: place, x2: place };
      add(this.marks, "line", { ...line, y1: TOP, y2: TOP + TALL });
    }
    for (const line of lines) said.push(this.tell(line, nearest(line, at)));
    this.live.setAttribute("aria-valuenow", at);
    this.live.setAttribute("aria-valuetext", said.join("; "));
  }

  tell(line, place) {
    const value = line.y[place], ends = (line.band ?? []).map((end) => end[place]);
    const figure = value === null ? "–" : text(value);
    const interval = ends.length && !ends.includes(null) ? ` (${ends.map(text).join(" to ")})` : "";
    const paint = `var(--${line.colour})`;
    if (value !== null && between(line.x[place], this.domain)) {
      const at = { cx: LEFT + this.x(line.x[place]), cy: TOP + this.y(value) };
      add(this.marks, "circle", { ...at, r: 3.5, fill: paint });
    }
    const item = document.createElement("span"), dot = document.createElement("i");
    dot.style.background = paint;
    item.append(dot, `${line.label} ${figure}${interval}`);
    this.readout.append(item);
    return `${line.label} ${figure}${interval}`;
  }

  listen() {
    const at = (event) => {
      const { left, width } = this.svg.getBoundingClientRect();
      const share = (((event.clientX - left) / width) * WIDTH - LEFT) / INNER;
      return this.domain[0] + clamp(share, 0, 1) * (this.domain[1] - this.domain[0]);
    };
    let start = null, origin = 0, area = null;
    this.live.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      [start, origin] = [at(event), event.clientX];
      this.live.setPointerCapture(event.pointerId);
    });
    this.live.addEventListener("pointermove", (event) => {
      const now = at(event);
      this.group.point(this.snap(now));
      if (start === null || Math.abs(event.clientX - origin) < LEAST_DRAG) return;
      area ??= add(this.svg, "rect", { class: "area", y: TOP, height: TALL });
      const [low, high] = [this.x(start), this.x(now)].sort((one, other) => one - other);
      area.setAttribute("x", LEFT + low);
      area.setAttribute("width", high - low);
    });
    const stop = (event) => {
      const ends = [start, at(event)].sort((one, other) => one - other);
      if (event.type === "pointerup" && area) this.group.zoom(ends);
      area?.remove();
      start = area = null;
    };
    this.live.addEventListener("pointerup", stop);
    this.live.addEventListener("pointercancel", stop);
    const leave = (event) => { if (event.pointerType !== "touch") this.group.point(null); };
    this.live.addEventListener("pointerleave", leave);
    this.live.addEventListener("blur", leave);
    this.live.addEventListener("dblclick", () => this.group.zoom(this.group.full));
    this.live.addEventListener("keydown", (event) => this.press(event));
  }

  snap(x) {
    const line = this.lines.find((other) => other.x.length);
    return line.x[nearest(line, x)];
  }

  press(event) {
    const { group } = this, { x: steps } = this.lines.find((other) => other.x.length);
    const here = nearest({ x: steps }, group.cursor ?? group.domain[0]);
    const move = (place) => group.follow(steps[clamp(place, 0, steps.length - 1)]);
    const far = event.shiftKey ? 10 : 1;
    const actions = {
      ArrowLeft: () => move(group.cursor === null ? here : here - far),
      ArrowRight: () => move(group.cursor === null ? here : here + far),
      Home: () => move(0),
      End: () => move(steps.length - 1),
      "+": () => group.scale(0.5),
      "=": () => group.scale(0.5),
      "-": () => group.scale(2),
      0: () => group.zoom(group.full),
      Escape: () => group.zoom(group.full),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  }
}
