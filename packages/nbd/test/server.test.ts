import { BioOp, type BlockDevice, type KernelError } from '@tidemark/core';
import { NbdServer, type NbdServerOptions } from '@tidemark/nbd/host';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { goData, RawClient, REQUEST } from './raw-client.js';
import { bootWorld, endLate, expectClean, patterned, randomFrom, TestDisk, type TestDiskOptions, waitFor, type World } from './support.js';

const ERR_UNSUP = 0x80000001;
const ERR_INVALID = 0x80000003;
const ERR_UNKNOWN = 0x80000006;
const ERR_TOO_BIG = 0x80000009;

let world: World;
const clients: RawClient[] = [];
const errors: KernelError[] = [];

beforeEach(async () => {
  world = await bootWorld();
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  errors.length = 0;
  await expectClean(world);
});

function disk(options: Partial<TestDiskOptions> = {}): { ops: TestDisk; device: BlockDevice } {
  const ops = new TestDisk(world.kernel, { sizeBytes: 2 ** 20, ...options });
  return { ops, device: world.kernel.attach(ops) };
}

function serve(exports: NbdServerOptions['exports'], options: Partial<NbdServerOptions> = {}): Promise<NbdServer> {
  return NbdServer.listen(world.kernel, { address: '127.0.0.1:0', exports, onConnectionError: (error) => errors.push(error), ...options });
}

async function open(server: NbdServer): Promise<RawClient> {
  const client = await RawClient.open(server.uri);
  clients.push(client);
  return client;
}

/** A client in transmission. */
async function ready(server: NbdServer, requests = [3]): Promise<RawClient> {
  const client = await open(server);
  await client.greet();
  expect((await client.go('', requests)).at(-1)?.type).toBe(1);
  return client;
}

