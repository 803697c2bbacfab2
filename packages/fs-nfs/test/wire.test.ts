/** What comes over the wire and is not what it should be: refused as RFC 5531 says, or the connection ends; memory stays what it was. */
import net from 'node:net';
import {
  AcceptStatus,
  AuthFlavor,
  AuthStatus,
  getCreated,
  MOUNT_PROGRAM,
  NFS_PROGRAM,
  Nfs3,
  NfsServer,
  NfsStatus,
  NO_CHANGE,
  putCreate,
  putNewAttributes,
  Stable,
  XdrReader,
  XdrWriter,
} from '@tidemark/fs-nfs';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { message, ROOT, RpcClient, successOf, user, wordsOf } from './rpc-client.js';
import { NfsClient, serve, type Served, text, writeArguments } from './server-fixture.js';

let served: Served;
let nfs: NfsClient;
let root: Uint8Array;

beforeEach(async () => {
  served = await serve();
  nfs = await served.connect();
  root = await nfs.mount('/');
});

afterEach(async () => {
  nfs.rpc.close();
  await served.close();
  expect(served.server.nrBugs).toBe(0);
});

/** A bare socket. */
async function raw(): Promise<RpcClient> {
  return (await served.connect()).rpc;
}

/** What a message is answered with, behind the xid. */
async function answerTo(rpc: RpcClient, bytes: Uint8Array, ...fragments: number[]): Promise<number[]> {
  const replied = rpc.reply(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0));
  rpc.send(bytes, ...fragments);
  return wordsOf(await replied);
}

const head = { xid: 77, program: NFS_PROGRAM, version: 3, procedure: Nfs3.GETATTR };

describe('refusals, in order', () => {
  const accepted = (status: number, ...more: number[]) => [1, 0, 0, 0, status, ...more];
  const denied = (...why: number[]) => [1, 1, ...why];

  it('RPC version, credentials, program, version, procedure, arguments', async () => {
    const { rpc } = nfs;
    const otherRpc = message(head);
    new DataView(otherRpc.buffer).setUint32(8, 3);
    expect(await answerTo(rpc, otherRpc)).toEqual(denied(0, 2, 2));
    const badFlavor = message(head);
    new DataView(badFlavor.buffer).setUint32(24, AuthFlavor.GSS);
    expect(await answerTo(rpc, badFlavor)).toEqual(denied(1, AuthStatus.BADCRED));
    const badVerifier = message(head);
    new DataView(badVerifier.buffer).setUint32(32, 5);
    expect(await answerTo(rpc, badVerifier)).toEqual(denied(1, AuthStatus.BADVERF));
    expect(await answerTo(rpc, message({ ...head, program: 100_000 }))).toEqual(accepted(AcceptStatus.PROG_UNAVAIL));
    expect(await answerTo(rpc, message({ ...head, version: 4 }))).toEqual(accepted(AcceptStatus.PROG_MISMATCH, 3, 3));
    expect(await answerTo(rpc, message({ ...head, program: MOUNT_PROGRAM, version: 1 }))).toEqual(
      accepted(AcceptStatus.PROG_MISMATCH, 3, 3),
    );
    expect(await answerTo(rpc, message({ ...head, procedure: 22 }))).toEqual(accepted(AcceptStatus.PROC_UNAVAIL));
    expect(await answerTo(rpc, message(head))).toEqual(accepted(AcceptStatus.GARBAGE_ARGS));
    expect(
      await answerTo(
        rpc,
        message(head, ROOT, (out) => out.u32(65)),
      ),
    ).toEqual(accepted(AcceptStatus.GARBAGE_ARGS));
    const longCredentials = message(head, ROOT);
    new DataView(longCredentials.buffer).setUint32(28, 401);
    expect(await answerTo(rpc, longCredentials)).toEqual(accepted(AcceptStatus.GARBAGE_ARGS));
    await nfs.attributes(root); // the connection is as good as before
  });

  it('a reply is dropped, and what is too short to be a call ends the connection', async () => {
    const reply = message(head);
    new DataView(reply.buffer).setUint32(4, 1);
    nfs.rpc.send(reply);
    await nfs.attributes(root);
    expect(nfs.rpc.stray).toEqual([]);
    const rpc = await raw();
    rpc.send(message(head).subarray(0, 36));
    await rpc.closed();
    expect(served.server.nrConnectionErrors).toBe(1);
  });

  it('handles: none of ours, forged, of files that are gone', async () => {
    const ask = async (handle: Uint8Array) => (await nfs.call(Nfs3.GETATTR, (out) => out.opaque(handle))).status;
    expect(await ask(new Uint8Array(0))).toBe(NfsStatus.BADHANDLE);
    expect(await ask(new Uint8Array(64))).toBe(NfsStatus.BADHANDLE);
    for (let i = 0; i < root.length; i++) {
      const forged = root.slice();
      forged[i] ^= 1;
      expect(await ask(forged)).toBe(NfsStatus.BADHANDLE);
    }
    const file = await nfs.create(root, 'f');
    expect((await nfs.remove(Nfs3.REMOVE, root, 'f')).status).toBe(0);
    expect(await ask(file)).toBe(NfsStatus.STALE);
    expect((await nfs.call(Nfs3.WRITE, writeArguments(file, 0, text('x'), 2))).status).toBe(NfsStatus.STALE);
  });
});

