"use strict";
// Each figure's boundaries: moving one pushes the other along, so that a <= b.
for (const figure of document.querySelectorAll(".frame")) {
  const [a, b] = [figure.querySelector("input.a"), figure.querySelector("input.b")];
  const show = (moved) => {
    if (b && +a.value > +b.value) {
      if (moved === a) b.value = a.value;
      else a.value = b.value;
    }
    figure.style.setProperty("--a", a.value);
    if (b) figure.style.setProperty("--b", b.value);
  };
  // Else a drag of the thumb may become one of the picture below it, which ends it.
  figure.addEventListener("dragstart", (event) => event.preventDefault());
  for (const input of [a, b]) if (input) input.addEventListener("input", () => show(input));
  show(a); // a browser may have kept the positions of an earlier visit
}
for (const radio of document.querySelectorAll("input[name=prediction]")) {
  const choose = () => {
    if (!radio.checked) return;
    for (const layer of document.querySelectorAll(".layer.prediction"))
      layer.hidden = layer.dataset.method !== radio.value;
  };
  radio.addEventListener("change", choose);
  choose();
}