describe('handshake', () => {
  it('answers GO with size, flags and block sizes of the plan', async () => {
    const server = await serve({ disk: disk({ blockSizeBytes: 512 }).device });
    const client = await open(server);
    await client.greet();
    const replies = await client.go('disk', [3, 1]);
    expect(replies.map((reply) => reply.type)).toEqual([3, 3, 3, 1]);
    const [info, block, name] = replies.map((reply) => reply.data);
    expect([info.readUInt16BE(0), info.readBigUInt64BE(2), info.readUInt16BE(10)]).toEqual([0, 2n ** 20n, 0b101_0110_1101]);
    expect([block.readUInt16BE(0), block.readUInt32BE(2), block.readUInt32BE(6), block.readUInt32BE(10)]).toEqual([3, 512, 4096, 32768]);
    expect([name.readUInt16BE(0), name.toString('utf8', 2)]).toEqual([1, 'disk']);
  });

  it('says the same to INFO, and goes on negotiating', async () => {
    const server = await serve({ disk: disk().device });
    const client = await open(server);
    await client.greet();
    const told = await client.go('', [3], 6);
    expect(await client.go('', [3])).toEqual(told.map((reply) => ({ ...reply, option: 7 })));
  });

  it.each([
    [1, 10 + 124],
    [3, 10],
  ])('answers EXPORT_NAME to client flags %i with %i bytes', async (flags, length) => {
    const server = await serve({ disk: disk().device });
    const client = await open(server);
    await client.greet(flags);
    client.option(1, Buffer.from('disk'));
    const answer = await client.read(length);
    expect([answer.readBigUInt64BE(0), answer.subarray(10).every((byte) => byte === 0)]).toEqual([2n ** 20n, true]);
    client.request(REQUEST.READ, 1, 0, 16);
    expect(await client.reply()).toEqual({ error: 0, cookie: 1 });
  });

  it('closes when EXPORT_NAME names nothing', async () => {
    const server = await serve({ disk: disk().device });
    const client = await open(server);
    await client.greet();
    client.option(1, Buffer.from('nothing'));
    await client.untilClosed();
    await waitFor('the error is told', () => errors[0]?.code === 'EPROTO');
  });

  it('lists its exports, the first of which is the default', async () => {
    const server = await serve(
      new Map([
        ['a', disk({ sizeBytes: 4096 }).device],
        ['bé', disk({ sizeBytes: 8192 }).device],
      ]),
    );
    const client = await open(server);
    await client.greet();
    client.option(3);
    const names = [];
    for (let reply = await client.optionReply(); reply.type === 2; reply = await client.optionReply())
      names.push(reply.data.toString('utf8', 4));
    expect(names).toEqual(['a', 'bé']);
    expect((await client.go(''))[0].data.readBigUInt64BE(2)).toBe(4096n);
    const other = await open(server);
    await other.greet();
    expect((await other.go('bé'))[0].data.readBigUInt64BE(2)).toBe(8192n);
  });

  it('refuses what it does not know or cannot read, and goes on', async () => {
    const server = await serve({ disk: disk().device });
    const client = await open(server);
    await client.greet();
    client.option(5);
    expect(await client.optionReply()).toMatchObject({ option: 5, type: ERR_UNSUP });
    client.option(0xffffffff, new Uint8Array(1000));
    expect(await client.optionReply()).toMatchObject({ type: ERR_UNSUP });
    client.option(99, new Uint8Array(200_000)); // more than it looks at, skipped
    expect(await client.optionReply()).toMatchObject({ option: 99, type: ERR_TOO_BIG });
    client.option(3, new Uint8Array(1));
    expect(await client.optionReply()).toMatchObject({ type: ERR_INVALID });
    expect((await client.go('nothing')).at(-1)).toMatchObject({ type: ERR_UNKNOWN });
    for (const data of [
      Buffer.alloc(0),
      Buffer.alloc(5),
      Buffer.from([255, 255, 255, 255, 0, 0]),
      Buffer.concat([goData('', [3]), Buffer.alloc(1)]),
      goData('\xff\0', []),
    ]) {
      client.option(7, data);
      expect(await client.optionReply()).toMatchObject({ type: ERR_INVALID });
    }
    expect((await client.go('')).at(-1)?.type).toBe(1);
  });

  it('acknowledges ABORT and closes', async () => {
    const server = await serve({ disk: disk().device });
    const client = await open(server);
    await client.greet();
    client.option(2);
    expect(await client.optionReply()).toMatchObject({ option: 2, type: 1 });
    await client.untilClosed();
    expect(errors).toEqual([]);
  });

  it.each([
    ['flags that were not offered', (client: RawClient) => client.greet(7)],
    ['a wrong option magic', (client: RawClient) => client.greet().then(() => client.send(Buffer.alloc(64, 0x41)))],
    [
      'more options than allowed',
      async (client: RawClient) => {
        await client.greet();
        for (let i = 0; i < 33; i++) client.option(77);
      },
    ],
    [
      'an endless option',
      (client: RawClient) => client.greet().then(() => client.send(Buffer.from('IHAVEOPT\0\0\0\x07\xff\xff\xff\xff', 'latin1'))),
    ],
  ])('cuts off a client with %s', async (_what, misbehave) => {
    const server = await serve({ disk: disk().device });
    const client = await open(server);
    await misbehave(client);
    await client.untilClosed();
    await waitFor('the error is told', () => errors[0]?.code === 'EPROTO');
  });

  it('cuts off a client that is too slow', async () => {
    const server = await serve({ disk: disk().device }, { handshakeTimeoutMs: 30 });
    const client = await open(server);
    await client.greet();
    await client.untilClosed();
    await waitFor('the error is told', () => errors[0]?.code === 'ETIMEDOUT');
  });
});

