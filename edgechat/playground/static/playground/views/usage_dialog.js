/** What the account has used, day by day, and what is left of its budget. */

import { html, nothing, svg } from "../vendor/lit-html/lit-html.js";
import { callJson } from "../api.js";
import { loader } from "../loading.js";
import { loadedView } from "./loaded.js";

const DAYS = 30;
const number = new Intl.NumberFormat("en");
const date = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeZone: "UTC" });

export const usage = loader(async () => {
  const [me, daily] = await Promise.all([callJson("GET", "usage/me"), callJson("GET", `usage/me/daily?days=${DAYS}`)]);
  return { me, days: daily.days };
});

export function usageView() {
  return loadedView(usage.loaded.value, figuresView, usage.start);
}

/** @param {{me: any, days: {date: string, total: number}[]}} figures */
function figuresView({ me, days }) {
  const { tokens, quota } = me;
  return html`
    <dl class="figures">
      <div><dt>Tokens, 24 h</dt><dd>${number.format(tokens.last_24h)}</dd></div>
      <div><dt>Tokens, 7 days</dt><dd>${number.format(tokens.last_7d)}</dd></div>
      <div><dt>Tokens, total</dt><dd>${number.format(tokens.total)}</dd></div>
      <div><dt>Requests</dt><dd>${number.format(me.total_requests)}</dd></div>
    </dl>
    <h3>This month's budget</h3>
    ${quota.limit === null
      ? html`<p>There is no limit; ${number.format(quota.used)} tokens are used.</p>`
      : html`<p><progress max=${quota.limit} value=${quota.used} aria-label="Used of the budget"></progress></p>
          <p>${number.format(quota.used)} of ${number.format(quota.limit)} tokens are used, ${number.format(quota.remaining)} are left.
          ${quota.resets_at ? html`A new budget begins on ${date.format(new Date(quota.resets_at))}.` : nothing}</p>`}
    <h3>Tokens of the last ${days.length} days</h3>
    <div>${chartView(days)}</div>`;
}

/** @param {{date: string, total: number}[]} days */
function chartView(days) {
  const highest = Math.max(0, ...days.map((day) => day.total));
  const width = 10;
  const [first, last] = [days[0], days[days.length - 1]].map((day) => (day ? date.format(new Date(day.date)) : ""));
  return html`<p><small>The highest day has ${number.format(highest)}.</small></p><svg class="chart" viewBox="0 0 ${days.length * width} 80" preserveAspectRatio="none" role="img"
      aria-label="The highest day has ${number.format(highest)} tokens">
    ${days.map((day, index) => {
      const height = Math.round((day.total / (highest || 1)) * 76) + (day.total ? 2 : 1);
      return svg`<rect x=${index * width + 1} y=${80 - height} width=${width - 2} height=${height}>
        <title>${date.format(new Date(day.date))}: ${number.format(day.total)} tokens</title></rect>`;
    })}
  </svg>
  <p class="ends"><small>${first}</small><small>${last}</small></p>`;
}
