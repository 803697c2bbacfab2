import { type Bio, type BlockDevice, BioOp, type Extent, type KernelError } from '@tidemark/core';
import { NbdServer, type NbdServerOptions } from '@tidemark/nbd/host';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { metaData, RawClient, REQUEST } from './raw-client.js';
import { bootWorld, expectClean, patterned, TestDisk, type World } from './support.js';

const STRUCTURED_REPLY = 8;
const LIST_META = 9;
const SET_META = 10;
const ACK = 1;
const META_CONTEXT = 4;
const ERR_INVALID = 0x80000003;
const ERR_UNKNOWN = 0x80000006;
const BLOCK_STATUS = 7;
const DF = 4;
const REQ_ONE = 8;
const Chunk = { OFFSET_DATA: 1, BLOCK_STATUS: 5, ERROR: 0x8001 };
const SIZE = 2 ** 20;

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

function serve(exports: NbdServerOptions['exports']): Promise<NbdServer> {
  return NbdServer.listen(world.kernel, { address: '127.0.0.1:0', exports, onConnectionError: (error) => errors.push(error) });
}

function disk(statusOf?: (bio: Bio) => number): { ops: TestDisk; device: BlockDevice } {
  const ops = new TestDisk(world.kernel, { sizeBytes: SIZE, statusOf });
  return { ops, device: world.kernel.attach(ops) };
}

async function greeted(server: NbdServer): Promise<RawClient> {
  const client = await RawClient.open(server.uri);
  clients.push(client);
  await client.greet();
  return client;
}

async function meta(client: RawClient, option: number, name: string, queries: string[]): Promise<{ type: number; data: Buffer }[]> {
  client.option(option, metaData(name, queries));
  return client.optionReplies();
}

/** A client in transmission that gets structured replies, and, if wanted, knows of allocation. @returns it and its flags. */
async function ready(
  server: NbdServer,
  queries = ['base:allocation'],
  name = '',
): Promise<{ client: RawClient; flags: number; id: number }> {
  const client = await greeted(server);
  client.option(STRUCTURED_REPLY);
  expect((await client.optionReply()).type).toBe(ACK);
  const replies = await meta(client, SET_META, name, queries);
  const [info] = await client.go(name, []); // without block sizes: reads may be as large as the protocol allows
  return { client, flags: info.data.readUInt16BE(10), id: replies.length > 1 ? replies[0].data.readUInt32BE(0) : -1 };
}

describe('contexts', () => {
  it('are listed, chosen one by one, for one export, after structured replies', async () => {
    const server = await serve({ a: disk().device, b: disk().device });
    const client = await greeted(server);
    const types = async (option: number, name: string, queries: string[]) =>
      (await meta(client, option, name, queries)).map(({ type }) => type);
    expect(await types(SET_META, 'a', ['base:allocation'])).toEqual([ERR_INVALID]);
    client.option(STRUCTURED_REPLY, new Uint8Array(1));
    expect((await client.optionReply()).type).toBe(ERR_INVALID);
    client.option(STRUCTURED_REPLY);
    expect((await client.optionReply()).type).toBe(ACK);
    expect(await types(LIST_META, 'a', [])).toEqual([META_CONTEXT, ACK]);
    expect(await types(LIST_META, 'a', ['base:'])).toEqual([META_CONTEXT, ACK]);
    expect(await types(LIST_META, 'a', ['qemu:'])).toEqual([ACK]);
    expect(await types(SET_META, 'a', ['base:'])).toEqual([ACK]);
    expect(await types(SET_META, 'nothing', ['base:allocation'])).toEqual([ERR_UNKNOWN]);
    const [context] = await meta(client, SET_META, 'a', ['x:y', 'base:allocation', 'base:allocation']);
    expect(context.data.toString('utf8', 4)).toBe('base:allocation');
    await client.go('b'); // chosen for another
    client.request(BLOCK_STATUS, 1, 0, 4096);
    expect(await client.chunk()).toMatchObject({ isLast: true, type: Chunk.ERROR, cookie: 1 });
  });

  it('what cannot be read is refused, and the next option is', async () => {
    const server = await serve({ a: disk().device });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 40 }), fc.constantFrom(LIST_META, SET_META), async (data, option) => {
        const client = await greeted(server);
        client.option(STRUCTURED_REPLY);
        await client.optionReply();
        client.option(option, data);
        expect([ACK, ERR_INVALID, ERR_UNKNOWN, 0x80000009]).toContain((await client.optionReplies()).at(-1)?.type);
        client.option(2);
        expect((await client.optionReply()).type).toBe(ACK);
        client.close();
      }),
      { numRuns: 40 },
    );
  });
});

