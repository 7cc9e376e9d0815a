// Runs a handler: loads it, gives it events, answers. The main loop of every managed Node instance.
//
// Started by the supervisor with the socket as SQUALL_SOCKET_FD; until INIT comes it belongs to no function.
// Reading order: frames.mjs (the protocol), loader.mjs (which function), invocation.mjs (one event), host.mjs
// (what it asks), log.mjs.

import { UnhandledPromiseRejection, forCaller } from './errors.mjs';
import { Channel, INIT, INIT_ERROR, INVOKE, READY } from './frames.mjs';
import { setUpHost } from './host.mjs';
import { Invocation } from './invocation.mjs';
import { load, setUpLayers } from './loader.mjs';
import { logError, patchConsole } from './log.mjs';
import { isStreaming, setUpGlobal } from './stream.mjs';

const RESPONSE_BYTES_MAX = 6_291_556;
// The statuses with which Lambda's runtime leaves.
const UNHANDLED_REJECTION = 128;
const UNCAUGHT_EXCEPTION = 129;

const channel = new Channel(Number(process.env.SQUALL_SOCKET_FD ?? 3));
let invocation = null;
let ready = false;

const init = expect(INIT).header;
const bytesMax = init.response_bytes_max ?? RESPONSE_BYTES_MAX;
takeEnvironment(init.environment, init.task_root);
patchConsole();
setUpGlobal();
setUpHost(channel);
process.on('uncaughtException', (error) => leave('Uncaught Exception', error, UNCAUGHT_EXCEPTION));
process.on('unhandledRejection', (reason, promise) => {
  leave('Unhandled Promise Rejection', new UnhandledPromiseRejection(reason, promise), UNHANDLED_REJECTION);
});
try {
  const handler = await load(init.task_root, init.handler);
  const streaming = isStreaming(handler);
  ready = true;
  channel.send(READY);
  setImmediate(serve, handler, streaming);
} catch (error) {
  leave('Uncaught Exception', error, UNCAUGHT_EXCEPTION);
}

function serve(handler, streaming) {
  const { header, body } = expect(INVOKE);
  // The next event waits for a turn of the event loop, so that what this one left over gets its share.
  invocation = new Invocation(channel, header, bytesMax, () => setImmediate(serve, handler, streaming));
  if (streaming) {
    invocation.runStreaming(handler, body);
  } else {
    invocation.run(handler, body);
  }
}

function expect(kind) {
  const frame = channel.receive();
  if (frame.kind !== kind) {
    throw new Error(`squall: expected a frame of kind ${kind}, got ${frame.kind}`);
  }
  return frame;
}

// Nobody caught the error: tells whoever waits, and ends.
function leave(title, error, status) {
  if (!ready) {
    logError(title, error);
    channel.send(INIT_ERROR, JSON.stringify(forCaller(error)));
    process.exit(1);
  }
  if (invocation === null || invocation.answered) {
    logError(title, error);
  } else {
    invocation.fail(error, title);
  }
  process.exit(status);
}

function takeEnvironment(environment, taskRoot) {
  for (const name of Object.keys(process.env)) {
    delete process.env[name];
  }
  Object.assign(process.env, environment);
  setUpLayers();
  process.chdir(taskRoot);
}