describe('records', () => {
  it('come in fragments of any sizes, however they are cut by reads', async () => {
    const file = await nfs.create(root, 'f');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 12 }),
        fc.integer({ min: 0, max: 20_000 }),
        fc.integer({ min: 0, max: 9_000 }),
        async (fragments, length, offset) => {
          const data = Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 0xff);
          const write = message({ ...head, xid: ++nfs.rpc.nextXid, procedure: Nfs3.WRITE }, ROOT, writeArguments(file, offset, data, 0));
          const words = await answerTo(nfs.rpc, write, ...fragments);
          expect(words.slice(0, 6)).toEqual([1, 0, 0, 0, 0, 0]);
          expect((await nfs.read(file, offset, length)).data).toEqual(data);
          const get = message({ ...head, xid: ++nfs.rpc.nextXid }, ROOT, (out) => out.opaque(file));
          expect((await answerTo(nfs.rpc, get, ...fragments)).slice(0, 6)).toEqual([1, 0, 0, 0, 0, 0]);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('one byte at a time costs nothing but time', async () => {
    const file = await nfs.create(root, 'f');
    const rpc = await raw();
    const bytes = message({ ...head, procedure: Nfs3.WRITE }, ROOT, writeArguments(file, 100, text('slowly'), 2));
    const replied = rpc.reply(head.xid);
    const record = Buffer.concat([Buffer.from([0x80, 0, 0, bytes.length]), bytes]);
    for (const byte of record) {
      rpc.socket.write(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    successOf(await replied);
    expect((await nfs.read(file, 100, 6)).data).toEqual(text('slowly'));
    rpc.close();
  });

  it('too long, in too many pieces, or with no end: the connection ends', async () => {
    const tooLong = async (send: (rpc: RpcClient) => void): Promise<void> => {
      const rpc = await raw();
      send(rpc);
      await rpc.closed();
    };
    await tooLong((rpc) => rpc.socket.write(Buffer.from([0x7f, 0xff, 0xff, 0xff])));
    await tooLong((rpc) => rpc.send(message(head, ROOT, (out) => out.fixed(new Uint8Array(13_000)))));
    await tooLong((rpc) => rpc.send(message(head, ROOT, (out) => out.fixed(new Uint8Array(40_000)))));
    await tooLong((rpc) => rpc.send(new Uint8Array(0), ...new Array<number>(1000).fill(0)));
    await tooLong((rpc) =>
      rpc.send(
        message(head, ROOT, (out) => out.fixed(new Uint8Array(11_000))),
        ...new Array<number>(400).fill(1),
      ),
    );
    expect(served.server.nrConnectionErrors).toBe(5);
    await nfs.attributes(root);
  });

  it('a WRITE whose data are cut off writes nothing; one that is too large is refused', async () => {
    const file = await nfs.create(root, 'f');
    const cut = message({ ...head, procedure: Nfs3.WRITE }, ROOT, (out) => out.opaque(file).u64(0).u32(5000).u32(2).u32(5000).u32(7));
    expect((await answerTo(nfs.rpc, cut))[4]).toBe(AcceptStatus.GARBAGE_ARGS);
    const unequal = message({ ...head, procedure: Nfs3.WRITE }, ROOT, (out) => out.opaque(file).u64(0).u32(4).u32(2).opaque(text('12345')));
    expect((await answerTo(nfs.rpc, unequal))[4]).toBe(AcceptStatus.GARBAGE_ARGS);
    const large = message({ ...head, procedure: Nfs3.WRITE }, ROOT, (out) =>
      out
        .opaque(file)
        .u64(0)
        .u32(1 << 30)
        .u32(2)
        .u32(1 << 30),
    );
    expect((await answerTo(nfs.rpc, large))[4]).toBe(AcceptStatus.GARBAGE_ARGS);
    expect((await nfs.attributes(file)).sizeBytes).toBe(0);
  });

  it('a WRITE that is refused is read to its end', async () => {
    const file = await nfs.create(root, 'f', { mode: 0o600 });
    const other = await served.connect(user(9));
    for (let i = 0; i < 20; i++)
      expect((await other.call(Nfs3.WRITE, writeArguments(file, 0, new Uint8Array(32_768), 0))).status).toBe(NfsStatus.ACCES);
    await other.attributes(file);
    other.rpc.close();
  });
});

describe('bounds', () => {
  it('10,000 calls at once and a client that does not read: memory stays what it was, and every call is answered once', async () => {
    const file = await nfs.create(root, 'f');
    await nfs.write(file, 0, new Uint8Array(4096).fill(5));
    const rpc = await raw();
    const { allocator } = served.kernel.memory;
    const before = allocator.nrFree;
    rpc.socket.pause();
    const nrCalls = 10_000;
    const replies: Promise<unknown>[] = [];
    for (let xid = 1; xid <= nrCalls; xid++) {
      replies.push(rpc.reply(xid));
      const procedure = xid % 3 === 0 ? Nfs3.READ : Nfs3.GETATTR;
      rpc.send(
        message({ ...head, xid, procedure }, ROOT, (out) =>
          procedure === Nfs3.READ ? out.opaque(file).u64(0).u32(512) : out.opaque(file),
        ),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(before - allocator.nrFree).toBeLessThanOrEqual(2);
    rpc.socket.resume();
    await Promise.all(replies);
    expect(rpc.stray).toEqual([]);
    expect(before - allocator.nrFree).toBeLessThanOrEqual(2);
    rpc.close();
  }, 60_000);

  it('connections beyond the bound are closed, and their memory is not taken', async () => {
    const open = await Promise.all(Array.from({ length: 40 }, () => served.connect()));
    const answers = await Promise.all(
      open.map((client) =>
        client.attributes(root).then(
          () => true,
          () => false, // closed, or never got out of the host's backlog
        ),
      ),
    );
    expect(answers.filter((isAnswered) => isAnswered).length).toBe(7);
    expect(served.server.nrConnections).toBe(8);
    for (const { rpc } of open) rpc.close();
  });

  it('more files than places: some are closed for others, and nothing is lost', async () => {
    const files: Uint8Array[] = [];
    for (let i = 0; i < 80; i++) files.push(await nfs.create(root, `f${i}`));
    for (const [i, file] of files.entries()) await nfs.write(file, 0, text(`file ${i}`), Stable.UNSTABLE);
    expect(served.server.nrOpenFiles).toBe(32);
    for (const file of files) await nfs.commit(file);
    for (const [i, file] of files.entries()) expect((await nfs.read(file, 0, 100)).data).toEqual(text(`file ${i}`));
    for (let i = 0; i < 80; i++) await nfs.remove(Nfs3.REMOVE, root, `f${i}`);
    expect(served.server.nrOpenFiles).toBe(0);
  });
});

describe('calls sent again', () => {
  it('get the reply they had, on whatever connection, and are not done twice', async () => {
    const create = message({ ...head, xid: 4242, procedure: Nfs3.CREATE }, ROOT, (out) =>
      putCreate(out, { directory: root, name: text('once'), mode: 1, attributes: { ...NO_CHANGE, mode: 0o600 }, verifier: null }),
    );
    const first = await answerTo(nfs.rpc, create);
    expect(first[5]).toBe(0);
    expect(await answerTo(nfs.rpc, create)).toEqual(first);
    const other = await raw();
    expect(await answerTo(other, create)).toEqual(first);
    expect(served.server.nrReplayed).toBe(2);
    const remove = message({ ...head, xid: 4243, procedure: Nfs3.REMOVE }, ROOT, (out) => out.opaque(root).opaque(text('once')));
    expect((await answerTo(other, remove))[5]).toBe(0);
    expect((await answerTo(nfs.rpc, remove))[5]).toBe(0);
    const sameXid = message({ ...head, xid: 4243, procedure: Nfs3.REMOVE }, ROOT, (out) => out.opaque(root).opaque(text('another')));
    expect((await answerTo(nfs.rpc, sameXid))[5]).toBe(NfsStatus.NOENT);
    other.close();
  });

  it('are forgotten when there are many others', async () => {
    const mkdir = (xid: number) =>
      message({ ...head, xid, procedure: Nfs3.MKDIR }, ROOT, (out) =>
        putNewAttributes(out.opaque(root).opaque(text(`d${xid}`)), NO_CHANGE),
      );
    for (let xid = 5000; xid < 5065; xid++) expect((await answerTo(nfs.rpc, mkdir(xid)))[5]).toBe(0);
    expect((await answerTo(nfs.rpc, mkdir(5064)))[5]).toBe(0);
    expect((await answerTo(nfs.rpc, mkdir(5000)))[5]).toBe(NfsStatus.EXIST);
  });
});

it('mutated calls: answered or the connection ends; the server stays', async () => {
  const file = await nfs.create(root, 'f', { mode: 0o666 });
  const arguments_: ((out: XdrWriter) => void)[] = [
    (out) => void out.opaque(file),
    (out) => void out.opaque(root).opaque(text('f')),
    writeArguments(file, 3, text('hello'), 0),
    (out) => putCreate(out, { directory: root, name: text('n'), mode: 0, attributes: { ...NO_CHANGE, mode: 0o600 }, verifier: null }),
    (out) => void out.opaque(root).fixed(new Uint8Array(16)).u32(800).u32(900),
    (out) => void out.opaque(root).opaque(text('n')).opaque(root).opaque(text('m')),
    (out) => void out.opaque(file).u64(0).u32(100),
  ];
  let { rpc } = await served.connect();
  let nrAnswered = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.nat({ max: 21 }),
      fc.nat({ max: arguments_.length - 1 }),
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 }),
      fc.integer({ min: -16, max: 0 }),
      async (procedure, which, changes, cut) => {
        if (rpc.isClosed) ({ rpc } = await served.connect());
        const xid = ++rpc.nextXid;
        let bytes = message({ ...head, xid, procedure }, ROOT, arguments_[which]);
        for (const [at, value] of changes) bytes[4 + (at % (bytes.length - 4))] = value;
        if (changes.length > 0 && cut < 0) bytes = bytes.subarray(0, bytes.length + cut);
        const replied = rpc.reply(xid).then(
          () => void nrAnswered++,
          () => {},
        );
        rpc.send(bytes);
        // What is dropped is never answered: a NULL behind it is.
        const after = rpc.reply(++rpc.nextXid).catch(() => {});
        rpc.send(message({ ...head, xid: rpc.nextXid, procedure: 0 }));
        await after;
        await Promise.race([replied, new Promise((resolve) => setTimeout(resolve, 2))]);
      },
    ),
    { numRuns: 3000 * Number(process.env.TIDEMARK_RUNS ?? 1) },
  );
  expect(nrAnswered).toBeGreaterThan(2000); // the others were dropped, or ended a connection
  rpc.close();
  await nfs.attributes(root);
}, 1_200_000);

