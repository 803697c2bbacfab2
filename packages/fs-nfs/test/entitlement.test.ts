/**
 * What a client of the server's own kernel is entitled to (M16): over ext3, with a unit of the server for each of its own, it gets a page written when
 * nobody else does.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Kernel, type LocalClient, type WriteoutNode } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { ext3, mkfs, planMkfs } from '@tidemark/fs-ext3';
import { Nfs3, NfsStatus, Stable } from '@tidemark/fs-nfs';
import { hostTransports } from '@tidemark/net/host';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RpcClient } from './rpc-client.js';
import { NfsClient, type Served, serveKernel, writeArguments } from './server-fixture.js';

const DISK_BYTES = 16 << 20;
const UNITS = 4;

let folder: string;
let kernel: Kernel;
let served: Omit<Served, 'close'>;
const clients: NfsClient[] = [];

beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-nfs-'));
  kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, hostTransports, ext3] });
  await kernel.mount(`ext3:${await freshExt3()}`, '/');
  served = await serveKernel(kernel, {});
});

afterEach(async () => {
  for (const { rpc } of clients.splice(0)) rpc.close();
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  fs.rmSync(folder, { recursive: true, force: true });
});

async function freshExt3(): Promise<string> {
  const name = path.join(folder, 'disk.img');
  const image = fs.openSync(name, 'w+');
  fs.ftruncateSync(image, DISK_BYTES);
  const write = async (at: number, bytes: Uint8Array): Promise<void> => void fs.writeSync(image, bytes, 0, bytes.length, at);
  const hashSeed = new Uint8Array(16).fill(7);
  const plan = planMkfs(name, DISK_BYTES, { nowSeconds: 1_700_000_000, hashSeed, uuid: new Uint8Array(16).fill(9) });
  await mkfs({ name, sizeBytes: DISK_BYTES, write, zero: async () => {}, flush: async () => {} }, plan);
  fs.closeSync(image);
  return name;
}

/** A client of the kernel, as a driver makes one: its node is in the graph, and needs the server. */
async function localClient(
  nrUnits = UNITS,
  name = 'a mount',
): Promise<{ client: LocalClient; connect(): Promise<NfsClient>; close(): Promise<void> }> {
  const { localConnections, reserves, task } = kernel;
  const client = localConnections.client({ name, address: `127.0.0.1:${served.port}`, resource: '/', nrUnits });
  const node: WriteoutNode = { name, kind: 'filesystem', footprint: { standing: [], unit: [], nrUnits } };
  await reserves.admit(task, { candidates: [{ node }], edges: [[node, client.server?.node as WriteoutNode]] });
  client.admitted(node);
  const connect = async (): Promise<NfsClient> => {
    const connection = client.connecting();
    const rpc = await RpcClient.connect(served.port);
    connection.connected(`127.0.0.1:${rpc.socket.localPort}`, `127.0.0.1:${served.port}`);
    rpc.socket.once('close', () => connection.over());
    const nfs = new NfsClient(rpc);
    clients.push(nfs);
    return nfs;
  };
  const close = async (): Promise<void> => {
    client.close();
    await reserves.withdraw(node);
  };
  return { client, connect, close };
}

async function stranger(): Promise<NfsClient> {
  const nfs = await served.connect();
  clients.push(nfs);
  return nfs;
}

/** Units of the server that are out, and frames of its account in use. */
function account() {
  const node = kernel.reserves.graph.nodes.find(({ name }) => name === `nfs-server:127.0.0.1:${served.port}`) as WriteoutNode;
  const units = kernel.reserves.unitsOf(node);
  const { held } = kernel.reserves.explain().nodes.find(({ name }) => name === node.name) as { held: number };
  return { nrOut: units?.nrOut, held, nrUnits: node.footprint.nrUnits };
}

/** Takes every frame that anybody without a right may have. */
function takeAll(): () => void {
  const { allocator } = kernel.memory;
  const taken: number[] = [];
  do for (let pfn = allocator.allocPage(kernel.task, 1); pfn >= 0; pfn = allocator.allocPage(kernel.task, 1)) taken.push(pfn);
  while (kernel.reclaim.cleanPass(32) > 0);
  return () => {
    for (const pfn of taken.splice(0)) allocator.freePage(pfn);
  };
}

function page(n: number): Uint8Array {
  return new Uint8Array(4096).fill(n);
}

