// A supervisor for tests: starts the runtime on a folder of files, speaks frames with it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const BOOTSTRAP = new URL('../bootstrap.mjs', import.meta.url).pathname;
export const KINDS = { 129: 'READY', 130: 'INIT_ERROR', 131: 'RESPONSE', 132: 'ERROR' };

export class Instance {
  log = '';
  #received = Buffer.alloc(0);

  // `files` maps names to texts; `init` adds to INIT's header.
  constructor(files, handler, init = {}) {
    this.root = mkdtempSync(path.join(tmpdir(), 'squall-node-'));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(path.dirname(path.join(this.root, name)), { recursive: true });
      writeFileSync(path.join(this.root, name), text);
    }
    this.process = spawn(process.execPath, [BOOTSTRAP], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on('data', (data) => (this.log += data));
    }
    this.socket = this.process.stdio[3];
    this.socket.on('error', () => {});
    this.exited = once(this.process, 'close');
    this.send(1, { handler, task_root: this.root, environment: { AWS_LAMBDA_FUNCTION_NAME: 'f' }, ...init });
  }

  send(kind, header, body = '') {
    const head = Buffer.from(JSON.stringify(header));
    const frame = Buffer.alloc(9 + head.length + Buffer.byteLength(body));
    frame.writeUInt32LE(frame.length - 4, 0);
    frame[4] = kind;
    frame.writeUInt32LE(head.length, 5);
    head.copy(frame, 9);
    frame.write(body, 9 + head.length);
    this.socket.write(frame);
  }

  // The next frame, or null where the instance left: [kind, body parsed].
  async receive() {
    for (;;) {
      const { length } = this.#received;
      const end = length >= 4 ? 4 + this.#received.readUInt32LE(0) : Infinity;
      if (length >= end) {
        const frame = this.#received.subarray(0, end);
        this.#received = this.#received.subarray(end);
        const bodyStart = 9 + frame.readUInt32LE(5);
        this.header = JSON.parse(frame.toString('utf8', 9, bodyStart));
        const body = frame.toString('utf8', bodyStart);
        return [KINDS[frame[4]], body && JSON.parse(body)];
      }
      const data = await new Promise((resolve) => {
        this.socket.once('data', resolve);
        this.socket.once('close', () => resolve(null));
      });
      if (data === null) {
        return null;
      }
      this.#received = Buffer.concat([this.#received, data]);
    }
  }

  invoke(event, header = {}) {
    this.send(2, { id: 'id-1', deadline_ms: Date.now() + 60_000, arn: 'arn:f', ...header }, JSON.stringify(event));
    return this.receive();
  }

  // Lets go; resolves to the exit status.
  async end() {
    this.socket.end();
    const [status] = await this.exited;
    rmSync(this.root, { recursive: true });
    return status;
  }
}
