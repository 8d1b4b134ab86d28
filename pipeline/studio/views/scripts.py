"""The page's own style, and its script: curves that are dragged, and masks that are painted."""

CSS = """
body{--studio-blue:#1565c0;--q-primary:var(--studio-blue)!important}
.body--dark{--q-primary:#64b5f6!important}
.body--dark .bg-primary{--q-primary:var(--studio-blue)}
.q-uploader .q-uploader__header{background:var(--studio-blue);color:#fff}
.nicegui-link{color:var(--q-primary)}
.q-notification.bg-negative{background:#b00020!important}
.text-negative{color:#b00020!important}
.body--dark .text-negative{color:#ff8a80!important}
.q-field__label,.q-field__bottom,.q-placeholder::placeholder{color:#555;opacity:1}
.body--dark .q-field__label,.body--dark .q-field__bottom{color:#bbb}
.q-field--focused .q-field__label{color:var(--q-primary)}
@media (max-width:640px){
  .q-header{flex-wrap:wrap;gap:0;padding:.3rem}
  .q-header .q-tabs{order:3;width:100%}
  .q-header .q-tab{padding:0 5px;min-width:0}
  .q-header .q-tab__label{font-size:11px}
  .nicegui-content,.q-tab-panel{padding:.4rem}
}
.nicegui-code pre{white-space:pre-wrap;word-break:break-all}
#live{width:100%}
.q-uploader__list{display:none}
.wall img{width:100%;aspect-ratio:16/9;object-fit:cover;display:block;background:#8884}
.wall .none{aspect-ratio:16/9;overflow:hidden;font-size:.7rem;line-height:1.1;padding:.3rem}
.wall button[aria-pressed=true]{outline:3px solid var(--q-primary)}
.wall button{border:0;padding:0;background:none;color:inherit;cursor:pointer;text-align:start}
.compare{position:relative;width:100%;background:#8882}
.compare img{width:100%;display:block}
.compare .over{position:absolute;inset:0;clip-path:inset(0 0 0 var(--at,50%))}
.compare input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:.001;
  cursor:ew-resize}
.compare input:focus-visible+.edge{outline:3px solid var(--q-primary)}
.compare .edge{position:absolute;top:0;bottom:0;left:var(--at,50%);width:2px;background:#fff;
  pointer-events:none;box-shadow:0 0 3px #000}
.curve svg{width:100%;height:220px;background:#8881;touch-action:none;display:block}
.curve .wave{fill:#8884}
.curve .beat{stroke:#8886;stroke-width:1}
.curve .line{fill:none;stroke:var(--q-primary);stroke-width:2}
.curve circle{fill:#fff;stroke:var(--q-primary);stroke-width:3;cursor:grab}
.curve circle.picked{fill:var(--q-primary)}
.curve circle:focus-visible{outline:3px solid #f80}
.curve text{fill:currentColor;font-size:11px}
.paint{position:relative;width:100%;max-width:960px;background:#8882}
.paint img{width:100%;display:block}
.paint canvas{position:absolute;inset:0;width:100%;height:100%;touch-action:none;cursor:crosshair;
  opacity:.55}
"""
# A curve is drawn in the pixels of its own box, so that circles are round at any width. While a key
# is dragged the page moves it; when it is let go the server says where it is.
SCRIPT = """
(() => {
  const NS = "http://www.w3.org/2000/svg", PAD = 14, SNAP = 8;
  let now = null;
  const make = (name, at, parent) => {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(at)) made.setAttribute(key, value);
    return parent.appendChild(made);
  };
  const draw = () => {
    const svg = document.getElementById("curve");
    if (!svg) return;
    if (!now) { svg.replaceChildren(); return; }
    const width = svg.clientWidth || 600, height = svg.clientHeight || 220;
    const across = t => PAD + (width - 2 * PAD) * t / now.seconds;
    const down = v => height - PAD - (height - 2 * PAD) * (v - now.low) / (now.high - now.low);
    const time = x => Math.min(Math.max((x - PAD) / (width - 2 * PAD), 0), 1) * now.seconds;
    const value = y => now.low + (height - PAD - y) / (height - 2 * PAD) * (now.high - now.low);
    const snapped = t => {
      const near = now.beats.find(b => Math.abs(across(b) - across(t)) < SNAP);
      return near === undefined ? t : near;
    };
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    if (now.wave.length) {
      const step = now.seconds / (now.wave.length - 1);
      const tops = now.wave.map((w, i) => `${across(i * step)},${height - w * height * .9}`);
      const ends = `${across(now.seconds)},${height} ${across(0)},${height}`;
      make("polygon", {class: "wave", points: tops.join(" ") + " " + ends}, svg);
    }
    for (const beat of now.beats)
      make("line", {class: "beat", x1: across(beat), x2: across(beat), y1: 0, y2: height}, svg);
    const points = now.points.map(([t, v]) => `${across(t)},${down(v)}`).join(" ");
    make("polyline", {class: "line", points}, svg);
    for (const [v, y] of [[now.high, 12], [now.low, height - 3]])
      make("text", {x: 2, y}, svg).textContent = v.toPrecision(3);
    make("text", {x: width - 34, y: height - 3}, svg).textContent = now.seconds.toFixed(1) + " s";
    const box = () => svg.getBoundingClientRect();
    svg.ondblclick = event => {
      const x = event.clientX - box().left, y = event.clientY - box().top;
      emitEvent("curve", {do: "add", t: snapped(time(x)), v: value(y)});
    };
    now.keys.forEach((key, index) => {
      const dot = make("circle", {
        cx: across(key.t), cy: down(key.v), r: 8, tabindex: 0, role: "slider",
        class: index === now.picked ? "picked" : "",
        "aria-label": `${now.label} ${index + 1}`,
        "aria-valuetext": `${key.v.toPrecision(4)} at ${key.t.toFixed(2)} s`,
        "aria-valuenow": key.v, "aria-valuemin": now.low, "aria-valuemax": now.high,
      }, svg);
      let held = null;
      dot.onpointerdown = event => {
        held = {x: event.clientX, y: event.clientY, moved: false};
        dot.setPointerCapture(event.pointerId);
      };
      dot.onpointermove = event => {
        if (!held) return;
        held.moved ||= Math.hypot(event.clientX - held.x, event.clientY - held.y) > 2;
        dot.setAttribute("cx", across(snapped(time(event.clientX - box().left))));
        dot.setAttribute("cy", Math.min(Math.max(event.clientY - box().top, 0), height));
      };
      dot.onpointerup = () => {
        if (!held) return;
        const t = time(+dot.getAttribute("cx")), v = value(+dot.getAttribute("cy"));
        const move = {do: "move", index, t: snapped(t), v};
        emitEvent("curve", held.moved ? move : {do: "pick", index});
        held = null;
      };
      dot.onkeydown = event => {
        const ways = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};
        const way = ways[event.key];
        if (event.key === "Delete") emitEvent("curve", {do: "remove", index});
        else if ([" ", "Enter"].includes(event.key)) emitEvent("curve", {do: "pick", index});
        else if (way) emitEvent("curve", {
          do: "move", index, t: Math.max(0, key.t + way[0] * now.seconds / 100),
          v: key.v + way[1] * (now.high - now.low) / 50,
        });
        else return;
        event.preventDefault();
        window.studioFocus = true;
      };
      if (index === now.picked && window.studioFocus) { dot.focus(); window.studioFocus = false; }
    });
  };
  window.studioCurve = table => { now = table; requestAnimationFrame(draw); };
  window.addEventListener("resize", draw);

  new MutationObserver(() => {
    document.querySelectorAll(".nicegui-code button:not([aria-label])").forEach(
      one => one.setAttribute("aria-label", window.studioTexts.copy));
    const svg = document.getElementById("curve");
    if (now && svg?.childElementCount === 0) draw();  // its tab was opened
  }).observe(document.body, {childList: true, subtree: true});

  const paint = {size: 40, erases: false, last: null};
  const surface = () => document.getElementById("paint");
  const stroke = (canvas, from, to) => {
    const pen = canvas.getContext("2d");
    pen.globalCompositeOperation = paint.erases ? "destination-out" : "source-over";
    pen.strokeStyle = "#f0f"; pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = paint.size * canvas.width / 640;
    pen.beginPath(); pen.moveTo(...from); pen.lineTo(...to); pen.stroke();
  };
  window.studioPaint = (width, height, data) => {
    const canvas = surface();
    if (!canvas) return;
    canvas.width = width; canvas.height = height;
    const at = event => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width * width,
              (event.clientY - box.top) / box.height * height];
    };
    canvas.onpointerdown = event => {
      canvas.setPointerCapture(event.pointerId);
      paint.last = at(event);
      stroke(canvas, paint.last, paint.last);
    };
    canvas.onpointermove = event => {
      if (!paint.last) return;
      const next = at(event);
      stroke(canvas, paint.last, next);
      paint.last = next;
    };
    canvas.onpointerup = canvas.onpointercancel = () => { paint.last = null; };
    let spot = [width / 2, height / 2];
    canvas.onkeydown = event => {
      const step = event.shiftKey ? 40 : 10;
      const ways = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
      const way = ways[event.key];
      if (way) spot = [spot[0] + way[0] * step, spot[1] + way[1] * step];
      else if (event.key !== " ") return;
      if (!way || event.ctrlKey) stroke(canvas, spot, spot);
      canvas.style.backgroundImage =
        `radial-gradient(circle at ${spot[0] / width * 100}% ${spot[1] / height * 100}%,` +
        ` #fff 0 4px, #000 4px 6px, transparent 7px)`;
      event.preventDefault();
    };
    if (data) {
      const image = new Image();
      image.onload = () => canvas.getContext("2d").drawImage(image, 0, 0, width, height);
      image.src = data;
    }
  };
  window.studioPen = (size, erases) => { paint.size = size; paint.erases = erases; };
  window.studioClear = all => {
    const canvas = surface(), pen = canvas.getContext("2d");
    pen.globalCompositeOperation = "source-over";
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (all) { pen.fillStyle = "#f0f"; pen.fillRect(0, 0, canvas.width, canvas.height); }
  };
  window.studioKeep = () => emitEvent("painted", {data: surface().toDataURL("image/png")});
})();
"""
