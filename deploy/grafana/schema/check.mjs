// Holds a dashboard against Grafana's own types: node check.mjs xps.json. Names each place that is wrong, and fails if there is one.

import { readFileSync } from "node:fs";
import Ajv from "ajv";
import { createGenerator } from "ts-json-schema-generator";

const schemas = createGenerator({ path: "types.ts", tsconfig: "tsconfig.json", skipTypeCheck: true });
const validators = new Map();
let mistakes = 0;

function check(type, value, place) {
  if (!validators.has(type)) {
    // Grafana's types know formats and keywords that ajv does not.
    validators.set(type, new Ajv({ strict: false, allErrors: true }).compile(schemas.createSchema(type)));
  }
  const validate = validators.get(type);
  if (validate(value)) return;
  for (const { instancePath, message, params } of validate.errors) {
    mistakes += 1;
    console.log(`${place}: ${type}${instancePath} ${message} ${JSON.stringify(params)}`);
  }
}

const dashboard = JSON.parse(readFileSync(process.argv[2]));
check("WholeDashboard", dashboard, "dashboard");
for (const panel of dashboard.panels) {
  const place = `panel "${panel.title}"`;
  if (panel.type === "row") {
    check("OneRow", panel, place);
    continue;
  }
  check("OnePanel", panel, place);
  for (const target of panel.targets) check("OneTarget", target, place);
  if (panel.type === "stat") {
    check("StatOptions", panel.options, place);
  } else if (panel.type === "timeseries") {
    check("LinesOptions", panel.options, place);
    check("LinesField", panel.fieldConfig.defaults.custom, place);
  } else {
    mistakes += 1;
    console.log(`${place}: nobody knows the options of "${panel.type}" here; add them to types.ts`);
  }
}
console.log(`${dashboard.panels.length} panels, ${mistakes} mistakes`);
process.exitCode = mistakes === 0 ? 0 : 1;
