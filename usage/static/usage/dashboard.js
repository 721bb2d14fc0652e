// A click on a bar or a point of a chart opens the list with the rows behind it: the link of its number in the table below.
"use strict";

for (const canvas of document.querySelectorAll(".dashboard-chart canvas")) {
    const table = canvas.closest(".dashboard-chart").parentElement.querySelector("table");
    const linkAt = (event) => {
        const chart = Chart.getChart(canvas);
        if (!chart) return null;
        const hit = chart.getElementsAtEventForMode(event, "nearest", { intersect: true }, true);
        const [point] = hit.length ? hit : chart.getElementsAtEventForMode(event, "nearest", { intersect: false, axis: "x" }, true);
        return point ? table.tBodies[0].rows[point.index].cells[point.datasetIndex + 1].querySelector("a") : null;
    };
    canvas.addEventListener("click", (event) => linkAt(event)?.click());
    canvas.addEventListener("mousemove", (event) => {
        canvas.style.cursor = linkAt(event) ? "pointer" : "default";
    });
}
