// Makes a displayed formula that is wider than the page smaller: cut off on the left, it could not be scrolled to.
const fitFormulas = () => {
  for (const block of document.querySelectorAll("div.math")) {
    const box = block.querySelector("mjx-container");
    if (!box || !block.clientWidth) continue; // not there yet, or folded away
    box.style.fontSize = box.dataset.size ||= box.style.fontSize;
    const needed = Math.max(block.scrollWidth, block.querySelector("mjx-math").getBoundingClientRect().width);
    const ratio = block.clientWidth / needed;
    if (ratio < 1) box.style.fontSize = `${Math.floor(parseFloat(box.dataset.size) * ratio)}%`;
  }
};
// Sliders ask for MathJax 2, which had a queue.
document.addEventListener("DOMContentLoaded", () => {
  const typeset = ([, , element]) => window.MathJax.typesetPromise?.([element]);
  if (window.MathJax) window.MathJax.Hub = { Queue: typeset };
});

window.addEventListener("load", () => window.MathJax?.startup?.promise.then(fitFormulas));
window.addEventListener("resize", fitFormulas);
document.addEventListener("toggle", fitFormulas, true); // a folded answer was opened
