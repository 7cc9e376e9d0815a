// The runtime as the supervisor sees it: frames in, frames and log out. Run with `node --test`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Instance } from './instance.mjs';

// One event through one handler: the frame that answers it.
async function check(source, expected, { event = {}, name = 'index.mjs', handler = 'index.handler' } = {}) {
  const instance = new Instance({ [name]: source }, handler);
  assert.deepEqual(await instance.receive(), ['READY', '']);
  assert.deepEqual(await instance.invoke(event), expected);
  assert.ok(instance.header.memory > 0);
  await instance.end();
  return instance;
}

// A function that cannot be initialised: what it says, and that it leaves.
async function checkInit(files, handler, errorType, message) {
  const instance = new Instance(files, handler);
  const [kind, body] = await instance.receive();
  assert.equal(kind, 'INIT_ERROR');
  assert.equal(body.errorType, errorType);
  assert.match(body.errorMessage, message);
  assert.ok(Array.isArray(body.trace));
  assert.equal((await instance.exited)[0], 1);
  assert.match(instance.log, /\tundefined\tERROR\tUncaught Exception \t\{/);
  await instance.end();
}

test('async handlers answer what they return', () =>
  check('export const handler = async (event) => ({ got: event })', ['RESPONSE', { got: { a: 1 } }], { event: { a: 1 } }));

test('undefined is null', () => check('export const handler = async () => {}', ['RESPONSE', null]));

test('a handler that never answers has answered null', () =>
  check('export const handler = () => new Promise(() => {})', ['RESPONSE', null]));

test('handlers are found where Lambda finds them', async () => {
  const commonjs = 'exports.handler = async () => 1';
  const module = 'export const handler = async () => 1';
  await check(commonjs, ['RESPONSE', 1], { name: 'index.js' });
  await check(commonjs, ['RESPONSE', 1], { name: 'index.cjs' });
  await check(commonjs, ['RESPONSE', 1], { name: 'a/b/index.js', handler: 'a/b/index.handler' });
  await check(commonjs, ['RESPONSE', 1], { name: 'node_modules/index/index.js' });
  await check('exports.deep = { handler: async () => 1 }', ['RESPONSE', 1], {
    name: 'index.js',
    handler: 'index.deep.handler',
  });
  const instance = new Instance({ 'package.json': '{"type":"module"}', 'index.js': module }, 'index.handler');
  await instance.receive();
  assert.deepEqual(await instance.invoke({}), ['RESPONSE', 1]);
  await instance.end();
});

test('a callback waits for the event loop to be empty', () =>
  check(
    `export const handler = (event, context, callback) => {
       const result = {};
       setTimeout(() => { result.late = true }, 5);
       callback(null, result);
     }`,
    ['RESPONSE', { late: true }],
  ));

test('a callback does not wait where it is told not to', () =>
  check(
    `export const handler = (event, context, callback) => {
       context.callbackWaitsForEmptyEventLoop = false;
       const result = {};
       setTimeout(() => { result.late = true }, 600_000);
       callback(null, result);
     }`,
    ['RESPONSE', {}],
  ));

test('done, succeed and fail answer, and only the first counts', async () => {
  await check('export const handler = (e, c) => { c.done(null, 1); c.fail("no") }', ['RESPONSE', 1]);
  await check('export const handler = (e, c) => { c.succeed(2); c.succeed(3) }', ['RESPONSE', 2]);
  const error = { errorType: 'string', errorMessage: 'no', trace: [] };
  await check('export const handler = (e, c) => { c.fail("no") }', ['ERROR', error]);
  await check('export const handler = (e, c, callback) => { callback("no") }', ['ERROR', error]);
  await check('export const handler = async () => { throw "no" }', ['ERROR', error]);
});

test('the context has all fields', async () => {
  const instance = new Instance(
    {
      'index.mjs': `export const handler = async (event, context) => ({
        ...context, left: context.getRemainingTimeInMillis() > 0, cwd: process.cwd(),
        env: process.env.SQUALL_SOCKET_FD ?? null, trace: process.env._X_AMZN_TRACE_ID })`,
    },
    'index.handler',
  );
  await instance.receive();
  const [, context] = await instance.invoke({}, { trace: 't', client_context: { a: 1 } });
  assert.deepEqual(context, {
    awsRequestId: 'id-1',
    callbackWaitsForEmptyEventLoop: true,
    clientContext: { a: 1 },
    cwd: instance.root,
    env: null,
    functionName: 'f',
    invokedFunctionArn: 'arn:f',
    left: true,
    trace: 't',
  });
  await instance.end();
});

test('an error has type, message and trace, and the instance lives on', async () => {
  const source = `export const handler = async (event) => {
    if (event.fail) { class Oh extends TypeError { name = 'Oh' } throw new Oh('no') }
    return 1;
  }`;
  const instance = new Instance({ 'index.mjs': source }, 'index.handler');
  await instance.receive();
  const [kind, error] = await instance.invoke({ fail: true });
  assert.equal(kind, 'ERROR');
  assert.equal(error.errorType, 'Oh');
  assert.equal(error.errorMessage, 'no');
  assert.match(error.trace[1], /index\.mjs/);
  assert.match(instance.log, /\tid-1\tERROR\tInvoke Error \t\{"errorType":"Oh"/);
  assert.deepEqual(await instance.invoke({}), ['RESPONSE', 1]);
  assert.equal(await instance.end(), 0);
});

test('what cannot be JSON is an error', async () => {
  const instance = new Instance({ 'index.mjs': 'export const handler = async () => 1n' }, 'index.handler');
  await instance.receive();
  const [kind, error] = await instance.invoke({});
  assert.deepEqual([kind, error.errorMessage], ['ERROR', 'Unable to stringify response body']);
  await instance.end();
});

test('the largest response is sent and a larger one refused', async () => {
  const instance = new Instance(
    { 'index.mjs': 'export const handler = async ({ bytes }) => "z".repeat(bytes - 2)' },
    'index.handler',
  );
  await instance.receive();
  const [kind, body] = await instance.invoke({ bytes: 6291556 });
  assert.deepEqual([kind, body.length], ['RESPONSE', 6291554]);
  const [refused, error] = await instance.invoke({ bytes: 6291557 });
  assert.deepEqual([refused, error.errorType], ['ERROR', 'Function.ResponseSizeTooLarge']);
  await instance.end();
});

test('a large event arrives whole', () =>
  check('export const handler = async (event) => event.length', ['RESPONSE', 1_000_000], {
    event: 'é'.repeat(1_000_000),
  }));

test('console writes the records of Lambda', async () => {
  const { log } = await check(
    'export const handler = async () => { console.log("a %s", "b"); console.warn({ c: 1 }) }',
    ['RESPONSE', null],
  );
  assert.match(log, /^\d{4}-\d\d-\d\dT[\d:.]+Z\tid-1\tINFO\ta b\n\S+\tid-1\tWARN\t\{ c: 1 \}\n$/);
});

test('console writes JSON where that is asked for', async () => {
  const instance = new Instance(
    { 'index.mjs': 'export const handler = async () => { console.info("no"); console.error("yes") }' },
    'index.handler',
    { environment: { AWS_LAMBDA_LOG_FORMAT: 'JSON', AWS_LAMBDA_LOG_LEVEL: 'ERROR' } },
  );
  await instance.receive();
  await instance.invoke({});
  await instance.end();
  const { level, requestId, message } = JSON.parse(instance.log);
  assert.deepEqual([level, requestId, message], ['ERROR', 'id-1', 'yes']);
});

test('initialisation errors have Lambda\'s names', async () => {
  await checkInit({}, 'index.handler', 'Runtime.ImportModuleError', /Cannot find module 'index'/);
  await checkInit({ 'index.js': 'require("lost")' }, 'index.handler', 'Runtime.ImportModuleError', /'lost'/);
  await checkInit({ 'index.js': '' }, 'index.handler', 'Runtime.HandlerNotFound', /is undefined or not exported/);
  await checkInit({ 'index.js': 'exports.handler = 1' }, 'index.handler', 'Runtime.HandlerNotFound', /not a function/);
  await checkInit({ 'index.js': 'let {' }, 'index.handler', 'Runtime.UserCodeSyntaxError', /SyntaxError/);
  await checkInit({}, '../index.handler', 'Runtime.MalformedHandlerName', /not a valid handler name/);
  await checkInit({ 'index.mjs': 'throw new RangeError("oh")' }, 'index.handler', 'RangeError', /^oh$/);
});

test('what nobody catches fails the event and ends the instance', async () => {
  for (const [cause, errorType, status] of [
    ['setImmediate(() => { throw new RangeError("oh") })', 'RangeError', 129],
    ['Promise.reject(new Error("oh"))', 'Runtime.UnhandledPromiseRejection', 128],
  ]) {
    const source = `export const handler = () => { ${cause}; return new Promise((r) => setTimeout(r, 600_000)) }`;
    const instance = new Instance({ 'index.mjs': source }, 'index.handler');
    await instance.receive();
    const [kind, error] = await instance.invoke({});
    assert.deepEqual([kind, error.errorType], ['ERROR', errorType]);
    assert.equal((await instance.exited)[0], status);
    await instance.end();
  }
});

test('a streaming handler\'s chunks are one answer', () =>
  check(
    `export const handler = awslambda.streamifyResponse(async (event, stream) => {
       stream.write('{"a":'); stream.write('1}'); stream.end();
     })`,
    ['RESPONSE', { a: 1 }],
  ));

test('a streaming handler that does not end its stream has failed', () =>
  check('export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.write("1") })', [
    'ERROR',
    { errorType: 'string', errorMessage: 'Response stream is not finished.', trace: [] },
  ]));

test('an instance that is let go leaves', async () => {
  const instance = new Instance({ 'index.mjs': 'export const handler = async () => 1' }, 'index.handler');
  await instance.receive();
  assert.equal(await instance.end(), 0);
});
