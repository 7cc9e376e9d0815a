// Finds and loads a handler, in the order in which Lambda's Node runtime looks:
// the bare name, `.js` (CommonJS or, by the nearest package.json, a module), `.mjs`, `.cjs`, then node_modules.

import { existsSync, readFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { HandlerNotFound, ImportModuleError, MalformedHandlerName, UserCodeSyntaxError } from './errors.mjs';

const require = createRequire(import.meta.url);

// Where `require` looks besides node_modules: the layers. Node reads NODE_PATH only when it starts.
export function setUpLayers() {
  const major = process.versions.node.split('.')[0];
  process.env.NODE_PATH ??= `/opt/nodejs/node${major}/node_modules:/opt/nodejs/node_modules`;
  Module._initPaths();
}

// The handler function that `name` (`folder/file.export.nested`) means below `root`.
export async function load(root, name) {
  if (name.includes('..')) {
    throw new MalformedHandlerName(
      `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const file = path.basename(name);
  const folder = name.slice(0, name.indexOf(file));
  const parts = file.match(/^([^.]*)\.(.*)$/);
  if (!parts) {
    throw new MalformedHandlerName('Bad handler');
  }
  const exports = await loadModule(root, folder, parts[1]);
  const handler = parts[2].split('.').reduce((value, key) => value && value[key], exports);
  if (!handler) {
    throw new HandlerNotFound(`${name} is undefined or not exported`);
  }
  if (typeof handler !== 'function') {
    throw new HandlerNotFound(`${name} is not a function`);
  }
  return handler;
}

async function loadModule(root, folder, name) {
  try {
    return await findModule(root, folder, name);
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new UserCodeSyntaxError(error);
    }
    if (error?.code === 'MODULE_NOT_FOUND') {
      throw new ImportModuleError(error);
    }
    throw error;
  }
}

async function findModule(root, folder, name) {
  const file = path.resolve(root, folder, name);
  if (existsSync(file)) {
    const bare = require(file);
    if (bare) {
      return bare;
    }
  }
  if (existsSync(`${file}.js`)) {
    return isModuleFolder(path.dirname(file)) ? importFile(`${file}.js`) : require(`${file}.js`);
  }
  if (existsSync(`${file}.mjs`)) {
    return importFile(`${file}.mjs`);
  }
  if (existsSync(`${file}.cjs`)) {
    return require(`${file}.cjs`);
  }
  return require(require.resolve(name, { paths: [root, path.resolve(root, folder)] }));
}

function importFile(file) {
  return import(pathToFileURL(file).href);
}

// What the nearest package.json says about `.js` files, as Node itself looks for it.
function isModuleFolder(folder) {
  if (folder.endsWith('/node_modules')) {
    return false;
  }
  const file = path.join(folder, 'package.json');
  if (existsSync(file)) {
    try {
      return JSON.parse(readFileSync(file, 'utf8'))?.type === 'module';
    } catch (error) {
      console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
      return false;
    }
  }
  return folder !== '/' && isModuleFolder(path.dirname(folder));
}
