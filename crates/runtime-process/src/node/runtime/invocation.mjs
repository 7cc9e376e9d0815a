// One event's way through a handler: the context, the three ways to answer, and the one that counts.
// Semantics and wording are those of Lambda's Node runtime.

import { forCaller } from './errors.mjs';
import { ERROR, RESPONSE } from './frames.mjs';
import { logError, setRequestId } from './log.mjs';
import { ResponseStream } from './stream.mjs';

const BEFORE_EXIT = Symbol.for('aws.lambda.beforeExit');

export class Invocation {
  answered = false;
  #channel;
  #invoke;
  #bytesMax;
  #next;
  #waitsForEmptyEventLoop = true;

  // `invoke` is the frame's header; `next` is called once the answer is out.
  constructor(channel, invoke, bytesMax, next) {
    this.#channel = channel;
    this.#invoke = invoke;
    this.#bytesMax = bytesMax;
    this.#next = next;
    setRequestId(invoke.id);
    if (invoke.trace === undefined) {
      delete process.env._X_AMZN_TRACE_ID;
    } else {
      process.env._X_AMZN_TRACE_ID = invoke.trace;
    }
    // A handler that never answers and has nothing left to wait for has answered null.
    whenEventLoopIsEmpty(() => this.#respond(null));
  }

  run(handler, body) {
    const settle = once((error, result) => this.#settle(error, result));
    const callback = once((error, result) => {
      if (isError(error) || !this.#waitsForEmptyEventLoop) {
        settle(error, result);
      } else {
        whenEventLoopIsEmpty(() => setImmediate(settle, null, result));
      }
    });
    const succeed = (result) => settle(null, result);
    const fail = (error) => settle(isError(error) ? error : 'handled');
    try {
      const context = Object.assign(this.#context(), { succeed, fail, done: settle });
      const result = handler(JSON.parse(body), this.#withSwitch(context), callback);
      if (typeof result?.then === 'function') {
        result.then(succeed, fail);
      }
    } catch (error) {
      settle(isError(error) ? error : 'handled');
    }
  }

  async runStreaming(handler, body) {
    const stream = new ResponseStream(this.#bytesMax);
    try {
      const result = handler(JSON.parse(body), stream, this.#withSwitch(this.#context()));
      if (typeof result?.then !== 'function') {
        throw 'Streaming does not support non-async handlers.';
      }
      if ((await result) !== undefined) {
        console.warn('Streaming handlers ignore return values.');
      }
      if (!stream.writableEnded) {
        throw 'Response stream is not finished.';
      }
      this.#answer(RESPONSE, Buffer.concat(stream.chunks), stream.bytes);
    } catch (error) {
      this.fail(error);
    }
  }

  // Answers with an error, and logs it.
  fail(error, title = 'Invoke Error') {
    if (!this.answered) {
      logError(title, error);
      this.#answer(ERROR, JSON.stringify(bounded(forCaller(error), this.#bytesMax)));
    }
  }

  #settle(error, result) {
    if (isError(error)) {
      this.fail(error);
    } else {
      this.#respond(result);
    }
  }

  #respond(result) {
    let body;
    try {
      body = JSON.stringify(result) ?? 'null';
    } catch {
      this.fail(new Error('Unable to stringify response body'));
      return;
    }
    this.#answer(RESPONSE, body);
  }

  #answer(kind, body, bytes = Buffer.byteLength(body)) {
    if (this.answered) {
      return;
    }
    this.answered = true;
    whenEventLoopIsEmpty(() => {});
    if (bytes > this.#bytesMax) {
      const errorMessage = `Response payload size exceeded maximum allowed payload size (${this.#bytesMax} bytes).`;
      this.#channel.send(ERROR, JSON.stringify({ errorMessage, errorType: 'Function.ResponseSizeTooLarge' }));
    } else {
      this.#channel.send(kind, body);
    }
    this.#next();
  }

  #context() {
    const deadline = this.#invoke.deadline_ms;
    const env = process.env;
    return {
      functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
      functionName: env.AWS_LAMBDA_FUNCTION_NAME,
      memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
      logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
      logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
      clientContext: this.#invoke.client_context,
      identity: undefined,
      invokedFunctionArn: this.#invoke.arn,
      awsRequestId: this.#invoke.id,
      tenantId: undefined,
      getRemainingTimeInMillis: () => deadline - Date.now(),
    };
  }

  #withSwitch(context) {
    return Object.defineProperty(context, 'callbackWaitsForEmptyEventLoop', {
      enumerable: true,
      get: () => this.#waitsForEmptyEventLoop,
      set: (value) => {
        this.#waitsForEmptyEventLoop = value;
      },
    });
  }
}

// Replaces what `beforeExit` does: Node emits it when nothing is left to wait for.
export function whenEventLoopIsEmpty(action) {
  globalThis[BEFORE_EXIT] = action;
}

process.on('beforeExit', () => globalThis[BEFORE_EXIT]?.());

function isError(value) {
  return value !== undefined && value !== null;
}

function once(action) {
  let called = false;
  return (...values) => {
    if (!called) {
      called = true;
      action(...values);
    }
  };
}

// An error that is itself too large keeps its type and the start of its message.
function bounded(error, bytesMax) {
  if (Buffer.byteLength(JSON.stringify(error)) <= bytesMax) {
    return error;
  }
  return { ...error, errorMessage: error.errorMessage.slice(0, 1024), trace: [] };
}
