/**
 * Local edges over the host's sockets (M16, M14): a device whose server is of the same kernel has units and connections there that nobody else
 * gets, whatever they say, and its pins hold behind the server.
 */
import { Socket } from 'node:net';
import { type BlockDevice, type Kernel, type KernelError, type PinnedFile, resolveEach, SWAP_HOOKS } from '@tidemark/core';
import { NbdServer, type NbdServerOptions } from '@tidemark/nbd/host';
import { describe, expect, it } from 'vitest';
import { folder, open, undo, userOf, world } from './client-fixture.js';
import { RawClient, REQUEST } from './raw-client.js';
import { patterned, TestDisk, type TestDiskOptions, waitFor } from './support.js';

interface Disk {
  readonly ops: TestDisk;
  readonly device: BlockDevice;
}

function disk(options: Partial<TestDiskOptions> = {}): Disk {
  const ops = new TestDisk(world.kernel, { sizeBytes: 2 ** 20, ...options });
  return { ops, device: world.kernel.attach(ops) };
}

async function serve(exports: NbdServerOptions['exports'], options: Partial<NbdServerOptions> = {}): Promise<NbdServer> {
  const server = await NbdServer.listen(world.kernel, { address: '127.0.0.1:0', exports, ...options });
  undo.push(() => server.close({ force: true }));
  return server;
}

/** A stranger in transmission. */
async function stranger(server: NbdServer, exportName = ''): Promise<RawClient> {
  const client = await RawClient.open(server.uri);
  undo.push(() => client.close());
  await client.greet();
  expect((await client.go(exportName)).at(-1)?.type).toBe(1);
  return client;
}

function pin(device: BlockDevice, user = 'swap', kernel: Kernel = world.kernel): Promise<PinnedFile> {
  const hooks = resolveEach(kernel.container, SWAP_HOOKS).find((each) => each.claims(device));
  return (hooks as NonNullable<typeof hooks>).swapActivate(kernel.task, device, { user, nrUnits: 4 });
}

const edges = (): string[] => world.kernel.graph().edges.map(([from, to]) => `${from} → ${to}`);
const port = (server: NbdServer): string => server.uri.replace(/^.*:(\d+)\/.*$/, '$1');
const errorOf = (promise: Promise<unknown>): Promise<KernelError> =>
  promise.then(
    () => Promise.reject(new Error('no error')),
    (error) => error,
  );

