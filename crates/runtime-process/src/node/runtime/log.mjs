// `console` as Lambda's Node runtime has it: one record per call on stdout, as tab-separated text or JSON,
// filtered by AWS_LAMBDA_LOG_LEVEL. Standard output is a pipe, which Node writes synchronously:
// all that was logged is out before the frame that answers the event.

import { format } from 'node:util';
import { forLog } from './errors.mjs';

const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
const REQUEST_ID = Symbol.for('aws.lambda.runtime.requestId');

let json = false;

export function setRequestId(id) {
  globalThis[REQUEST_ID] = id;
}

// Replaces the methods of `console`. Called once the function's own environment is there.
export function patchConsole() {
  json = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
  const write = json ? writeJson : writeText;
  const least = Math.max(0, LEVELS.indexOf(process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()));
  for (const [priority, level] of LEVELS.entries()) {
    const silent = priority < least && level !== 'FATAL';
    console[level.toLowerCase()] = silent ? () => {} : (...values) => write(level, values);
  }
  console.log = console.info;
}

// An error that nobody in the function caught.
export function logError(title, thrown) {
  const error = thrown instanceof Error ? thrown : new Error(thrown);
  if (json) {
    console.error(error);
  } else {
    console.error(title, forLog(error));
  }
}

function writeText(level, values) {
  const now = new Date().toISOString();
  process.stdout.write(`${now}\t${globalThis[REQUEST_ID]}\t${level}\t${format(...values)}\n`);
}

function writeJson(level, values) {
  const record = { timestamp: new Date().toISOString(), level, requestId: globalThis[REQUEST_ID] };
  let line;
  if (values.length === 1) {
    try {
      line = JSON.stringify({ ...record, message: values[0] }, errorsAsFields);
    } catch {
      line = JSON.stringify({ ...record, message: format(values[0]) });
    }
  } else {
    const error = values.find((value) => value instanceof Error);
    line = JSON.stringify({ ...record, message: format(...values), ...(error && errorFields(error)) });
  }
  process.stdout.write(`${line}\n`);
}

function errorsAsFields(_, value) {
  return value instanceof Error ? { ...errorFields(value), ...value } : value;
}

function errorFields(error) {
  return {
    errorType: error.constructor?.name ?? 'UnknownError',
    errorMessage: error.message,
    stackTrace: typeof error.stack === 'string' ? error.stack.split('\n') : [],
  };
}