describe('transmission', () => {
  it.each([
    ['at once', undefined],
    ['late and in any order', endLate(randomFrom(5))],
  ])('does what a model does, with a device that ends %s', async (_how, late) => {
    const size = 256 * 1024;
    const operation = fc.record({
      command: fc.constantFrom(REQUEST.READ, REQUEST.WRITE, REQUEST.WRITE, REQUEST.TRIM, REQUEST.WRITE_ZEROES, REQUEST.FLUSH),
      offset: fc.nat(size - 1),
      length: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 32768 })),
      fua: fc.boolean(),
      seed: fc.nat(),
    });
    const { ops, device } = disk({ sizeBytes: size, late });
    const server = await serve({ disk: device });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(operation, { minLength: 1, maxLength: 12 }), { maxLength: 5 }),
        fc.integer({ min: 1, max: 40000 }),
        async (batches, cut) => {
          const model = Uint8Array.from(ops.bytes);
          const client = await ready(server);
          for (const batch of batches) {
            // Requests of one batch are in flight together, so they must not overlap: order between them is undefined.
            const taken: [number, number][] = [];
            const sent = new Map<number, { command: number; offset: number; length: number }>();
            const wire: Buffer[] = [];
            const collect = { send: (...parts: Uint8Array[]) => wire.push(Buffer.concat(parts)) };
            batch.forEach(({ command, offset, length, fua, seed }, cookie) => {
              const end = Math.min(offset + length, size);
              if (command !== REQUEST.FLUSH && taken.some(([from, to]) => offset < to && from < end)) return;
              taken.push([offset, end]);
              const data = command === REQUEST.WRITE ? patterned(end - offset, seed) : undefined;
              const flush = command === REQUEST.FLUSH;
              RawClient.prototype.request.call(
                collect as unknown as RawClient,
                command,
                cookie,
                flush ? 0 : offset,
                flush ? 0 : end - offset,
                fua ? 1 : 0,
                data,
              );
              if (data !== undefined) model.set(data, offset);
              if (command === REQUEST.TRIM || command === REQUEST.WRITE_ZEROES) model.fill(0, offset, end);
              sent.set(cookie, { command, offset, length: end - offset });
            });
            const stream = Buffer.concat(wire);
            for (let at = 0; at < stream.length; at += cut) {
              client.send(stream.subarray(at, at + cut));
              if (cut < 2000) continue;
              await new Promise((resolve) => setImmediate(resolve));
            }
            while (sent.size > 0) {
              const { error, cookie } = await client.reply();
              expect(error).toBe(0);
              const request = sent.get(cookie);
              if (request === undefined) throw new Error(`a reply with cookie ${cookie}, which is not open`);
              sent.delete(cookie);
              if (request.command === REQUEST.READ) {
                const data = await client.read(request.length);
                expect(data.equals(model.subarray(request.offset, request.offset + request.length))).toBe(true);
              }
            }
          }
          expect(Buffer.from(ops.bytes).equals(model)).toBe(true);
          client.close();
        },
      ),
      { numRuns: 25 },
    );
  });

  it('checks requests in the order the specification has', async () => {
    const server = await serve({ disk: disk({ blockSizeBytes: 512, can: { discard: false } }).device });
    const readOnly = await serve({ disk: disk().device }, { readOnly: true });
    const size = 2 ** 20;
    const client = await ready(server);
    const asked = async (command: number, offset: number | bigint, length: number, flags = 0): Promise<number> => {
      client.request(command, 7, offset, length, flags, command === REQUEST.WRITE ? new Uint8Array(length) : undefined);
      return (await client.reply()).error;
    };
    expect(await asked(REQUEST.WRITE, size, 512)).toBe(28);
    expect(await asked(REQUEST.WRITE, 2n ** 64n - 1n, 512)).toBe(28);
    expect(await asked(REQUEST.READ, size - 512, 1024)).toBe(22);
    expect(await asked(REQUEST.READ, 2n ** 63n, 512)).toBe(22);
    expect(await asked(REQUEST.WRITE_ZEROES, size, 512)).toBe(28);
    expect(await asked(REQUEST.TRIM, 0, 512)).toBe(22); // not offered
    expect(await asked(REQUEST.CACHE, 0, 512)).toBe(0);
    expect(await asked(REQUEST.CACHE, 0, size)).toBe(0); // a hint: as much of it as there is room for
    expect(await asked(REQUEST.CACHE, size, 512)).toBe(22);
    expect(await asked(7, 0, 512)).toBe(22); // BLOCK_STATUS without a context
    expect(await asked(77, 0, 0)).toBe(22);
    expect(await asked(REQUEST.READ, 0, 512, 4)).toBe(22); // DF was not offered
    expect(await asked(REQUEST.READ, 0, 512, 2)).toBe(22); // NO_HOLE on a read
    expect(await asked(REQUEST.WRITE_ZEROES, 0, 512, 3)).toBe(0);
    expect(await asked(REQUEST.READ, 0, 512, 0x8000)).toBe(22);
    expect(await asked(REQUEST.READ, 1, 512)).toBe(22);
    expect(await asked(REQUEST.READ, 0, 511)).toBe(22);
    expect(await asked(REQUEST.READ, 0, 0)).toBe(22);
    expect(await asked(REQUEST.WRITE, 0, 0)).toBe(22);
    expect(await asked(REQUEST.FLUSH, 0, 1)).toBe(22);
    expect(await asked(REQUEST.FLUSH, 0, 0)).toBe(0);
    expect(await asked(REQUEST.READ, 0, 65536)).toBe(22); // more than was advertised
    expect(await asked(REQUEST.WRITE, 0, 65536)).toBe(22); // the same, drained
    expect(await asked(REQUEST.WRITE, 0, 512)).toBe(0);
    const reader = await ready(readOnly);
    for (const command of [REQUEST.WRITE, REQUEST.TRIM, REQUEST.WRITE_ZEROES]) {
      reader.request(command, 1, 2n ** 60n, 512, 0, command === REQUEST.WRITE ? new Uint8Array(512) : undefined);
      expect((await reader.reply()).error).toBe(1);
    }
  });

  it('ends a connection that writes more than twice what was advertised', async () => {
    const server = await serve({ disk: disk().device });
    const client = await ready(server);
    client.request(REQUEST.WRITE, 1, 0, 65537);
    await client.untilClosed();
    await waitFor('the error is told', () => errors[0]?.code === 'EPROTO');
  });

  it('ends a connection whose request has a wrong magic', async () => {
    const server = await serve({ disk: disk().device });
    const client = await ready(server);
    client.send(Buffer.alloc(28));
    await client.untilClosed();
    await waitFor('the error is told', () => errors[0]?.code === 'EPROTO');
  });

  it.each([
    ['at once', undefined],
    ['late', endLate(randomFrom(9))],
  ])('streams requests of 32 MiB for a client that did not ask for block sizes, on a device that ends %s', async (_how, late) => {
    const size = 33 * 2 ** 20;
    const { ops, device } = disk({ sizeBytes: size, late, blockSizeBytes: 512, maxTransferBytes: 16384 });
    const server = await serve({ disk: device });
    const client = await ready(server, []);
    const framesBefore = world.kernel.meminfo().memFree;
    const data = patterned(32 * 2 ** 20, 3);
    client.request(REQUEST.WRITE, 1, 512, data.length, 1, data);
    expect(await client.reply()).toEqual({ error: 0, cookie: 1 });
    expect(Buffer.from(ops.bytes.buffer, 512, data.length).equals(data)).toBe(true);
    client.request(REQUEST.READ, 3, 512, data.length);
    client.request(REQUEST.FLUSH, 4, 0, 0);
    expect(await client.reply()).toEqual({ error: 0, cookie: 3 });
    expect((await client.read(data.length)).equals(data)).toBe(true);
    expect(await client.reply()).toEqual({ error: 0, cookie: 4 });
    expect(world.kernel.meminfo().memFree).toBe(framesBefore);
    expect(ops.log.every((request) => request.lengthBytes <= 16384 || request.op === BioOp.FLUSH)).toBe(true);
  });

  it('cuts a connection when a read fails after its header was sent, and answers the error when before', async () => {
    let failAt = 0;
    const { device } = disk({ sizeBytes: 2 ** 20, statusOf: (bio) => (bio.op === BioOp.READ && bio.offsetBytes >= failAt ? -5 : 0) });
    const server = await serve({ disk: device });
    const client = await ready(server, []);
    client.request(REQUEST.READ, 1, 0, 2 ** 19);
    expect(await client.reply()).toEqual({ error: 5, cookie: 1 });
    failAt = 2 ** 18;
    client.request(REQUEST.READ, 2, 0, 2 ** 19);
    expect(await client.reply()).toEqual({ error: 0, cookie: 2 });
    expect((await client.untilClosed()).length).toBeLessThan(2 ** 19);
    await waitFor('the error is told', () => errors[0]?.code === 'EIO');
  });

  it('answers errors of the device with numbers every client knows', async () => {
    let status = 0;
    const server = await serve({ disk: disk({ statusOf: () => status }).device });
    const client = await ready(server);
    for (const [errno, wire] of [
      [28, 28],
      [5, 5],
      [116, 5],
      [27, 28],
    ]) {
      status = -errno;
      client.request(REQUEST.WRITE, 3, 0, 8192, 0, new Uint8Array(8192));
      client.request(REQUEST.READ, 4, 0, 8192);
      expect((await client.reply()).error).toBe(wire);
      expect((await client.reply()).error).toBe(wire); // and no data after it
    }
    status = 0;
    client.request(REQUEST.READ, 5, 0, 4);
    expect(await client.reply()).toEqual({ error: 0, cookie: 5 });
  });
});