describe('a device whose server is of this kernel', () => {
  it('is recognised by its addresses, whatever name it called the server by, and needs the server', async () => {
    for (const address of ['127.0.0.1:0', '0.0.0.0:0', '[::]:0']) {
      const { device } = disk();
      const server = await serve({ disk: device }, { address });
      const local = await open(`nbd://localhost:${port(server)}/disk`);
      expect(server.nrLocalClients).toBe(1);
      expect(edges()).toContain(`${local.name} → nbd-server:${address.replace(/:0$/, `:${port(server)}`)}`);
      await local.close();
      expect(server.nrLocalClients).toBe(0);
    }
  });

  it('over a unix socket needs the server, but is a stranger to it', async () => {
    const { device } = disk();
    const path = `${folder}/server.sock`;
    const server = await serve({ disk: device }, { address: `unix:${path}` });
    const local = await open(server.uri);
    expect(server.nrLocalClients).toBe(0);
    expect(edges()).toContain(`${local.name} → nbd-server:unix:${path}`);
  });

  it('is let in though strangers have every connection; a stranger too many is not', async () => {
    const server = await serve({ disk: disk().device }, { maxConnections: 2 });
    await stranger(server);
    await stranger(server);
    const local = await userOf(await open(server.uri));
    expect(await local.write(0, patterned(8192, 1))).toBe(0);
    const late = await RawClient.open(server.uri);
    expect((await late.untilClosed()).length).toBe(0);
    expect([server.nrLocalClients, server.nrConnections]).toEqual([1, 3]);
  });

  it('finds its units free though strangers wait for the device for ever', async () => {
    const held: (() => void)[] = [];
    let ours = false;
    const { ops, device } = disk({ late: (end) => void (ours ? end() : held.push(end)) });
    const server = await serve({ disk: device });
    const local = await userOf(await open(server.uri));
    const { clientUnits } = world.kernel.memory.sizes;
    const strangers = [await stranger(server), await stranger(server), await stranger(server)];
    for (const [i, client] of strangers.entries())
      for (let n = 0; n < 20; n++) client.request(REQUEST.WRITE, n, (i * 20 + n) * 4096, 4096, 0, patterned(4096, n));
    await waitFor('strangers to have all their units', () => held.length === clientUnits);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([held.length, ops.nrInFlight]).toEqual([clientUnits, clientUnits]); // together, not each
    ours = true;
    expect(await local.write(2 ** 19, patterned(16384, 7))).toBe(0);
    expect(Buffer.from(ops.bytes.subarray(2 ** 19, 2 ** 19 + 16384)).equals(patterned(16384, 7))).toBe(true);
    while (held.length > 0) held.shift()?.();
    for (const client of strangers) for (let n = 0; n < 20; n++) expect((await client.reply()).error).toBe(0);
  });

  it('connects again with no memory left, in what its server has kept for it', async () => {
    const server = await serve({ disk: disk().device });
    const device = await open(server.uri);
    const local = await userOf(device);
    expect(await local.write(0, patterned(4096, 1))).toBe(0);
    const { memory, task } = world.kernel;
    const taken = [];
    for (let pfn = memory.allocator.allocPage(task, 1); pfn >= 0; pfn = memory.allocator.allocPage(task, 1)) taken.push(pfn);
    for (let n = 0; n < 5; n++) {
      cutConnectionsOf(server);
      await waitFor('another connection', () => (device.ops as unknown as { generation: number }).generation === n + 2);
      const read = new Uint8Array(4096);
      expect(await local.read(0, read)).toBe(0);
      expect(Buffer.from(read).equals(patterned(4096, 1))).toBe(true);
    }
    for (const pfn of taken) memory.allocator.freePage(pfn);
  });

  it('whose server closes and listens again is recognised by the new one', async () => {
    const { device } = disk();
    const first = await serve({ disk: device });
    const local = await userOf(await open(first.uri));
    expect(await local.write(0, patterned(4096, 1))).toBe(0);
    const address = `127.0.0.1:${port(first)}`;
    await first.close();
    expect(edges().some((edge) => edge.includes('nbd-server'))).toBe(false);
    const second = await serve({ disk: device }, { address });
    expect(await local.flush()).toBeLessThan(0); // written before, not flushed: to be written again
    await waitFor('the client to be back', () => second.nrLocalClients === 1);
    expect(edges()).toContain(`nbd://${address}/disk → nbd-server:${address}`);
  });
});

describe('a stranger', () => {
  it('gets no right by anything it says: names, cookies, ports, or what it has seen of a client that is gone', async () => {
    const server = await serve({ disk: disk().device, other: disk().device });
    const device = await open(server.uri);
    const local = await userOf(device);
    const strangers = [await stranger(server), await stranger(server, 'disk'), await stranger(server, 'other')];
    for (const client of strangers) {
      for (const cookie of [0, 1, 2 ** 32, 2 ** 32 + 1]) client.request(REQUEST.READ, cookie, 0, 4096); // a client's own are (generation, slot)
      for (let n = 0; n < 4; n++) {
        expect((await client.reply()).error).toBe(0);
        await client.read(4096);
      }
    }
    expect(server.nrLocalClients).toBe(1);
    const owners = (): string[] => world.kernel.memory.standingByOwner().map(({ owner }) => owner);
    expect(owners().filter((owner) => owner.includes(`receive slot for ${server.uri}`))).toHaveLength(2);
    expect(owners().filter((owner) => /receive slot for 127\.0\.0\.1:\d+$/.test(owner))).toHaveLength(3);
    expect(await local.write(0, patterned(4096, 1))).toBe(0);
    await device.close();
    expect(server.nrLocalClients).toBe(0);
    await stranger(server, 'disk');
    expect(server.nrLocalClients).toBe(0);
  });
});

