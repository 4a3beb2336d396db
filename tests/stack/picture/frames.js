// A panel's answers from Prometheus as the frames that Grafana would draw.

import {
  applyFieldOverrides,
  FieldConfigOptionsRegistry,
  FieldType,
  getSeriesTimeStep,
  identityOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  toDataFrame,
  transformDataFrame,
} from '@grafana/data';
import { defaultsDeep, uniqBy } from 'lodash';

standardTransformersRegistry.setInit(() =>
  uniqBy(Object.values(standardTransformers), 'id').map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation,
  }))
);

// What Grafana's own panels of these kinds take where the JSON says nothing; they are
// no package. `custom` is how lines are drawn.
const CUSTOM = {
  timeseries: {
    drawStyle: 'line',
    lineInterpolation: 'linear',
    lineWidth: 1,
    fillOpacity: 0,
    gradientMode: 'none',
    showPoints: 'auto',
    pointSize: 5,
    axisGridShow: true,
    stacking: { mode: 'none', group: 'A' },
  },
};
const COLOR = { timeseries: 'palette-classic' };
const THRESHOLDS = {
  mode: 'absolute',
  steps: [
    { value: null, color: 'green' },
    { value: 80, color: 'red' },
  ],
};

/** The frames of a panel: renamed, joined and coloured as its JSON says. */
export function framesOf(panel, theme) {
  let data = panel.targets.flatMap(framesOfTarget);
  transformDataFrame(panel.transformations ?? [], data).subscribe((made) => (data = made));
  const fieldConfig = configOf(panel);
  return applyFieldOverrides({
    data,
    fieldConfig,
    fieldConfigRegistry: registryOf(fieldConfig),
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
}

/** The JSON's fieldConfig, with what Grafana adds when it reads one. */
export function configOf({ type, fieldConfig }) {
  const defaults = defaultsDeep({}, fieldConfig.defaults, {
    custom: CUSTOM[type] ?? {},
    color: { mode: COLOR[type] ?? 'thresholds' },
    thresholds: fieldConfig.defaults.thresholds ? {} : THRESHOLDS,
  });
  // JSON has no -Infinity.
  defaults.thresholds.steps[0].value = -Infinity;
  return { defaults, overrides: fieldConfig.overrides };
}

// Each property that the JSON sets, taken as it stands.
function registryOf({ defaults, overrides }) {
  const { custom, ...standard } = defaults;
  const own = Object.keys(custom).map((name) => `custom.${name}`);
  const overridden = overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  return new FieldConfigOptionsRegistry(() =>
    [...new Set([...Object.keys(standard), ...own, ...overridden])].map((id) => ({
      id,
      name: id,
      path: id.replace(/^custom\./, ''),
      isCustom: id.startsWith('custom.'),
      process: identityOverrideProcessor,
      shouldApply: ({ type }) => id === 'links' || type !== FieldType.time,
    }))
  );
}

// As Grafana's backend for Prometheus names a series: a label that it lacks is empty.
// @grafana/data's own function puts the label's name there.
const legend = (format, labels) =>
  format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, name) => labels[name] ?? '');

function framesOfTarget({ refId, format, legendFormat, answer }) {
  if (format === 'table') {
    return answer.length ? [tableOf(refId, answer)] : [];
  }
  const frames = answer.map(({ metric, values }) => {
    const times = values.map(([time]) => time * 1000);
    const numbers = values.map(([, value]) => numberOf(value));
    const step = times.length > 1 ? getSeriesTimeStep({ values: times }) : undefined;
    return toDataFrame({
      refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: times, config: { interval: step } },
        {
          name: 'Value',
          type: FieldType.number,
          values: numbers,
          labels: metric,
          config: { displayNameFromDS: legend(legendFormat, metric) },
        },
      ],
    });
  });
  return format === 'heatmap' ? bucketsOf(frames) : frames;
}

function tableOf(refId, answer) {
  const labels = [...new Set(answer.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const last = answer.map(({ values }) => values[values.length - 1]);
  return toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: last.map(([time]) => time * 1000) },
      ...labels.map((name) => ({
        name,
        type: FieldType.string,
        values: answer.map(({ metric }) => metric[name]),
      })),
      {
        name: `Value #${refId}`,
        type: FieldType.number,
        values: last.map(([, value]) => numberOf(value)),
      },
    ],
  });
}

// Each bucket of a classic histogram holds those below as well.
function bucketsOf(frames) {
  const bound = (frame) => numberOf(frame.fields[1].labels.le);
  const sorted = [...frames].sort((left, right) => bound(left) - bound(right));
  return sorted.map((frame, index) => {
    const below = sorted[index - 1]?.fields[1].values ?? [];
    const [time, value] = frame.fields;
    const values = value.values.map((whole, at) => Math.max(0, whole - (below[at] ?? 0)));
    return { ...frame, fields: [time, { ...value, values }] };
  });
}

function numberOf(text) {
  if (text === '+Inf') {
    return Infinity;
  }
  const value = parseFloat(text);
  return Number.isFinite(value) ? value : null;
}