describe('durability', () => {
  it('follows FUA with a flush where the device cannot force, before it answers', async () => {
    const { ops, device } = disk();
    const client = await ready(await serve({ disk: device }));
    client.request(REQUEST.WRITE, 1, 0, 512, 1, new Uint8Array(512));
    expect((await client.reply()).error).toBe(0);
    expect(ops.log.map((request) => request.op)).toEqual([BioOp.WRITE, BioOp.FLUSH]);
    for (const command of [REQUEST.TRIM, REQUEST.WRITE_ZEROES]) {
      client.request(command, 2, 0, 512, 1);
      expect((await client.reply()).error).toBe(0);
    }
    expect(ops.nrFlushes).toBe(3);
  });

  it('hands FUA on where the device can', async () => {
    const { ops, device } = disk({ can: { fua: true } });
    const client = await ready(await serve({ disk: device }));
    client.request(REQUEST.WRITE, 1, 0, 512, 1, new Uint8Array(512));
    expect((await client.reply()).error).toBe(0);
    expect(ops.log).toEqual([{ op: BioOp.WRITE, offsetBytes: 0, lengthBytes: 512, fua: true }]);
  });

  it('keeps failing flushes after one has failed, on every connection, and says so at the end', async () => {
    let fails = true;
    const { device } = disk({ statusOf: (bio) => (bio.op === BioOp.FLUSH && fails ? -5 : 0) });
    const server = await serve({ disk: device });
    const client = await ready(server);
    client.request(REQUEST.FLUSH, 1, 0, 0);
    expect((await client.reply()).error).toBe(5);
    fails = false;
    const other = await ready(server);
    other.request(REQUEST.FLUSH, 1, 0, 0);
    expect((await other.reply()).error).toBe(5);
    other.request(REQUEST.WRITE, 2, 0, 512, 1, new Uint8Array(512));
    expect((await other.reply()).error).toBe(5);
    other.request(REQUEST.WRITE, 3, 0, 512, 0, new Uint8Array(512));
    expect((await other.reply()).error).toBe(0);
    fails = true;
    await expect(server.close()).rejects.toMatchObject({ code: 'EIO' });
  });
});