describe('a pin', () => {
  it('holds behind the server: nothing that would move or end it is allowed, and all is again after it', async () => {
    const { device: behind } = disk();
    const server = await serve({ disk: behind });
    const device = await open(server.uri);
    const pinned = await pin(device);
    const busy = [behind.close(), pin(behind, 'other'), pin(device, 'other'), device.close(), server.close()];
    expect(await Promise.all(busy.map(async (each) => (await errorOf(each)).code))).toEqual(Array(5).fill('EBUSY'));
    expect(() => world.kernel.cacheDevice(behind)).toThrow(/EBUSY/);
    expect((await errorOf(server.close())).message).toMatch(/export "disk" is pinned for swap by way of nbd:/);
    const user = await world.kernel.memory.allocStanding(world.kernel.task, 'page', 1);
    user.bytes.set(patterned(4096, 3));
    expect(await pinned.swapOut(world.kernel.task, 5, Uint32Array.of(user.pfn), 0, 1)).toBe(0);
    expect(await pinned.flush(world.kernel.task)).toBe(0);
    user.free();
    await pinned.release();
    await pin(device, 'other').then((other) => other.release());
    await server.close();
    const own = await pin(behind, 'other');
    await own.release();
  });

  it('goes on through a chain of servers, and is undone from the top', async () => {
    const { device: bottom } = disk();
    const lower = await serve({ disk: bottom });
    const middle = await open(lower.uri);
    const upper = await serve({ disk: middle });
    const top = await open(upper.uri);
    const pinned = await pin(top);
    expect((await errorOf(lower.close())).message).toMatch(/pinned for swap by way of nbd:.* by way of nbd:/);
    expect((await errorOf(upper.close())).code).toBe('EBUSY');
    await pinned.release();
    await top.close();
    await upper.close();
    await middle.close();
    await lower.close();
  });

  it('outlives connections and servers: the next server has it too', async () => {
    const { device: behind } = disk();
    const first = await serve({ disk: behind });
    const device = await open(first.uri);
    const local = await userOf(device);
    const pinned = await pin(device);
    cutConnectionsOf(first);
    expect(await local.read(0, new Uint8Array(4096))).toBe(0);
    expect((await errorOf(first.close())).code).toBe('EBUSY');
    const address = `127.0.0.1:${port(first)}`;
    await first.close({ force: true });
    const second = await serve({ disk: behind }, { address });
    expect(await local.read(0, new Uint8Array(4096))).toBe(0);
    expect((await errorOf(second.close())).code).toBe('EBUSY');
    await pinned.release();
    await second.close();
  });

  it('on what the server cannot pin is refused, with nothing left behind', async () => {
    const small = await serve({ disk: disk({ sizeBytes: 2048 }).device, good: disk().device });
    const device = await open(`nbd://127.0.0.1:${port(small)}/disk`);
    expect((await errorOf(pin(device))).code).toBe('EINVAL');
    expect(device.holder).toBeNull();
    const readOnly = await serve({ disk: disk().device }, { readOnly: true });
    expect((await errorOf(pin(await open(readOnly.uri)))).code).toBe('EROFS');
    await small.close();
    await readOnly.close();
  });

  it('on a server of somebody else stays the client’s', async () => {
    const { Kernel } = await import('@tidemark/core');
    const { host } = await import('@tidemark/core/host');
    const { nbd } = await import('@tidemark/nbd/host');
    const other = await Kernel.boot({ memory: '4MiB', plugins: [host, nbd] });
    const server = await NbdServer.listen(other, { address: '127.0.0.1:0', exports: { disk: await other.openBlockDevice('mem:1MiB') } });
    const device = await open(server.uri);
    const pinned = await pin(device);
    expect(server.nrLocalClients).toBe(0);
    await pinned.release();
    await device.close();
    await server.close();
    expect(await other.shutdown()).toMatchObject({ leakedFrames: 0, leakedTimers: 0 });
  });
});

/** Resets every connection to a server, as a network would. */
function cutConnectionsOf(server: NbdServer): void {
  const { _getActiveHandles: handles } = process as unknown as { _getActiveHandles(): object[] };
  const sockets = handles
    .call(process)
    .filter((each): each is Socket => each instanceof Socket && each.remotePort === Number(port(server)));
  expect(sockets.length).toBeGreaterThan(0);
  for (const socket of sockets) socket.resetAndDestroy();
}
