// Drives Adobe's Node client of the Admin API by lines of JSON on standard input; answers each with one line of JSON.
"use strict";
const path = require("node:path");
const readline = require("node:readline");
const modules = path.join(process.env.FLAGMW_OFFICIAL, "node_modules");
const Ajv = require(path.join(modules, "ajv"));
const library = require(path.join(modules, "@adobe/aio-lib-target"));
const Swagger = require(path.join(modules, "swagger-client"));
const description = require(path.join(modules, "@adobe/aio-lib-target/spec/target_api.json"));

// The client has no option for another address: its requests are sent to the sandbox instead.
const realFetch = globalThis.fetch;
let sandbox = null;
let asked = [];
globalThis.fetch = (input, options) => {
  const url = new URL(typeof input === "string" ? input : input.url);
  if (url.host === `127.0.0.1:${sandbox}`) return realFetch(input, options);
  if (url.host !== "mc.adobe.io") throw new Error(`asked for ${url.host}`);
  asked.push({ method: (options && options.method) || input.method, path: url.pathname });
  return realFetch(`http://127.0.0.1:${sandbox}${url.pathname}${url.search}`, options);
};

const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
ajv.addSchema({ $id: "description", components: description.components });

// What the client's published description says of an answer, as a check of it.
function checkOf(operationId) {
  for (const methods of Object.values(description.paths)) {
    for (const operation of Object.values(methods)) {
      if (operation.operationId !== operationId) continue;
      const content = Object.values(operation.responses["200"].content)[0];
      const text = JSON.stringify(content.schema).replaceAll("#/components", "description#/components");
      return ajv.compile(JSON.parse(text));
    }
  }
  throw new Error(`the description has no ${operationId}`);
}

// Reads the sandbox's own description with the library that Adobe's client reads its own with, and calls by it.
async function described({ port, token, key, tenant, operationId }) {
  sandbox = port;
  const swagger = await Swagger({ url: `http://127.0.0.1:${port}/openapi` });
  const ids = Object.values(swagger.apis).flatMap((tag) => Object.keys(tag));
  const tag = Object.values(swagger.apis).find((one) => one[operationId]);
  const headers = { Authorization: `Bearer ${token}`, "X-Api-Key": key };
  const requestInterceptor = (request) => Object.assign(request.headers, headers) && request;
  const response = await tag[operationId]({ tenant }, { requestInterceptor });
  return { errors: swagger.errors.map(String), ids, status: response.status, body: response.body };
}

let client = null;
const operations = {
  described,
  async create({ port, tenant, key, token }) {
    sandbox = port;
    client = await library.init(tenant, key, token);
    const names = Object.getOwnPropertyNames(Object.getPrototypeOf(client));
    return { methods: names.filter((name) => !name.startsWith("__") && !["constructor", "init"].includes(name)) };
  },
  async call({ method, args, operationId }) {
    asked = [];
    let response;
    try {
      response = await client[method](...args);
    } catch (error) {
      const details = error.sdkDetails || {};
      return { error: String(error.message), code: error.code, details, asked };
    }
    const check = checkOf(operationId);
    const problems = check(response.body) ? [] : check.errors.map((one) => `${one.instancePath} ${one.message}`);
    return { status: response.status, body: response.body, problems, asked };
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const command = JSON.parse(line);
  let answer;
  try {
    answer = await operations[command.op](command);
  } catch (error) {
    answer = { failed: String(error.stack || JSON.stringify(error)) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
