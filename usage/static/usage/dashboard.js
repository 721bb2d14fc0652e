// A click on a bar or a point of a chart opens the list with the rows behind it. The table below each chart has the same links.
"use strict";

for (const canvas of document.querySelectorAll("canvas[data-links]")) {
    const links = JSON.parse(canvas.dataset.links);
    const linkAt = (event) => {
        const chart = Chart.getChart(canvas);
        const found = chart ? chart.getElementsAtEventForMode(event, "nearest", { intersect: false, axis: "x" }, true) : [];
        const hit = chart ? chart.getElementsAtEventForMode(event, "nearest", { intersect: true }, true) : [];
        const [point] = hit.length ? hit : found;
        return point ? links[point.datasetIndex][point.index] : null;
    };
    canvas.addEventListener("click", (event) => {
        const link = linkAt(event);
        if (link) location.assign(link);
    });
    canvas.addEventListener("mousemove", (event) => {
        canvas.style.cursor = linkAt(event) ? "pointer" : "default";
    });
}
