// Run Contentstack's own exporter or importer as told by one JSON document on standard input.
//
// {"url": ..., "action": "export" or "import", "data": directory, "stack": key, "project": uid, "name": ...}; the
// answer on standard output is {"project": uid}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const asked = JSON.parse(readFileSync(0, "utf8"));
const { configHandler } = require("@contentstack/cli-utilities");
const tool = require("@contentstack/cli-variants");
configHandler.set("authtoken", "sandbox-authtoken");

const part = (name) => ({ dirName: name, fileName: `${name}.json` });
const noise = ["updatedAt", "createdBy", "updatedBy", "_id", "createdAt", "createdByUserName", "updatedByUserName"];
const parts = Object.fromEntries(
  ["projects", "attributes", "audiences", "events", "experiences"].map((name) => [
    name,
    { ...part(name), invalidKeys: noise, thresholdTimer: 2000, checkIntervalDuration: 200 },
  ]),
);
const config = {
  data: asked.data,
  backupDir: asked.data,
  branchName: "",
  apiKey: asked.stack,
  org_uid: "sandbox-organization",
  project_id: asked.project,
  personalizeProjectName: asked.name,
  region: { name: "NA", cma: asked.url },
  context: {},
  modules: {
    ...parts,
    personalize: { dirName: "personalize", baseURL: { NA: asked.url }, importData: true, ...parts },
  },
};

if (asked.action === "export") {
  await new tool.ExportProjects(config).start();
  for (const Part of [tool.ExportAttributes, tool.ExportAudiences, tool.ExportEvents, tool.ExportExperiences]) {
    await new Part(config).start();
  }
} else {
  const { Project, Attribute, Audiences, Events, Experiences } = tool.Import;
  await new Project(config).import();
  config.project_id = config.modules.personalize.project_id;
  // Its classes take settings out of the configuration that they are given.
  for (const Part of [Attribute, Audiences, Events, Experiences]) await new Part({ ...config }).import();
}
process.stdout.write(`\n${JSON.stringify({ project: config.project_id })}\n`, () => process.exit(0));
