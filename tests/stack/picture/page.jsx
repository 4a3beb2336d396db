// A dashboard as Grafana shows it, drawn by Grafana's own components (@grafana/ui).
//
// `window.DASHBOARD` is the dashboard's JSON in which each target has the `answer` that
// Prometheus gave; `window.CHOSEN` has the variables' values, `window.RANGE` the time.
// No package has all of it. Drawn by us: the cells of heatmaps (heatmap.jsx), and the bar
// above the panels, without menus and the choice of time. Not drawn: annotations, the
// links in a panel's corner, and the legend of bars.

import {
  createTheme,
  dateTime,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  renderTextPanelMarkdown,
} from '@grafana/data';
import {
  BarGauge,
  BigValue,
  GlobalStyles,
  Icon,
  InlineField,
  Input,
  PanelChrome,
  Table,
  TimeSeries,
  VizRepeater,
} from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import '@fontsource/inter/latin-400.css';
import '@fontsource/inter/latin-500.css';

import { configOf, framesOf } from './frames';
import { Heatmap } from './heatmap';

const COLUMNS = 24;
const CELL = { height: 30, gap: 8 };
const theme = createTheme();
const [from, to] = window.RANGE.map((seconds) => dateTime(seconds * 1000));
const timeRange = { from, to, raw: { from, to } };

/** The values of a panel that reduces each series to one. */
function repeated(renderValue, layoutOf) {
  return ({ panel, frames, width, height }) => {
    const { options } = panel;
    const getValues = () =>
      getFieldDisplayValues({
        data: frames,
        fieldConfig: configOf(panel),
        reduceOptions: { values: false, ...options.reduceOptions },
        replaceVariables: (text) => text,
        sparkline: options.graphMode === 'area',
        theme,
        timeZone: 'utc',
      });
    const render = (shown) => renderValue({ ...shown, options });
    return (
      <VizRepeater
        {...{ width, height, getValues, renderValue: render, source: frames }}
        {...layoutOf(options)}
        getAlignmentFactors={getDisplayValueAlignmentFactors}
        orientation={options.orientation}
        renderCounter={0}
      />
    );
  };
}

const Stat = repeated(
  ({ value, options, ...size }) => (
    <BigValue
      {...{ ...options, ...size, theme }}
      value={value.display}
      sparkline={value.sparkline && { ...value.sparkline, timeRange }}
      disableWideLayout={!options.wideLayout}
    />
  ),
  () => ({ autoGrid: true, itemSpacing: 3 })
);

const Bars = repeated(
  ({ value, options, ...size }) => (
    <BarGauge
      {...{ ...options, ...size, theme }}
      value={value.display}
      field={value.field}
      display={value.view?.getFieldDisplayProcessor(value.colIndex)}
      itemSpacing={10}
      valueDisplayMode={options.valueMode}
    />
  ),
  ({ sizing, minVizWidth, minVizHeight, maxVizHeight }) => ({
    itemSpacing: 10,
    ...(sizing === 'manual'
      ? { minVizWidth, minVizHeight, maxVizHeight }
      : { minVizWidth: 8, minVizHeight: 16, maxVizHeight: 300 }),
  })
);

const Lines = ({ panel: { options }, frames, width, height }) => (
  <TimeSeries
    {...{ frames, width, height, timeRange, options }}
    structureRev={1}
    timeZone="utc"
    legend={options.legend}
  />
);

const Rows = ({ panel: { options }, frames, width, height }) => (
  <Table
    {...{ width, height, timeRange }}
    data={frames[options.frameIndex]}
    initialSortBy={options.sortBy}
    cellHeight={options.cellHeight}
    noHeader={!options.showHeader}
    showTypeIcons={options.showTypeIcons}
  />
);

const Cells = ({ panel: { options }, frames, width, height }) => (
  <Heatmap {...{ frames, options, theme, timeRange, width, height }} />
);

const KINDS = { bargauge: Bars, heatmap: Cells, stat: Stat, table: Rows, timeseries: Lines };

function Content({ panel, width, height }) {
  if (panel.type === 'text') {
    const __html = renderTextPanelMarkdown(panel.options.content);
    return <div className="markdown-html" dangerouslySetInnerHTML={{ __html }} />;
  }
  const Kind = KINDS[panel.type];
  const frames = framesOf(panel, theme);
  return frames.length ? <Kind {...{ panel, frames, width, height }} /> : <p>No data</p>;
}

function Place({ panel, columnWidth }) {
  const { x, y, w, h } = panel.gridPos;
  const width = w * columnWidth - CELL.gap;
  const height = h * (CELL.height + CELL.gap) - CELL.gap;
  const style = { position: 'absolute', left: x * columnWidth, top: y * (CELL.height + CELL.gap) };
  if (panel.type === 'row') {
    return (
      <h6 style={{ ...style, lineHeight: `${height}px` }}>
        <Icon name={panel.collapsed ? 'angle-right' : 'angle-down'} /> {panel.title}
      </h6>
    );
  }
  return (
    <div style={{ ...style, width, height }}>
      <PanelChrome {...{ width, height }} title={panel.title} description={panel.description}>
        {(innerWidth, innerHeight) => (
          <Content panel={panel} width={innerWidth} height={innerHeight} />
        )}
      </PanelChrome>
    </div>
  );
}

function Page({ dashboard, chosen }) {
  const columnWidth = (document.body.clientWidth - CELL.gap) / COLUMNS;
  return (
    <div style={{ padding: CELL.gap }}>
      <GlobalStyles />
      <h4>{dashboard.title}</h4>
      <div style={{ display: 'flex', height: 40 }}>
        {dashboard.templating.list.map(({ name, label }) => (
          <InlineField key={name} label={label}>
            <Input value={chosen[name]} readOnly width={24} />
          </InlineField>
        ))}
      </div>
      <div style={{ position: 'relative' }}>
        {dashboard.panels.map((panel) => (
          <Place key={panel.id} {...{ panel, columnWidth }} />
        ))}
      </div>
    </div>
  );
}

const page = <Page dashboard={window.DASHBOARD} chosen={window.CHOSEN} />;
createRoot(document.getElementById('root')).render(page);
