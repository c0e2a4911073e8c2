// Drives Adobe's Node client by lines of JSON on standard input; answers each with one line of JSON.
"use strict";
const readline = require("node:readline");
const path = require("node:path");
const Client = require(path.join(process.env.FLAGMW_OFFICIAL, "node_modules", "@adobe/target-nodejs-sdk"));

const realNow = Date.now;
const clients = new Map();

async function create({ id, port, wiring, config }) {
  const hosts = [];
  const wired = wiring === "serverDomain"
    ? { serverDomain: `127.0.0.1:${port}`, secure: false }
    : {
        fetchApi: (url, options) => {
          const asked = new URL(url);
          hosts.push(asked.host);
          return fetch(`http://127.0.0.1:${port}${asked.pathname}${asked.search}`, options);
        },
      };
  let client;
  await new Promise((resolve, reject) => {
    client = Client.create({
      client: "demo",
      organizationId: "0123456789ABCDEF@AdobeOrg",
      telemetryEnabled: false,
      timeout: 5000,
      events: { clientReady: resolve, artifactDownloadFailed: reject },
      ...wired,
      ...config,
    });
    if (!config || config.decisioningMethod === undefined) resolve();
  });
  clients.set(id, { client, hosts });
  return {};
}

async function offers({ id, options, now }) {
  const { client, hosts } = clients.get(id);
  if (now !== undefined) Date.now = () => now;
  try {
    const { response, targetCookie, targetLocationHintCookie, meta } = await client.getOffers(options);
    return { response, cookie: targetCookie, hint: targetLocationHintCookie, meta, hosts: hosts.splice(0) };
  } catch (error) {
    return { error: String(error.message || error), hosts: hosts.splice(0) };
  } finally {
    Date.now = realNow;
  }
}

async function notify({ id, options }) {
  try {
    const { response } = await clients.get(id).client.sendNotifications(options);
    return { response };
  } catch (error) {
    return { error: String(error.message || error) };
  }
}

async function attributes({ id, mboxes, keys, options }) {
  const found = await clients.get(id).client.getAttributes(mboxes, options);
  return { values: mboxes.map((mbox) => keys.map((key) => {
    const value = found.getValue(mbox, key);
    return value instanceof Error ? null : value;
  })) };
}

// Many visitors in one go: the name of the experience of each mbox, for each tntId.
async function many({ id, visitors, mboxes, parameters, context }) {
  const { client } = clients.get(id);
  const names = [];
  for (const tntId of visitors) {
    const wanted = mboxes.map((name, index) => ({ index, name, parameters }));
    const { response } = await client.getOffers({ request: { id: { tntId }, context, prefetch: { mboxes: wanted } } });
    names.push(response.prefetch.mboxes.map(({ options = [] }) =>
      options.length ? options[0].responseTokens["experience.name"] : null));
  }
  return { names };
}

// Many visits by rules: for each of them, whether each mbox has an option.
async function rules({ id, visits, mboxes }) {
  const { client } = clients.get(id);
  const held = [];
  for (const { context, parameters, tntId } of visits) {
    const wanted = mboxes.map((name, index) => ({ index, name, parameters }));
    const { response } = await client.getOffers({ request: { id: { tntId }, context, prefetch: { mboxes: wanted } } });
    held.push(response.prefetch.mboxes.map(({ options = [] }) => options.length > 0));
  }
  return { held };
}

const operations = { create, offers, notify, attributes, many, rules };
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
