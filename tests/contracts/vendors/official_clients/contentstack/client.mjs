// Run Contentstack's own client as told by one JSON document on standard input; answer with one on standard output.
//
// {"edge": url, "project": uid, "visits": [...]}; a visit has "url", "headers", "liveAttributes", "tags", "page", and
// "steps": [[method, ...arguments], ...].
// A visit with "page" is one of a browser: its text is the page's document.cookie.
import { readFileSync } from "node:fs";
import Personalize from "@contentstack/personalize-edge-sdk";

const asked = JSON.parse(readFileSync(0, "utf8"));
Personalize.setEdgeApiUrl(asked.edge);

async function visit({ url, headers, page, steps = [], ...options }) {
  if (page === undefined) {
    options.request = new Request(url, { headers });
  } else {
    globalThis.document = { cookie: page, referrer: "" };
    globalThis.window = { document: globalThis.document, location: { href: url } };
  }
  try {
    const sdk = await Personalize.init(asked.project, options);
    for (const [method, ...args] of steps) await sdk[method](...args);
    const response = new Response("");
    sdk.addStateToResponse(response);
    return {
      uid: sdk.getUserId(),
      experiences: sdk.getExperiences(),
      aliases: sdk.getVariantAliases(),
      param: sdk.getVariantParam(),
      setCookie: response.headers.getSetCookie(),
    };
  } catch (error) {
    return { error: error.message };
  } finally {
    delete globalThis.window;
    delete globalThis.document;
  }
}

const visits = [];
for (const each of asked.visits) visits.push(await visit(each));
console.log(JSON.stringify(visits));
