/** What goes wrong behind the server: no memory, writes that cannot be made stable, restarts, filesystems that wait. */
import { Errno, Kernel, type WriteoutNode } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { describeNfsServer, NFS_PROGRAM, NfsServer, NfsStatus, Nfs3, getWcc, putNewAttributes, NO_CHANGE, Stable } from '@tidemark/fs-nfs';
import { findTransport, parseAddress, ReceiveSlot } from '@tidemark/net';
import { hostTransports } from '@tidemark/net/host';
import { memfs } from '@tidemark/testkit';
import { expect, it } from 'vitest';
import { MovedClock } from './moved-clock.js';
import { message, ROOT } from './rpc-client.js';
import { serve, serveKernel, text, writeArguments } from './server-fixture.js';

it('no memory: JUKEBOX, the data are read to their end, and nothing grows; what was taken back is there again', async () => {
  const served = await serve({ memory: '4MiB', tree: 'memfs:64MiB' });
  const nfs = await served.connect();
  const root = await nfs.mount('/');
  const file = await nfs.create(root, 'f');
  const other = await nfs.create(root, 'g');
  const chunk = new Uint8Array(16_384).fill(1);
  let at = 0;
  let refused = 0;
  for (let nrRefused = 0; nrRefused < 5; ) {
    const { status, body } = await nfs.call(Nfs3.WRITE, writeArguments(file, at, chunk, Stable.UNSTABLE));
    if (status !== 0) {
      nrRefused++;
      refused = status;
      continue;
    }
    getWcc(body);
    at += body.u32();
  }
  expect(refused).toBe(NfsStatus.JUKEBOX);
  expect(at).toBeGreaterThan(1 << 20);
  expect((await nfs.attributes(file)).sizeBytes).toBe(at);
  const { status } = await nfs.call(Nfs3.SETATTR, (out) => {
    putNewAttributes(out.opaque(file), { ...NO_CHANGE, sizeBytes: 0 });
    out.bool(false);
  });
  expect(status).toBe(0);
  expect((await nfs.write(other, 0, chunk)).countBytes).toBe(chunk.length);
  nfs.rpc.close();
  await served.close();
}, 60_000);

it('what cannot be made stable is an error, and changes the verifier for everybody', async () => {
  const served = await serve();
  const nfs = await served.connect();
  const root = await nfs.mount('/');
  const file = await nfs.create(root, 'f');
  const before = Uint8Array.from((await nfs.write(file, 0, text('a'), Stable.UNSTABLE)).verifier);
  const { data } = served.kernel.vfs;
  const sync = data.sync.bind(data);
  // biome-ignore lint/correctness/useYield: it fails at once
  data.sync = function* () {
    return -Errno.EIO;
  };
  expect((await nfs.call(Nfs3.COMMIT, (out) => out.opaque(file).u64(0).u32(0))).status).toBe(NfsStatus.IO);
  expect((await nfs.call(Nfs3.WRITE, writeArguments(file, 0, text('b'), Stable.FILE_SYNC))).status).toBe(NfsStatus.IO);
  data.sync = sync;
  const after = Uint8Array.from((await nfs.commit(file)).verifier);
  expect(after).not.toEqual(before);
  expect(Uint8Array.from((await nfs.write(file, 0, text('c'), Stable.UNSTABLE)).verifier)).toEqual(after);
  expect(served.server.nrVerifierChanges).toBe(2);
  nfs.rpc.close();
  await served.close();
});

it('a change that waited is told without what was before, and another call of the connection overtakes it', async () => {
  const served = await serve();
  const nfs = await served.connect();
  const root = await nfs.mount('/');
  const { vfs } = served.kernel;
  const directory = vfs.mounts.root;
  expect(directory.lock.exclusive(served.kernel.task)).toBe(0);
  let isMade = false;
  const making = nfs
    .make(Nfs3.MKDIR, root, 'd', (out) => putNewAttributes(out, NO_CHANGE))
    .then((made) => {
      isMade = true;
      return made;
    });
  await nfs.attributes(root);
  expect(isMade).toBe(false);
  directory.lock.unlockExclusive();
  const made = await making;
  expect(made.directory.before).toBeNull();
  expect(made.directory.after).not.toBeNull();
  expect((await nfs.make(Nfs3.MKDIR, root, 'e', (out) => putNewAttributes(out, NO_CHANGE))).directory.before).not.toBeNull();
  nfs.rpc.close();
  await served.close();
});

