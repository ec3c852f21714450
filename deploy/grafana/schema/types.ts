// What dashboards hold, by Grafana's own types. Panels are checked one by one, each against the options of its kind: Grafana's types
// leave those open. `extends` makes each one that the schema generator sees.

import {
  Dashboard,
  Panel,
  RowPanel,
} from "./node_modules/@grafana/schema/dist/types/raw/dashboard/x/dashboard_types.gen";
import * as stat from "./node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import * as lines from "./node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

export interface WholeDashboard extends Omit<Dashboard, "panels"> {
  panels: unknown[];
}
export interface OneRow extends Omit<RowPanel, "panels"> {
  panels: unknown[];
}
export interface OnePanel extends Panel {}
/** A query to Prometheus, of which the package has no type. */
export interface OneTarget {
  refId: string;
  datasource: { type: "prometheus"; uid: string };
  expr: string;
  legendFormat: string;
  instant: boolean;
  range: boolean;
}
export interface LinesOptions extends lines.Options {}
export interface LinesField extends lines.FieldConfig {}
export interface StatOptions extends stat.Options {}
