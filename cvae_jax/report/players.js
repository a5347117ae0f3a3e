// Steps through the frames of a clip, cut out of its sheet. Without the script, and on paper, the
// page shows the whole sheet.

const SPEEDS = [0.25, 0.5, 1, 2, 4], REST = 800;

function make(parent, name, properties = {}) {
  return parent.appendChild(Object.assign(document.createElement(name), properties));
}

// The truth and its samples in one row, and below each what belongs to it.
function order(rows) {
  const numSamples = Math.floor((rows.length - 1) / 2), numbers = [...rows.keys()];
  if (numSamples === 1) return { columns: 3, places: numbers };
  const [above, errors] = [numbers.slice(0, numSamples + 1), numbers.slice(numSamples + 1, -1)];
  return { columns: numSamples + 1, places: [...above, numbers.at(-1), ...errors] };
}

class Player {
  constructor(figure, sheet) {
    Object.assign(this, JSON.parse(figure.querySelector("script").textContent), { figure, sheet });
    this.timer = null;
    const live = document.createElement("div");
    live.className = "live";
    live.tabIndex = 0;
    live.setAttribute("role", "group");
    live.setAttribute("aria-label", `${this.title}. Arrow keys step, the space bar plays.`);
    this.makePanels(live);
    this.makeControls(live);
    figure.querySelector(".sheet").before(live);
    figure.classList.add("is-live");
    live.addEventListener("keydown", (event) => this.press(event));
    this.show(this.numFrames - 1);
  }

  makePanels(live) {
    const { columns, places } = order(this.rows), box = make(live, "div", { className: "panels" });
    box.style.setProperty("--columns", columns);
    this.panels = places.map((row) => {
      const panel = make(box, "div"), canvas = document.createElement("canvas");
      canvas.width = this.sheet.naturalWidth / this.numFrames;
      canvas.height = this.sheet.naturalHeight / this.rows.length;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", this.rows[row]);
      make(panel, "span", { textContent: this.rows[row] });
      panel.append(canvas);
      const figure = make(panel, "small");
      return { row, canvas, figure, context: canvas.getContext("2d") };
    });
  }

  makeControls(live) {
    const bar = make(live, "div", { className: "bar" });
    const button = (textContent, label, action) => {
      const made = make(bar, "button", { type: "button", textContent });
      made.setAttribute("aria-label", label);
      made.addEventListener("click", action);
      return made;
    };
    this.playButton = button("▶", "Play", () => this.toggle());
    button("‹", "Previous frame", () => this.step(-1));
    button("›", "Next frame", () => this.step(1));
    const range = { type: "range", min: 0, max: this.numFrames - 1, step: 1 };
    this.slider = make(bar, "input", range);
    this.slider.setAttribute("aria-label", "Frame");
    this.slider.addEventListener("input", () => this.stopAt(Number(this.slider.value)));
    this.label = make(bar, "output");
    this.speed = make(bar, "select");
    this.speed.setAttribute("aria-label", "Speed");
    for (const value of SPEEDS) {
      make(this.speed, "option", { value, textContent: `${value}×`, selected: value === 1 });
    }
    const all = button("All frames", "All frames", () => {
      all.setAttribute("aria-expanded", this.figure.classList.toggle("is-open"));
    });
    all.setAttribute("aria-expanded", "false");
  }

  show(frame) {
    this.frame = frame;
    const target = frame - this.numContextFrames;
    const told = `t = ${frame}, ${target < 0 ? "given" : "predicted"}`;
    this.slider.value = frame;
    this.slider.setAttribute("aria-valuetext", told);
    this.label.textContent = told;
    for (const { row, canvas, figure, context } of this.panels) {
      const { width, height } = canvas;
      const from = [frame * width, row * height, width, height];
      context.drawImage(this.sheet, ...from, 0, 0, width, height);
      const psnr = this.psnr[row - 1]?.[target];
      figure.textContent = psnr === undefined ? "" : `${psnr.toFixed(1)} dB`;
    }
  }

  step(by) { this.stopAt(Math.min(Math.max(this.frame + by, 0), this.numFrames - 1)); }

  stopAt(frame) {
    if (this.timer !== null) this.toggle();
    this.show(frame);
  }

  toggle() {
    const playing = this.timer === null;
    this.playButton.textContent = playing ? "❚❚" : "▶";
    this.playButton.setAttribute("aria-label", playing ? "Pause" : "Play");
    clearTimeout(this.timer);
    this.timer = null;
    if (playing) this.play();
  }

  play() {
    const next = (this.frame + 1) % this.numFrames;
    this.show(next);
    const rest = next === this.numFrames - 1 ? REST : 0;
    const wait = 1000 / (this.framesPerSecond * Number(this.speed.value));
    this.timer = setTimeout(() => this.play(), wait + rest);
  }

  press(event) {
    const actions = {
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      Home: () => this.stopAt(0),
      End: () => this.stopAt(this.numFrames - 1),
      " ": () => this.toggle(),
    };
    const native = { BUTTON: [" "], SELECT: Object.keys(actions) }[event.target.tagName] ?? [];
    if (!actions[event.key] || native.includes(event.key)) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  }
}

for (const figure of document.querySelectorAll(".player")) {
  const sheet = figure.querySelector("img");
  sheet.decode().then(() => new Player(figure, sheet), () => figure.classList.add("is-damaged"));
}
