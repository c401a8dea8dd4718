// Reads {packages, documents} on stdin; prints a list of faults that @kubernetes-models' own validators find.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const modules = join(dirname(fileURLToPath(import.meta.url)), "node_modules");
const { packages, documents } = JSON.parse(readFileSync(0, "utf8"));
const faults = [];
for (const document of documents) {
  const { apiVersion, kind } = document;
  const [group, version] = apiVersion.includes("/") ? apiVersion.split("/") : ["", apiVersion];
  const name = `${kind} ${document.metadata?.name}`;
  const folder = group in packages
    ? join(modules, "@kubernetes-models", packages[group], group)
    : join(modules, "kubernetes-models", group);
  const path = join(folder, version, `${kind}.js`);
  let module;
  try {
    module = await import(pathToFileURL(path));
  } catch (error) {
    faults.push(`${name}: no validator of ${apiVersion} (${error.code ?? error})`);
    continue;
  }
  try {
    new module[kind](document).validate();
  } catch (error) {
    faults.push(`${name}: ${error.message}`);
  }
}
console.log(JSON.stringify(faults));
