// Charts of one section share their x axis, and the place on it that is pointed at.

class Group {
  constructor(section) {
    this.help = "Arrow keys move along the curve, plus and minus zoom, 0 shows all.";
    this.cursor = null;
    this.charts = [...section.querySelectorAll(".chart")].map((one) => new Chart(one, this));
    const steps = this.charts.flatMap((chart) => chart.lines.flatMap((line) => line.x));
    const low = steps.reduce((one, other) => Math.min(one, other));
    const high = steps.reduce((one, other) => Math.max(one, other));
    this.full = high > low ? [low, high] : [low - 1, high + 1];
    this.makeBar(section);
    this.zoom(this.full);
  }

  makeBar(section) {
    const bar = document.createElement("p");
    bar.className = "bar";
    const button = (name, action) => {
      const made = bar.appendChild(document.createElement("button"));
      made.type = "button";
      made.textContent = name;
      made.addEventListener("click", action);
      return made;
    };
    button("Zoom in", () => this.scale(0.5));
    this.wider = [
      button("Zoom out", () => this.scale(2)),
      button("Show all", () => this.zoom(this.full)),
    ];
    const hint = bar.appendChild(document.createElement("span"));
    hint.textContent = "Drag over a curve to zoom. With the keyboard: arrows, + − 0.";
    section.before(bar);
  }

  zoom([low, high]) {
    const least = Math.min(2, this.full[1] - this.full[0]);
    const middle = (low + high) / 2, half = Math.max(high - low, least) / 2;
    const length = Math.min(2 * half, this.full[1] - this.full[0]);
    const start = clamp(middle - half, this.full[0], this.full[1] - length);
    this.domain = [start, start + length];
    for (const button of this.wider) button.disabled = length === this.full[1] - this.full[0];
    for (const chart of this.charts) {
      chart.draw(this.domain);
      chart.live.setAttribute("aria-valuemin", start);
      chart.live.setAttribute("aria-valuemax", start + length);
    }
    this.point(this.cursor);
  }

  scale(factor) {
    const [low, high] = this.domain, middle = this.cursor ?? (low + high) / 2;
    this.zoom([middle - (middle - low) * factor, middle + (high - middle) * factor]);
  }

  point(x) {
    this.cursor = x;
    for (const chart of this.charts) chart.point(x);
  }

  follow(x) {
    this.cursor = x;
    const half = (this.domain[1] - this.domain[0]) / 2;
    if (between(x, this.domain)) this.point(x); else this.zoom([x - half, x + half]);
  }
}

for (const section of document.querySelectorAll(".charts")) new Group(section);
