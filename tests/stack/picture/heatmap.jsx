// A heatmap: Grafana's own is in none of its packages, so its cells are ours, drawn on
// Grafana's axes. There is no scale of colours beside it.

import { formattedValueToString, getValueFormat } from '@grafana/data';
import { UPlotChart, UPlotConfigBuilder } from '@grafana/ui';
import * as d3 from 'd3';
import { useMemo } from 'react';

export function Heatmap({ frames, options, theme, timeRange, width, height }) {
  const config = useMemo(
    () => configOf(frames, options, theme, timeRange),
    [frames, options, theme, timeRange]
  );
  const data = [frames[0].fields[0].values, frames[0].fields[1].values];
  return <UPlotChart {...{ config, data, timeRange, width, height }} />;
}

function configOf(frames, options, theme, timeRange) {
  const format = getValueFormat(options.yAxis.unit ?? 'short');
  const nameOf = ({ labels: { le } }) =>
    le === '+Inf' ? le : formattedValueToString(format(Number(le)));
  const names = frames.map((frame) => nameOf(frame.fields[1]));
  const builder = new UPlotConfigBuilder('utc');
  const range = [timeRange.from.valueOf(), timeRange.to.valueOf()];
  builder.addScale({ scaleKey: 'x', isTime: true, orientation: 0, direction: 1, range: () => range });
  builder.addScale({ scaleKey: 'y', orientation: 1, direction: 1, range: () => [0, frames.length] });
  builder.addAxis({ scaleKey: 'x', isTime: true, placement: 'bottom', theme, timeZone: 'utc' });
  // A bucket's name is its upper bound.
  const splits = (u) => thinned(names.map((_, row) => row + 1), u.height);
  const values = (_, rows) => rows.map((row) => names[row - 1]);
  builder.addAxis({ scaleKey: 'y', placement: 'left', theme, splits, values });
  builder.addSeries({ scaleKey: 'y', theme, show: false, colorMode: {}, pathBuilder: () => null });
  builder.addHook('draw', (u) => drawCells(u, frames, options, theme));
  return builder;
}

function thinned(rows, height) {
  return rows.length > 3 && height / rows.length < 14
    ? thinned(rows.filter((_, at) => at % 2 === 0), height)
    : rows;
}

function drawCells(u, frames, { color, cellGap, filterValues }, theme) {
  const scheme = d3[`interpolate${color.scheme}`];
  const most = Math.max(...frames.flatMap((frame) => frame.fields[1].values));
  const [first, second] = frames[0].fields[0].values;
  frames.forEach(({ fields: [time, value] }, row) =>
    time.values.forEach((at, index) => {
      const count = value.values[index];
      if (count <= (filterValues?.le ?? 0)) {
        return;
      }
      const left = u.valToPos(at - (second - first), 'x', true);
      const right = u.valToPos(at, 'x', true);
      const top = u.valToPos(row + 1, 'y', true);
      const bottom = u.valToPos(row, 'y', true);
      // Grafana turns these schemes round where the page is dark.
      u.ctx.fillStyle = scheme(theme.isDark ? 1 - count / most : count / most);
      u.ctx.fillRect(left, top, right - left - cellGap, bottom - top - cellGap);
    })
  );
}