describe('READ', () => {
  it('is answered in chunks that cover it, whatever its size, and other commands simply', async () => {
    const { ops, device } = disk();
    const { client, flags } = await ready(await serve({ a: device }));
    expect(flags & 0b1000_0000, 'DF').not.toBe(0);
    const data = patterned(SIZE, 3);
    ops.bytes.set(data);
    for (const [offset, length] of [
      [0, 512],
      [4096, 32_768],
      [512, 500_224],
      [0, SIZE],
    ]) {
      client.request(REQUEST.READ, 9, offset, length);
      let at = offset;
      for (let isLast = false; !isLast; ) {
        const chunk = await client.chunk();
        expect(chunk).toMatchObject({ type: Chunk.OFFSET_DATA, cookie: 9 });
        expect(Number(chunk.payload.readBigUInt64BE(0))).toBe(at);
        const got = chunk.payload.subarray(8);
        expect(got.equals(data.subarray(at, at + got.length))).toBe(true);
        at += got.length;
        isLast = chunk.isLast;
      }
      expect(at).toBe(offset + length);
    }
    client.request(REQUEST.FLUSH, 10, 0, 0);
    expect(await client.reply()).toEqual({ error: 0, cookie: 10 });
  });

  it('with DF comes in one chunk', async () => {
    const { ops, device } = disk();
    const { client } = await ready(await serve({ a: device }));
    ops.bytes.set(patterned(SIZE, 4));
    for (const length of [65_536, 700_416]) {
      client.request(REQUEST.READ, 2, 0, length, DF);
      const { isLast, payload } = await client.chunk();
      expect([isLast, payload.length]).toEqual([true, 8 + length]);
      expect(payload.subarray(8).equals(ops.bytes.subarray(0, length))).toBe(true);
    }
  });

  it('that fails in the middle says so, and the connection goes on', async () => {
    const { device } = disk((bio) => (bio.op === BioOp.READ && bio.offsetBytes + bio.lengthBytes > SIZE / 2 ? -5 : 0));
    const { client } = await ready(await serve({ a: device }));
    client.request(REQUEST.READ, 1, SIZE / 2, 4096);
    expect(await client.chunk()).toMatchObject({ isLast: true, type: Chunk.ERROR, cookie: 1, payload: Buffer.from([0, 0, 0, 5, 0, 0]) });
    client.request(REQUEST.READ, 2, 0, SIZE);
    let chunk = await client.chunk();
    while (!chunk.isLast) {
      expect(chunk.type).toBe(Chunk.OFFSET_DATA);
      chunk = await client.chunk();
    }
    expect(chunk).toMatchObject({ type: Chunk.ERROR, cookie: 2 });
    client.request(REQUEST.READ, 3, 0, 0);
    expect(await client.chunk()).toMatchObject({ isLast: true, type: Chunk.ERROR, cookie: 3 });
    client.request(REQUEST.READ, 4, 0, 512);
    expect(await client.chunk()).toMatchObject({ type: Chunk.OFFSET_DATA, cookie: 4 });
  });
});

describe('BLOCK_STATUS', () => {
  /** What a device tells, from an offset on. */
  async function told(client: RawClient, id: number, offset: number, length: number, flags = 0): Promise<[number, number][]> {
    client.request(BLOCK_STATUS, 5, offset, length, flags);
    const { isLast, type, payload } = await client.chunk();
    expect([isLast, type, payload.readUInt32BE(0)]).toEqual([true, Chunk.BLOCK_STATUS, id]);
    return Array.from({ length: (payload.length - 4) / 8 }, (_, i) => [payload.readUInt32BE(4 + i * 8), payload.readUInt32BE(8 + i * 8)]);
  }

  it('tells the holes of a RAM disk, as many extents as are asked for', async () => {
    const device = await world.kernel.openBlockDevice('mem:8MiB');
    const { client, id } = await ready(await serve({ a: device }));
    client.request(REQUEST.WRITE, 1, 2 ** 21 + 4096, 512, 0, new Uint8Array(512).fill(7));
    expect((await client.reply()).error).toBe(0);
    const MIB = 2 ** 20;
    expect(await told(client, id, 0, 8 * MIB)).toEqual([
      [2 * MIB, 3],
      [MIB, 0],
      [5 * MIB, 3],
    ]);
    expect(await told(client, id, MIB, 4 * MIB, REQ_ONE)).toEqual([[MIB, 3]]);
    expect(await told(client, id, 2 * MIB + 512, 512)).toEqual([[512, 0]]);
  });

  it('tells nothing of a device that knows nothing, and its error if it fails, now or later', async () => {
    const { ops, device } = disk();
    const { client, id } = await ready(await serve({ a: device }));
    expect(await told(client, id, 4096, 8192)).toEqual([[8192, 0]]);
    const asking = ops as { extents?: BlockDevice['extents'] };
    let answer: (extents: readonly Extent[] | number) => void = () => {};
    asking.extents = () => new Promise((resolve) => (answer = resolve));
    client.request(BLOCK_STATUS, 6, 0, 4096);
    client.request(REQUEST.FLUSH, 7, 0, 0);
    expect((await client.reply()).cookie, 'nobody is held up').toBe(7);
    answer([{ lengthBytes: 4096, isHole: false, isZero: true }]);
    expect((await client.chunk()).payload.readUInt32BE(8)).toBe(2);
    asking.extents = () => -5;
    client.request(BLOCK_STATUS, 8, 0, 4096);
    expect(await client.chunk()).toMatchObject({ isLast: true, type: Chunk.ERROR, cookie: 8 });
    for (const [offset, length] of [
      [SIZE, 512],
      [0, 0],
    ]) {
      client.request(BLOCK_STATUS, 9, offset, length);
      expect(await client.chunk()).toMatchObject({ type: Chunk.ERROR });
    }
  });

  it('a connection that is lost while the device thinks gives its memory back', async () => {
    const { ops, device } = disk();
    const server = await serve({ a: device });
    const { client } = await ready(server);
    let answer: (extents: readonly Extent[]) => void = () => {};
    (ops as { extents?: BlockDevice['extents'] }).extents = () => new Promise((resolve) => (answer = resolve));
    client.request(BLOCK_STATUS, 6, 0, 4096);
    await expect.poll(() => answer.length).toBe(1);
    client.close();
    await new Promise((resolve) => setTimeout(resolve, 20));
    answer([{ lengthBytes: 4096, isHole: true, isZero: true }]);
    await expect.poll(() => server.nrConnections).toBe(0);
  });
});
