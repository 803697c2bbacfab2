/**
 * What goes on beside the working set in the demo's longer chains: a file on the same mount is written, made stable and read back, byte for byte,
 * while strangers flood the server of the mount with calls and connections.
 */
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Kernel } from '@tidemark/core';
import type { Chain } from '../chain-stack.js';
import { JobFailed } from '../outcome.js';
import { CHUNK_BYTES } from './source.js';

const STRANGERS = 3;
const CALLS_IN_A_ROW = 32;
const ROWS_PER_CONNECTION = 20;
const PAUSE_MS = 5;

/** What became of it. */
export interface BesideReport {
  /** Of the ordinary file, written, made stable, read back and compared. */
  readonly plainBytes: number;
  readonly plainSeconds: number;
  /** Calls of strangers that were answered; connections they made, and those that the server refused or cut. */
  readonly strangersCalls: number;
  readonly strangersConnections: number;
  readonly strangersRefused: number;
}

/**
 * Runs it until `isOver` says that the working set is done with, and the file is, too.
 * @param plainBytes of the ordinary file.
 * @throws JobFailed for a byte that is another.
 */
export async function besideOf(kernel: Kernel, { mount, port }: Chain, plainBytes: number, isOver: () => boolean): Promise<BesideReport> {
  const beganMs = performance.now();
  let isWritten = false;
  const flood = new Flood(port, () => isWritten && isOver());
  const [plainSeconds] = await Promise.all([
    writePlain(kernel, `${mount}/plain`, plainBytes).then(() => {
      isWritten = true;
      return (performance.now() - beganMs) / 1000;
    }),
    flood.run(),
  ]);
  const { nrCalls, nrConnections, nrRefused } = flood;
  return {
    plainBytes,
    plainSeconds,
    strangersCalls: nrCalls,
    strangersConnections: nrConnections,
    strangersRefused: nrRefused,
  };
}

async function writePlain(kernel: Kernel, name: string, sizeBytes: number): Promise<void> {
  const handle = await kernel.fs.promises.open(name, 'w+');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const got = Buffer.alloc(CHUNK_BYTES);
  for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) await handle.write(fill(chunk, at), 0, CHUNK_BYTES, at);
  await handle.sync();
  for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
    await handle.read(got, 0, CHUNK_BYTES, at);
    if (got.compare(fill(chunk, at)) !== 0) throw new JobFailed(`${name} is not what was written, from byte ${at} on`);
  }
  await handle.close();
}

/** Words that tell where they belong. */
function fill(chunk: Buffer, offsetBytes: number): Buffer {
  for (let at = 0; at < chunk.length; at += 4) chunk.writeUInt32LE(Math.imul(offsetBytes + at, 0x9e3779b1) >>> 0, at);
  return chunk;
}

/** Strangers: processes anywhere, as far as the server can tell. */
class Flood {
  nrCalls = 0;
  nrConnections = 0;
  nrRefused = 0;

  constructor(
    private readonly port: number,
    private readonly isOver: () => boolean,
  ) {}

  async run(): Promise<void> {
    await Promise.all(Array.from({ length: STRANGERS }, () => this.#stranger()));
  }

  async #stranger(): Promise<void> {
    while (!this.isOver()) {
      await this.#connection();
      await pause(PAUSE_MS);
    }
  }

  async #connection(): Promise<void> {
    const socket = net.connect(this.port, '127.0.0.1');
    this.nrConnections++;
    let nrBytes = 0;
    let wake = (): void => {};
    let isClosed = false;
    socket.on('data', (data) => {
      nrBytes += data.length;
      wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      isClosed = true;
      wake();
    });
    for (let row = 0; row < ROWS_PER_CONNECTION && !isClosed && !this.isOver(); row++) {
      nrBytes = 0;
      socket.write(CALLS);
      while (nrBytes < CALLS_IN_A_ROW * REPLY_BYTES && !isClosed) await new Promise<void>((resolve) => (wake = resolve));
      this.nrCalls += Math.floor(nrBytes / REPLY_BYTES);
      await pause(PAUSE_MS);
    }
    if (isClosed) this.nrRefused++;
    socket.destroy();
  }
}

/** An accepted reply to NULL: its record mark, and six words. */
const REPLY_BYTES = 28;

/** NULL calls of NFS version 3, each a record: mark, xid, CALL, RPC 2, program, version, procedure, two credentials that are none. */
const CALLS = Buffer.concat(
  Array.from({ length: CALLS_IN_A_ROW }, (_, xid) => {
    const record = Buffer.alloc(44);
    for (const [i, word] of [0x8000_0028, xid + 1, 0, 2, 100_003, 3, 0].entries()) record.writeUInt32BE(word, 4 * i);
    return record;
  }),
);
