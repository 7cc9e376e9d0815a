// Response streaming: the global `awslambda` and the stream that a streaming handler writes to.
// The answer is collected whole and bounded; it is sent in one frame.

import { Writable } from 'node:stream';
import { InvalidStreamingOperation, MalformedStreamingHandler } from './errors.mjs';

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HTTP_INTEGRATION = 'application/vnd.awslambda.http-integration-response';

export function setUpGlobal() {
  globalThis.awslambda = {
    streamifyResponse(handler) {
      handler[STREAMING] = 'response';
      return handler;
    },
    HttpResponseStream: class HttpResponseStream {
      // The status and headers go first, as JSON, then eight zero bytes, then the body.
      static from(stream, prelude) {
        stream.setContentType(HTTP_INTEGRATION);
        stream._onBeforeFirstWrite = (write) => {
          write(JSON.stringify(prelude));
          write(new Uint8Array(8));
        };
        return stream;
      }
    },
  };
}

export function isStreaming(handler) {
  const streaming = handler[STREAMING] ?? false;
  if (streaming !== false && streaming !== 'response') {
    throw new MalformedStreamingHandler('Only response streaming is supported.');
  }
  return streaming !== false;
}

export class ResponseStream extends Writable {
  contentType = 'application/octet-stream';
  // What was written, until it is more than may be sent; then only its size counts.
  chunks = [];
  bytes = 0;
  #bytesMax;
  #started = false;

  constructor(bytesMax) {
    super();
    this.#bytesMax = bytesMax;
  }

  setContentType(contentType) {
    if (this.#started) {
      throw new InvalidStreamingOperation('Cannot set content-type, too late.');
    }
    this.contentType = contentType;
  }

  write(chunk, ...rest) {
    if (!this.#started) {
      this.#started = true;
      this._onBeforeFirstWrite?.((first) => super.write(first));
    }
    const raw = typeof chunk === 'string' || chunk instanceof Uint8Array;
    return super.write(raw ? chunk : JSON.stringify(chunk), ...rest);
  }

  _write(chunk, _encoding, done) {
    this.bytes += chunk.length;
    if (this.bytes <= this.#bytesMax) {
      this.chunks.push(chunk);
    } else {
      this.chunks = [];
    }
    done();
  }
}