describe('a client of the same kernel', () => {
  it('has its pages written when there is no memory for anybody else, each on a unit that ends with its COMMIT', async () => {
    const local = await localClient();
    const nfs = await local.connect();
    const root = await nfs.mount('/');
    expect(served.server.nrLocalClients).toBe(1);
    const file = await nfs.create(root, 'f');
    await nfs.write(file, 0, page(1)); // its inode is in memory
    expect(account()).toEqual({ nrOut: 0, held: 0, nrUnits: 4 * kernel.memory.sizes.clientUnits });
    const givesBack = [takeAll()];
    for (let round = 0; round < 5; round++) {
      expect(kernel.memory.allocator.allocPage(kernel.task, 1)).toBeLessThan(0);
      for (let n = 0; n < UNITS; n++) await nfs.write(file, (1 + round * UNITS + n) * 4096, page(10 + round * UNITS + n), Stable.UNSTABLE);
      expect(account()).toMatchObject({ nrOut: UNITS, held: UNITS });
      await nfs.commit(file);
      expect(account()).toMatchObject({ nrOut: 0, held: 0 });
      givesBack.push(takeAll()); // what is clean now is no unit's, and anybody's
    }
    for (const giveBack of givesBack) giveBack();
    for (let n = 0; n < 5 * UNITS; n++) expect((await nfs.read(file, (1 + n) * 4096, 4096)).data).toEqual(page(10 + n));
    await local.close();
  }, 60_000);

  it('is told by JUKEBOX when it has a unit again, not before; one page written again takes no other', async () => {
    const local = await localClient();
    const [nfs, second] = [await local.connect(), await local.connect()];
    const root = await nfs.mount('/');
    const file = await nfs.create(root, 'f');
    for (let n = 0; n < UNITS; n++) for (let again = 0; again < 3; again++) await nfs.write(file, n * 4096, page(n), Stable.UNSTABLE);
    expect(account().nrOut).toBe(UNITS);
    const beyond = await nfs.call(Nfs3.WRITE, writeArguments(file, UNITS * 4096, page(9), Stable.UNSTABLE));
    expect(beyond.status).toBe(NfsStatus.JUKEBOX);
    expect(account().nrOut).toBe(0); // what held the units was written out
    expect((await second.write(file, UNITS * 4096, page(9), Stable.FILE_SYNC)).countBytes).toBe(4096);
    expect(account().nrOut).toBe(0);
    const half = await nfs.write(file, 0, new Uint8Array((UNITS + 2) * 4096).fill(5), Stable.UNSTABLE);
    expect(half.countBytes).toBe(UNITS * 4096); // the rest is the client's to send again
    await nfs.commit(file);
    expect((await nfs.read(file, 0, 32_768)).data).toEqual(Uint8Array.from({ length: 5 * 4096 }, (_, i) => (i < UNITS * 4096 ? 5 : 9)));
    await local.close();
  }, 60_000);

  it('leaves nothing: it goes, or its file does, with pages that no COMMIT covered', async () => {
    const local = await localClient();
    const nfs = await local.connect();
    const root = await nfs.mount('/');
    const [kept, removed] = [await nfs.create(root, 'kept'), await nfs.create(root, 'removed')];
    await nfs.write(kept, 0, page(1), Stable.UNSTABLE);
    await nfs.write(removed, 0, page(2), Stable.UNSTABLE);
    expect((await nfs.remove(Nfs3.REMOVE, root, 'removed')).status).toBe(NfsStatus.OK);
    nfs.rpc.close();
    await local.close();
    const after = await stranger();
    while (account().nrOut !== 0 || served.server.nrConnections > 1) await after.attributes(root);
    expect(served.server.nrLocalClients).toBe(0);
    expect((await after.read(kept, 0, 4096)).data).toEqual(page(1));
    expect(served.server.nrVerifierChanges).toBe(0);
  }, 60_000);

  it('has connections kept for it, as many as it may need at once; its server closes before it does', async () => {
    const local = await localClient();
    await stranger();
    for (let i = 0; i < 20 && served.server.nrConnections < 1; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    const giveBack = takeAll();
    const first = await stranger();
    await expect(first.mount('/')).rejects.toThrow(/closed/); // there is no memory for its slots
    giveBack();
    const all = [await local.connect(), await local.connect(), await local.connect()];
    for (const nfs of all) await nfs.mount('/');
    const giveBackAgain = takeAll();
    const fourth = await local.connect();
    await expect(fourth.mount('/')).rejects.toThrow(/closed/);
    all[0].rpc.close();
    while (served.server.nrConnections > 3) await new Promise((resolve) => setTimeout(resolve, 5));
    const again = await local.connect();
    await again.mount('/');
    giveBackAgain();
    await served.server.close();
    await local.close();
  }, 60_000);
});

it('more units than the server keeps are refused at admission, naming both', async () => {
  const { clientUnits } = kernel.memory.sizes;
  const { close } = await localClient(4 * clientUnits);
  await expect(localClient(1, 'another')).rejects.toMatchObject({ code: 'ENOMEM', details: { wantedUnits: 1, availableUnits: 0 } });
  await close();
});