describe('bounds', () => {
  it('stops reading a client that does not read its replies, in constant memory, and goes on when it does', async () => {
    const { ops, device } = disk();
    const server = await serve({ disk: device });
    const client = await ready(server);
    const framesBefore = world.kernel.meminfo().memFree;
    client.socket.pause();
    const nrRequests = 10_000;
    for (let i = 0; i < nrRequests; i++) client.request(REQUEST.READ, i, 0, 32768);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const served = ops.log.length;
    expect(served).toBeLessThan(1000); // the rest stands in the client's own queue
    expect(world.kernel.meminfo().memFree).toBe(framesBefore);
    client.socket.resume();
    for (let i = 0; i < nrRequests; i++) {
      expect(await client.reply()).toEqual({ error: 0, cookie: i });
      await client.read(32768);
    }
  });

  it('keeps no more requests at the device than it has bios, and answers all', async () => {
    const held: (() => void)[] = [];
    const { ops, device } = disk({ late: (end, bio) => void (bio.op === BioOp.FLUSH ? end() : held.push(end)) });
    const server = await serve({ disk: device });
    const client = await ready(server);
    for (let i = 0; i < 200; i++) client.request(REQUEST.WRITE, i, i * 4096, 4096, 0, new Uint8Array(4096).fill(i + 1));
    await waitFor('the bound is reached', () => held.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(ops.peakInFlight).toBeLessThanOrEqual(world.kernel.memory.sizes.slotFrames);
    const pump = setInterval(() => held.pop()?.(), 0);
    const seen = new Set<number>();
    for (let i = 0; i < 200; i++) seen.add((await client.reply()).cookie);
    clearInterval(pump);
    expect(seen.size).toBe(200);
    for (let i = 0; i < 200; i++) expect(ops.bytes[i * 4096 + 77]).toBe(i + 1);
  });

  it('refuses a connection too many', async () => {
    const server = await serve({ disk: disk().device }, { maxConnections: 1 });
    await ready(server);
    const second = await open(server);
    expect((await second.untilClosed()).length).toBe(0);
    await waitFor('the error is told', () => errors[0]?.code === 'EAGAIN');
  });

  it('survives any bytes, in the handshake and after it', async () => {
    const { ops, device } = disk({ sizeBytes: 65536 });
    const server = await serve({ disk: device });
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.constantFrom(Buffer.from('IHAVEOPT'), Buffer.from([0x25, 0x60, 0x95, 0x13]), Buffer.from([0, 0, 0, 3]), Buffer.from([0, 0, 0, 7])),
      fc.record({ option: fc.nat(12), data: fc.uint8Array({ maxLength: 40 }) }).map(({ option, data }) => {
        const bytes = Buffer.alloc(16 + data.length);
        bytes.write('IHAVEOPT');
        bytes.writeUInt32BE(option, 8);
        bytes.writeUInt32BE(data.length, 12);
        bytes.set(data, 16);
        return bytes;
      }),
      fc
        .record({ flags: fc.nat(3), command: fc.nat(9), offset: fc.nat(70000), length: fc.nat(70000) })
        .map(({ flags, command, offset, length }) => {
          const bytes = Buffer.alloc(28);
          bytes.writeUInt32BE(0x25609513);
          bytes.writeUInt16BE(flags, 4);
          bytes.writeUInt16BE(command, 6);
          bytes.writeUInt32BE(offset, 20);
          bytes.writeUInt32BE(length, 24);
          return bytes;
        }),
    );
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(piece, { maxLength: 12 }), async (transmission, pieces) => {
        const client = transmission ? await ready(server) : await open(server);
        client.send(...pieces);
        client.socket.end();
        await client.untilClosed();
        client.close();
      }),
      { numRuns: 200 },
    );
    const after = await ready(server);
    after.request(REQUEST.WRITE, 1, 0, 3, 0, Uint8Array.of(1, 2, 3));
    expect((await after.reply()).error).toBe(0);
    expect([...ops.bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
  });
});