it('a client that goes while its call waits leaves nothing, and the call is done', async () => {
  const served = await serve();
  const nfs = await served.connect();
  const root = await nfs.mount('/');
  const directory = served.kernel.vfs.mounts.root;
  expect(directory.lock.exclusive(served.kernel.task)).toBe(0);
  const lost = await served.connect();
  lost.make(Nfs3.MKDIR, root, 'd', (out) => putNewAttributes(out, NO_CHANGE)).catch(() => {});
  await lost.attributes(root);
  lost.rpc.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(served.server.nrConnections).toBe(2); // its memory stays while the call points into it
  directory.lock.unlockExclusive();
  for (let i = 0; i < 200 && served.server.nrConnections > 1; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(served.server.nrConnections).toBe(1);
  expect(await nfs.names(root)).toEqual(['.', '..', 'd']);
  nfs.rpc.close();
  await served.close();
});

it('a restart: with the same key handles are good, with none they are not; the verifier is another, kept replies are gone', async () => {
  const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, hostTransports, memfs] });
  await kernel.mount('memfs:1MiB', '/');
  const handleKey = new Uint8Array(16).fill(7);
  const first = await serveKernel(kernel, { handleKey });
  const one = await first.connect();
  const root = await one.mount('/');
  const file = await one.create(root, 'f');
  const written = Uint8Array.from((await one.write(file, 0, text('kept'), Stable.UNSTABLE)).verifier);
  await first.server.close();
  await first.server.close();
  const second = await serveKernel(kernel, { handleKey });
  const two = await second.connect();
  expect((await two.read(file, 0, 10)).data).toEqual(text('kept'));
  expect(Uint8Array.from((await two.commit(file)).verifier)).not.toEqual(written);
  await second.server.close();
  const third = await serveKernel(kernel, {}); // with a key of its own
  const three = await third.connect();
  expect((await three.call(Nfs3.GETATTR, (out) => out.opaque(file))).status).toBe(NfsStatus.BADHANDLE);
  expect((await kernel.shutdown()).problems).toEqual([]);
  for (const { rpc } of [one, two, three]) expect(rpc.isClosed || rpc.close() === undefined).toBe(true);
});

it('is two nodes of the writeout graph, above what is exported, and its memory is what it declares', async () => {
  const served = await serve();
  const { kernel } = served;
  const name = `nfs-server:127.0.0.1:${served.port}`;
  const { nodes, edges } = kernel.graph();
  expect(nodes.map((node) => node.name)).toEqual(expect.arrayContaining([name, `${name} commit`]));
  expect(edges).toContainEqual([name, `${name} commit`]);
  const clients = await Promise.all([served.connect(), served.connect(), served.connect()]);
  for (const each of clients) await each.mount('/');
  const node = kernel.reserves.graph.nodes.find((each) => each.name === name);
  const declared = node?.footprint.standing.reduce((sum, { frames }) => sum + frames, 0);
  const taken = kernel.memory
    .standingByOwner()
    .reduce((sum, { owner, nrFrames }) => sum + (owner.startsWith('nfs server') ? nrFrames : 0), 0);
  expect(taken).toBe(declared);
  const [dry] = describeNfsServer(`127.0.0.1:${served.port}`, [], clients.length);
  expect(dry.footprint(kernel.memory.nrFrames)).toEqual({ ...node?.footprint, standing: node?.footprint.standing });
  for (const { rpc } of clients) rpc.close();
  await served.server.close();
  expect(kernel.graph().nodes.length).toBe(nodes.length - 2);
  await served.close();
  await expect(NfsServer.listen(kernel, { address: '127.0.0.1:0', exports: { '/': '/' } })).rejects.toMatchObject({ code: 'ESHUTDOWN' });
});

