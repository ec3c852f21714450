//! Panels in Grafana's form (schema version 41, Grafana 12).

use super::panels::{Kind, Panel, Row};
use serde_json::{Value, json};

/// Width of a dashboard in Grafana's grid.
const WIDTH: u32 = 24;
const HEIGHT: u32 = 8;
const STAT_HEIGHT: u32 = 4;

/// The whole dashboard.
pub(super) fn dashboard(rows: &[Row]) -> Value {
    json!({
        "uid": "xps",
        "title": "XPS",
        "description": "kv-cache, http-guard and heartbeat. Written by `cargo xtask dashboard`.",
        "tags": ["xps"],
        "schemaVersion": 41,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": { "from": "now-15m", "to": "now" },
        "timezone": "browser",
        "templating": { "list": variables() },
        "annotations": { "list": [] },
        "links": [],
        "panels": panels(rows),
    })
}

fn variables() -> Value {
    json!([
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "hide": 0,
            "includeAll": false,
            "multi": false,
            "refresh": 1,
        },
        {
            "name": "instance",
            "label": "Instance",
            "type": "query",
            "datasource": source(),
            "query": { "query": "label_values(xps_build_info, instance)", "refId": "instance" },
            "hide": 0,
            "includeAll": true,
            "allValue": ".*",
            "current": { "text": "All", "value": "$__all" },
            "multi": true,
            "refresh": 2,
            "sort": 1,
        },
    ])
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Rows one below the other; within each, panels from left to right.
fn panels(rows: &[Row]) -> Vec<Value> {
    let (mut found, mut id, mut y) = (Vec::new(), 0, 0);
    let mut next = || {
        id += 1;
        id
    };
    for row in rows {
        found.push(json!({
            "id": next(),
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": place(0, y, WIDTH, 1),
            "panels": [],
        }));
        y += 1;
        let (mut x, mut line) = (0, 0);
        for one in &row.panels {
            let height = if one.kind == Kind::Stat { STAT_HEIGHT } else { HEIGHT };
            if x + one.width > WIDTH {
                (x, y, line) = (0, y + line, 0);
            }
            found.push(panel(one, next(), place(x, y, one.width, height)));
            x += one.width;
            line = line.max(height);
        }
        y += line;
    }
    found
}

fn place(x: u32, y: u32, width: u32, height: u32) -> Value {
    json!({ "x": x, "y": y, "w": width, "h": height })
}

fn panel(panel: &Panel, id: u32, place: Value) -> Value {
    let instant = panel.kind != Kind::Lines;
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip('A'..)
        .map(|((expression, legend), reference)| {
            json!({
                "refId": reference.to_string(),
                "datasource": source(),
                "expr": expression,
                "legendFormat": legend,
                "instant": instant,
                "range": !instant,
            })
        })
        .collect();
    let (kind, options, custom) = form(panel.kind);
    json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source(),
        "gridPos": place,
        "targets": targets,
        "options": options,
        "fieldConfig": {
            "defaults": { "unit": panel.unit, "custom": custom, "mappings": [], "thresholds": thresholds() },
            "overrides": [],
        },
    })
}

/// Grafana's name of a kind, and what it wants to know.
fn form(kind: Kind) -> (&'static str, Value, Value) {
    match kind {
        Kind::Lines => (
            "timeseries",
            json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            json!({ "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false }),
        ),
        Kind::Stat => (
            "stat",
            json!({
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "textMode": "value_and_name",
                "showPercentChange": false,
                "wideLayout": true,
                "percentChangeColorMode": "standard",
            }),
            json!({}),
        ),
    }
}

/// No colours that mean good or bad: what is normal differs from site to site, and alerts have bounds.
fn thresholds() -> Value {
    json!({ "mode": "absolute", "steps": [{ "color": "blue", "value": null }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_do_not_overlap() {
        let panels = panels(&super::super::panels::rows());
        let number = |panel: &Value, key: &str| panel["gridPos"][key].as_u64().unwrap();
        let taken: Vec<[u64; 4]> =
            panels.iter().map(|panel| ["x", "y", "w", "h"].map(|key| number(panel, key))).collect();
        for (index, [x, y, w, h]) in taken.iter().enumerate() {
            assert!(x + w <= u64::from(WIDTH));
            for [other_x, other_y, other_w, other_h] in &taken[index + 1..] {
                let apart = x + w <= *other_x
                    || other_x + other_w <= *x
                    || y + h <= *other_y
                    || other_y + other_h <= *y;
                assert!(apart, "two panels are at {x}, {y}");
            }
        }
    }
}