describe('exports', () => {
  it('are refused if they are none', async () => {
    const listen = (exports: Record<string, string>) => NfsServer.listen(served.kernel, { address: '127.0.0.1:0', exports });
    await expect(listen({})).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(listen({ 'no-slash': '/' })).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(listen({ '/a/../b': '/' })).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(listen({ '/a': '/none' })).rejects.toMatchObject({ code: 'ENOENT' });
    const taken = `127.0.0.1:${served.port}`;
    await expect(NfsServer.listen(served.kernel, { address: taken, exports: { '/': '/' } })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    const handleKey = new Uint8Array(3);
    await expect(NfsServer.listen(served.kernel, { address: '127.0.0.1:0', exports: { '/': '/' }, handleKey })).rejects.toMatchObject({
      code: 'EINVAL',
    });
  });

  it('MOUNT may have a port of its own: both ports take both programs, and both are closed', async () => {
    const { kernel } = served;
    const server = await NfsServer.listen(kernel, {
      address: '127.0.0.1:0',
      mountPort: 0,
      exports: { '/': { tree: '/', squash: 'none' } },
    });
    const ports = [server.address, server.mountAddress].map((each) => (each.kind === 'tcp' ? each.port : 0));
    expect(new Set(ports).size).toBe(2);
    for (const port of ports) {
      const client = new NfsClient(await RpcClient.connect(port));
      expect((await client.attributes(await client.mount('/'))).mode & 0o170000).toBe(0o040000);
      client.rpc.close();
    }
    await server.close();
    for (const port of ports) await expect(RpcClient.connect(port)).rejects.toThrow(/ECONNREFUSED/);
    const [port] = ports;
    const same = await NfsServer.listen(kernel, { address: `127.0.0.1:${port}`, mountPort: port, exports: { '/': '/' } });
    expect(same.mountAddress).toEqual(same.address);
    await same.close();
    await expect(
      NfsServer.listen(kernel, { address: `127.0.0.1:${port}`, mountPort: served.port, exports: { '/': '/' } }),
    ).rejects.toMatchObject({ code: 'EADDRINUSE' });
    const again = await NfsServer.listen(kernel, { address: `127.0.0.1:${port}`, exports: { '/': '/' } }); // nothing of it was left
    await again.close();
    await expect(NfsServer.listen(kernel, { address: 'unix:/tmp/x', mountPort: 1, exports: { '/': '/' } })).rejects.toMatchObject({
      code: 'EINVAL',
    });
  });

  it('read-only, squashed, for certain hosts: each holds for every call', async () => {
    await nfs.mkdir(root, 'd', 0o777);
    const { kernel } = served;
    const server = await NfsServer.listen(kernel, {
      address: '127.0.0.1:0',
      exports: {
        '/ro': { tree: '/d', readOnly: true },
        '/root': { tree: '/d' },
        '/all': { tree: '/d', squash: 'all' },
        '/others': { tree: '/d', hosts: ['192.0.2.1'] },
      },
    });
    const { address } = server;
    const client = new NfsClient(await RpcClient.connect(address.kind === 'tcp' ? address.port : 0));
    const create = async (path: string, name: string) => {
      const handle = await client.mount(path);
      const { status, body } = await client.call(Nfs3.CREATE, (out) =>
        putCreate(out, { directory: handle, name: text(name), mode: 1, attributes: { ...NO_CHANGE, mode: 0o600 }, verifier: null }),
      );
      return status === 0 ? getCreated(body).attributes?.uid : status;
    };
    expect(await create('/ro', 'a')).toBe(NfsStatus.ROFS);
    expect(await create('/root', 'b')).toBe(65_534);
    client.credentials = user(5);
    expect(await create('/root', 'c')).toBe(5);
    expect(await create('/all', 'd')).toBe(65_534);
    const refused = await client.rpc.call(MOUNT_PROGRAM, 3, 1, ROOT, (out) => out.opaque(text('/others')));
    expect(refused.u32()).toBe(13);
    const handle = await client.mount('/root');
    expect((await client.call(Nfs3.LOOKUP, (out) => out.opaque(handle).opaque(text('..')))).status).toBe(0);
    expect(await client.lookup(handle, '..')).toEqual(handle);
    expect((await nfs.call(Nfs3.GETATTR, (out) => out.opaque(handle))).status).toBe(NfsStatus.BADHANDLE); // of an export of another server
    client.rpc.close();
    await server.close();
  });

  it('stay mounted while they are served, and are stale once taken away by force', async () => {
    await expect(served.kernel.unmount('/')).rejects.toMatchObject({ code: 'EBUSY' });
    await served.kernel.unmount('/', { force: true });
    const { status } = await nfs.call(Nfs3.GETATTR, (out) => out.opaque(root));
    expect([NfsStatus.STALE, NfsStatus.IO]).toContain(status);
  });
});

it('a client that half-closes gets its answers; one that vanishes leaves nothing', async () => {
  const socket = net.connect({ port: served.port, host: '127.0.0.1', allowHalfOpen: true });
  const bytes = message(head, ROOT, (out) => out.opaque(root));
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.end(Buffer.concat([Buffer.from([0x80, 0, 0, bytes.length]), bytes]));
  await new Promise((resolve) => socket.once('close', resolve));
  const reply = Buffer.concat(chunks);
  expect(new XdrReader().reset(reply, 4).u32()).toBe(head.xid);
  const file = await nfs.create(root, 'f');
  const rpc = await raw();
  const write = message({ ...head, procedure: Nfs3.WRITE }, ROOT, writeArguments(file, 0, new Uint8Array(20_000), 0));
  const cut = Buffer.concat([Buffer.from([0x80, 0, write.length >> 8, write.length & 255]), write]).subarray(0, 9000);
  rpc.socket.write(cut);
  await new Promise((resolve) => setTimeout(resolve, 50));
  rpc.socket.resetAndDestroy();
  for (let i = 0; i < 100 && served.server.nrConnections > 1; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(served.server.nrConnections).toBe(1);
});
