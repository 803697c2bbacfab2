/**
 * Sessions of NBD with the server, garbled: what a client says is put together from valid messages, of which some are changed, cut, doubled or
 * exchanged, and sent over a socket of the host. Whatever comes, the server neither throws nor hangs nor grows, and serves the next client.
 *
 * `TIDEMARK_FUZZ=n` sends n messages (default 200,000); `TIDEMARK_SEED=n` begins elsewhere.
 */
import net from 'node:net';
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { nbd, NbdServer } from '@tidemark/nbd/host';
import { expect, it } from 'vitest';
import { freshPath } from './support/sandbox.js';

const MESSAGES = Number(process.env.TIDEMARK_FUZZ ?? 200_000);
const SEED = Number(process.env.TIDEMARK_SEED ?? 1);
/** Sessions at once: with fewer, the sockets are what is measured. */
const LANES = 4;
const SIZE = 2 ** 20;
const SESSION_TIMEOUT_MS = 60_000;

class Generator {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  below(n: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return Math.floor(((this.#state >>> 0) / 2 ** 32) * n);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }
}

function option(number: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(16);
  head.write('IHAVEOPT', 'latin1');
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

function text(of: string): Buffer {
  return Buffer.concat([u32(Buffer.byteLength(of)), Buffer.from(of)]);
}

function go(number: number, name: string, requests: number[]): Buffer {
  const data = Buffer.alloc(2 + 2 * requests.length);
  data.writeUInt16BE(requests.length);
  for (const [i, request] of requests.entries()) data.writeUInt16BE(request, 2 + 2 * i);
  return option(number, Buffer.concat([text(name), data]));
}

function request(command: number, flags: number, offset: number, length: number): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt32BE(0x25609513);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(command, 6);
  head.writeUInt32BE(7, 12);
  head.writeBigUInt64BE(BigInt(offset), 16);
  head.writeUInt32BE(length, 24);
  return command === 1 ? Buffer.concat([head, Buffer.alloc(length, 0x5a)]) : head;
}

/** A session as a client would have it. */
function session(random: Generator): Buffer[] {
  const messages = [u32(3)];
  const name = random.pick(['', 'a', 'b', 'nothing']);
  if (random.below(3) > 0) messages.push(option(8));
  if (random.below(3) === 0) messages.push(option(3));
  const query = Buffer.concat([text(name), u32(2), text('base:allocation'), text('base:')]);
  if (random.below(2) === 0) messages.push(option(random.pick([9, 10]), query));
  if (random.below(3) === 0) messages.push(go(6, name, [0, 1, 2, 3]));
  messages.push(random.below(8) === 0 ? option(1, Buffer.from(name)) : go(7, name, random.below(2) === 0 ? [3] : []));
  const nrRequests = 4 + random.below(20);
  for (let i = 0; i < nrRequests; i++) {
    const length = random.pick([512, 4096, 65_536]);
    messages.push(
      request(random.pick([0, 0, 1, 1, 3, 4, 5, 6, 7]), random.pick([0, 0, 0, 1, 4, 8]), random.below(SIZE / 512) * 512, length),
    );
  }
  messages.push(request(2, 0, 0, 0));
  return messages;
}

/** Changes some messages. */
function garble(random: Generator, messages: Buffer[]): void {
  for (let nrChanges = 1 + random.below(4); nrChanges > 0; nrChanges--) {
    const at = random.below(messages.length);
    const message = Buffer.from(messages[at]);
    const kind = random.below(7);
    if (kind <= 2) message[random.below(Math.min(message.length, 64))] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
    else if (kind === 3 && message.length >= 4)
      message.writeUInt32BE(random.pick([0, 1, 0x7fff_ffff, 0xffff_ffff, SIZE]), random.below(message.length - 3));
    messages[at] = kind === 4 ? message.subarray(0, random.below(message.length)) : message;
    if (kind === 5) messages.splice(at, 0, message);
    if (kind === 6) messages.splice(random.below(messages.length), 1);
  }
}

/** Says it all, reads whatever is answered, and goes. @returns when the server has closed. */
function play(path: string, random: Generator, messages: Buffer[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path);
    const timer = setTimeout(
      () => reject(new Error(`no end of a session: ${Buffer.concat(messages).toString('hex').slice(0, 2000)}`)),
      SESSION_TIMEOUT_MS,
    );
    socket.on('error', () => {}); // the server may well close before everything is said
    socket.resume();
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    const whole = Buffer.concat(messages);
    const cut = random.below(whole.length);
    socket.write(whole.subarray(0, cut));
    setImmediate(() => {
      if (random.below(12) === 0)
        socket.destroy(); // in the middle of whatever it is
      else socket.end(whole.subarray(cut));
    });
  });
}

it(`${MESSAGES} messages of garbled sessions`, { timeout: 3_600_000 }, async () => {
  const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, nbd] });
  const path = freshPath('sock');
  const exports = { a: await kernel.openBlockDevice(`mem:${SIZE}`), b: await kernel.openBlockDevice(`mem:${SIZE}`) };
  const codes = new Set<string>();
  const server = await NbdServer.listen(kernel, {
    address: `unix:${path}`,
    exports,
    maxConnections: LANES + 1,
    onConnectionError: ({ code }) => codes.add(code),
  });
  const standing = kernel.meminfo().standing;
  let nrMessages = 0;
  const lane = async (seed: number): Promise<void> => {
    const random = new Generator(seed);
    while (nrMessages < MESSAGES) {
      const messages = session(random);
      garble(random, messages);
      nrMessages += messages.length;
      await play(path, random, messages);
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, i) => lane(SEED * 1000 + i * 7919)));
  await expect.poll(() => server.nrConnections, { timeout: 60_000 }).toBe(0);
  expect(kernel.meminfo().standing).toBe(standing);
  expect([...codes].filter((code) => !['EPROTO', 'ECONNRESET', 'EPIPE', 'EAGAIN', 'EMFILE', 'ENFILE', 'EIO'].includes(code))).toEqual([]);
  const device = await kernel.openBlockDevice(server.uriOf('a')); // and the next client is served
  await device.close();
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
});