it('a WRITE that waits for too long is given up with JUKEBOX, its data are read to their end, and the connection goes on', async () => {
  const served = await serve();
  const nfs = await served.connect();
  const root = await nfs.mount('/');
  const file = await nfs.create(root, 'f');
  const { vfs, task } = served.kernel;
  const inode = await vfs.stat(vfs.caller(), '/f');
  if (typeof inode === 'number') throw new Error('the file is not there');
  expect(inode.dataLock.exclusive(task)).toBe(0);
  const data = new Uint8Array(32_768).fill(7);
  const refused = nfs.call(Nfs3.WRITE, writeArguments(file, 0, data, Stable.UNSTABLE));
  const behind = nfs.attributes(root); // it stands behind the data
  expect((await refused).status).toBe(NfsStatus.JUKEBOX);
  await behind;
  inode.dataLock.unlockExclusive();
  expect((await nfs.write(file, 0, data)).countBytes).toBe(data.length);
  expect((await nfs.read(file, 0, data.length)).data).toEqual(data);
  nfs.rpc.close();
  await served.close();
});

it('a client of the same kernel is recognised, and its writeout needs the server; a pin of no file is refused', async () => {
  const served = await serve();
  const { kernel } = served;
  const address = `127.0.0.1:${served.port}`;
  const client = kernel.localConnections.client({ name: 'a mount', address, resource: '/', nrUnits: 1 });
  const node: WriteoutNode = { name: 'a mount', kind: 'file-system', footprint: { standing: [], unit: [], nrUnits: 1 } };
  await kernel.reserves.admit(kernel.task, { candidates: [{ node }], edges: [] });
  client.admitted(node);
  const memory = await kernel.memory.allocStanding(kernel.task, 'slot of a test', 2);
  const handler = { onReceive: () => true, onEnd: () => {}, onClose: () => {} };
  const at = parseAddress(address);
  const socket = await findTransport(kernel.container, at).connect(at, { slot: new ReceiveSlot(memory), handler, timeoutMs: 5000, client });
  for (let i = 0; i < 200 && served.server.nrConnections === 0; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(kernel.graph().edges).toContainEqual(['a mount', `nfs-server:${address}`]);
  await expect(client.pin(kernel.task, { user: 'swap', nrUnits: 1 })).rejects.toMatchObject({ code: 'ESTALE' });
  const closed = new Promise<void>((resolve) => {
    handler.onClose = () => resolve();
  });
  socket.destroy();
  await closed;
  client.close();
  await served.server.close();
  await kernel.reserves.release(node);
  memory.free();
  await served.close();
});

it('a client that stops in the middle of its data, or reads no replies, is cut off', async () => {
  const served = await serve({ idleTimeoutMs: 4000 });
  const half = await served.connect();
  const root = await half.mount('/');
  const file = await half.create(root, 'f');
  await half.write(file, 0, new Uint8Array(32_768));
  const deaf = await served.connect();
  deaf.rpc.socket.pause();
  // More than the buffers of the host take.
  for (let i = 0; i < 1000; i++) deaf.read(file, 0, 32_768).catch(() => {});
  const head = { xid: 5, program: NFS_PROGRAM, version: 3, procedure: Nfs3.WRITE };
  const bytes = message(head, ROOT, writeArguments(file, 0, new Uint8Array(30_000), 0));
  half.rpc.socket.write(Buffer.concat([Buffer.from([0x80, 0, bytes.length >> 8, bytes.length & 255]), bytes]).subarray(0, 10_000));
  for (let i = 0; i < 6000 && served.server.nrConnections > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(served.server.nrConnections).toBe(0);
  expect(served.server.nrConnectionErrors).toBe(2);
  half.rpc.close();
  deaf.rpc.close();
  await served.close();
});

it('a connection on which nothing comes is closed; one in use, or with a call that waits, is not', async () => {
  const clock = new MovedClock();
  const served = await serve({ idleTimeoutMs: 150, clock });
  const busy = await served.connect();
  const root = await busy.mount('/');
  const idle = await served.connect();
  const waiting = await served.connect();
  await idle.attributes(root);
  const directory = served.kernel.vfs.mounts.root;
  expect(directory.lock.exclusive(served.kernel.task)).toBe(0);
  const making = waiting.make(Nfs3.MKDIR, root, 'd', (out) => putNewAttributes(out, NO_CHANGE));
  await waiting.attributes(root); // the server has the call before it
  clock.advance(100);
  await busy.attributes(root);
  clock.advance(60);
  while (!idle.rpc.isClosed) await new Promise((resolve) => setTimeout(resolve, 5));
  await busy.attributes(root);
  await waiting.attributes(root);
  directory.lock.unlockExclusive();
  await making;
  expect(served.server.nrConnectionErrors).toBe(0);
  for (const { rpc } of [busy, waiting]) rpc.close();
  await served.close();
});