describe('the end', () => {
  it('answers what came before DISC, then closes', async () => {
    const { ops, device } = disk({ late: (end) => void setTimeout(end, 20) });
    const client = await ready(await serve({ disk: device }));
    client.request(REQUEST.WRITE, 1, 0, 4, 0, Uint8Array.of(1, 2, 3, 4));
    client.request(REQUEST.DISC, 2, 0, 0);
    client.request(REQUEST.WRITE, 3, 4, 4, 0, Uint8Array.of(5, 6, 7, 8)); // not taken in any more
    expect(await client.reply()).toEqual({ error: 0, cookie: 1 });
    expect((await client.untilClosed()).length).toBe(0);
    expect([...ops.bytes.subarray(0, 8)]).toEqual([1, 2, 3, 4, 0, 0, 0, 0]);
    expect(errors).toEqual([]);
  });

  it('drains and flushes at close; a client that says nothing is let go', async () => {
    const { ops, device } = disk({ late: (end) => void setTimeout(end, 30) });
    const server = await serve({ disk: device });
    const client = await ready(server);
    const idle = await open(server);
    client.request(REQUEST.WRITE, 1, 0, 1, 0, Uint8Array.of(7));
    await waitFor('it is at the device', () => ops.nrInFlight === 1);
    const closed = server.close();
    expect(await client.reply()).toEqual({ error: 0, cookie: 1 });
    await closed;
    await idle.untilClosed();
    expect([ops.bytes[0], ops.nrFlushes, server.nrConnections]).toEqual([7, 1, 0]);
    await expect(RawClient.open(server.uri)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(device.holder).toBeNull();
  });

  it('cuts at its time limit, and keeps the memory until the device has let go of it', async () => {
    let release: () => void = () => {};
    const { device } = disk({
      late: (end, bio) => {
        if (bio.op === BioOp.FLUSH) end();
        else release = end;
      },
    });
    const server = await serve({ disk: device });
    const client = await ready(server);
    client.request(REQUEST.READ, 1, 0, 4096);
    await waitFor('it is at the device', () => device.ops instanceof TestDisk && device.ops.nrInFlight === 1);
    await server.close({ timeoutMs: 20 });
    await client.untilClosed();
    expect(server.nrConnections).toBe(1);
    expect(world.kernel.memory.standingByOwner().length).toBe(2);
    release();
    expect(server.nrConnections).toBe(0);
    expect(world.kernel.memory.standingByOwner()).toEqual([]);
  });

  it('is closed by the kernel, when a program forgets it', async () => {
    const server = await serve({ disk: disk().device }, { address: '[::1]:0' }).catch(() => serve({ disk: disk().device }));
    const client = await ready(server);
    await world.kernel.shutdown();
    await client.untilClosed();
  });

  it('refuses impossible options', async () => {
    const { device } = disk();
    await expect(serve({})).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(serve({ 'a\0b': device })).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(serve({ [`x${'y'.repeat(5000)}`]: device })).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(serve(new Map(Array.from({ length: 40 }, (_, i) => [`${i}`.padEnd(2000), device])))).rejects.toMatchObject({
      code: 'EINVAL',
    });
    await expect(serve({ a: device }, { address: 'nonsense' })).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(serve({ a: device }, { maxConnections: 0 })).rejects.toMatchObject({ code: 'EINVAL' });
    const server = await serve({ a: device });
    await expect(serve({ a: device })).rejects.toMatchObject({ code: 'EBUSY' });
    expect(() => server.uriOf('b')).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
});
