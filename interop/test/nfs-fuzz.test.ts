/**
 * Mutated calls against our NFS server, as a process: 200,000, or TIDEMARK_RUNS times 200,000. Each is answered as ONC RPC says, or its connection
 * ends; the server stays, takes no more memory, and drains.
 */
import fs from 'node:fs';
import {
  CALL_BYTES_MIN,
  CreateMode,
  getCreated,
  getMounted,
  getReply,
  MOUNT_PROGRAM,
  Mount3,
  NFS_PROGRAM,
  Nfs3,
  NfsStatus,
  NO_CHANGE,
  putCreate,
  putMakeDirectory,
  putMakeNode,
  putMakeSymlink,
  putRename,
  putSetAttributes,
  Stable,
  type XdrWriter,
} from '@tidemark/fs-nfs';
import { expect, it } from 'vitest';
import { type Random, randomFrom } from './support/bytes.js';
import { callMessage, NfsWire, record, type WireReply } from './support/nfs-wire.js';
import { RunningProcess, until } from './support/processes.js';
import { tidemarkWords } from './support/servers.js';

const NR_CALLS = 200_000 * Number(process.env.TIDEMARK_RUNS ?? 1);
const BATCH = 100;
const SEED = Number(process.env.TIDEMARK_SEED ?? 8);
const TIMEOUT_MS = 1_800_000;
/** What the heap of Node may breathe. */
const GROWTH_MAX_KIB = 48 * 1024;
const STATUSES: ReadonlySet<number> = new Set(Object.values(NfsStatus));
/** Numbers that break careless code. */
const NUMBERS = [0, 1, 3, 4, 64, 65, 255, 256, 1024, 4096, 32_768, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, 0xffff_ffff];

interface Handles {
  readonly root: Uint8Array;
  readonly file: Uint8Array;
}

interface Served {
  readonly process: RunningProcess;
  readonly port: number;
}

async function serve(...words: string[]): Promise<Served> {
  const server = new RunningProcess(
    process.execPath,
    tidemarkWords('serve', 'nfs', 'memfs:2MiB', '--memory', '16MiB', '--listen', '127.0.0.1:0', '--squash', 'none', ...words),
  );
  await until('the server to listen', () => server.stdout.includes('\n') || server.isOver, TIMEOUT_MS);
  return { process: server, port: Number(/nfsport=(\d+)/.exec(server.stdout)?.[1]) };
}

/** KiB of memory that a process holds. */
function residentKib({ pid }: RunningProcess): number {
  return Number(/VmRSS:\s*(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

async function prepare(port: number): Promise<Handles> {
  const wire = await NfsWire.connect(port);
  const mounted = await wire.call(1, MOUNT_PROGRAM, Mount3.MNT, (out) => void out.opaque(bytesOf('/')));
  expect(mounted.u32()).toBe(0);
  const root = Uint8Array.from(getMounted(mounted).handle);
  const attributes = { ...NO_CHANGE, mode: 0o666 };
  const made = await wire.call(3, NFS_PROGRAM, Nfs3.CREATE, (out) =>
    putCreate(out, { directory: root, name: bytesOf('file'), mode: CreateMode.UNCHECKED, attributes, verifier: null }),
  );
  expect(made.u32()).toBe(0);
  const file = Uint8Array.from(getCreated(made).handle as Uint8Array);
  await wire.close();
  return { root, file };
}

/** One good call of each kind. */
function corpus({ root, file }: Handles): { program: number; procedure: number; write(out: XdrWriter): void }[] {
  const attributes = { ...NO_CHANGE, mode: 0o640, sizeBytes: 100 };
  const at = (name: string) => ({ directory: root, name: bytesOf(name) });
  const data = new Uint8Array(3000).fill(7);
  const dots = new Uint8Array(16);
  const nfs = (procedure: number, write: (out: XdrWriter) => void) => ({ program: NFS_PROGRAM, procedure, write });
  const mount = (procedure: number, write: (out: XdrWriter) => void) => ({ program: MOUNT_PROGRAM, procedure, write });
  return [
    nfs(Nfs3.GETATTR, (out) => void out.opaque(file)),
    nfs(Nfs3.SETATTR, (out) => putSetAttributes(out, { handle: file, attributes, guard: null })),
    nfs(Nfs3.LOOKUP, (out) => void out.opaque(root).opaque(bytesOf('file'))),
    nfs(Nfs3.ACCESS, (out) => void out.opaque(root).u32(0x3f)),
    nfs(Nfs3.READLINK, (out) => void out.opaque(file)),
    nfs(Nfs3.READ, (out) => void out.opaque(file).u64(0).u32(4096)),
    nfs(Nfs3.WRITE, (out) => void out.opaque(file).u64(10).u32(data.length).u32(Stable.UNSTABLE).opaque(data)),
    nfs(Nfs3.CREATE, (out) => putCreate(out, { ...at('a'), mode: CreateMode.GUARDED, attributes, verifier: null })),
    nfs(Nfs3.CREATE, (out) =>
      putCreate(out, { ...at('b'), mode: CreateMode.EXCLUSIVE, attributes: NO_CHANGE, verifier: dots.subarray(8) }),
    ),
    nfs(Nfs3.MKDIR, (out) => putMakeDirectory(out, { ...at('d'), attributes: { ...NO_CHANGE, mode: 0o755 } })),
    nfs(Nfs3.SYMLINK, (out) => putMakeSymlink(out, { ...at('l'), attributes: NO_CHANGE, target: bytesOf('file') })),
    nfs(Nfs3.MKNOD, (out) =>
      putMakeNode(out, { ...at('p'), type: 7, attributes: { ...NO_CHANGE, mode: 0o600 }, rdevMajor: 0, rdevMinor: 0 }),
    ),
    nfs(Nfs3.REMOVE, (out) => void out.opaque(root).opaque(bytesOf('a'))),
    nfs(Nfs3.RMDIR, (out) => void out.opaque(root).opaque(bytesOf('d'))),
    nfs(Nfs3.RENAME, (out) => putRename(out, { from: at('b'), to: at('c') })),
    nfs(Nfs3.LINK, (out) => void out.opaque(file).opaque(root).opaque(bytesOf('h'))),
    nfs(Nfs3.READDIR, (out) => void out.opaque(root).fixed(dots).u32(2000)),
    nfs(Nfs3.READDIRPLUS, (out) => void out.opaque(root).fixed(dots).u32(800).u32(4000)),
    nfs(Nfs3.FSSTAT, (out) => void out.opaque(root)),
    nfs(Nfs3.FSINFO, (out) => void out.opaque(root)),
    nfs(Nfs3.PATHCONF, (out) => void out.opaque(root)),
    nfs(Nfs3.COMMIT, (out) => void out.opaque(file).u64(0).u32(0)),
    mount(Mount3.MNT, (out) => void out.opaque(bytesOf('/'))),
    mount(Mount3.DUMP, () => {}),
    mount(Mount3.EXPORT, () => {}),
  ];
}

/** Changes a few bytes or words behind the xid, cuts some off, or puts some in. */
function mutate(good: Buffer, random: Random): Buffer {
  const bytes = Buffer.from(good);
  for (let n = random(4); n >= 0; n--) {
    const at = 4 + random(bytes.length - 8);
    if (random(2) === 0) bytes[at] = random(256);
    else bytes.writeUInt32BE(NUMBERS[random(NUMBERS.length)], at & ~3);
  }
  const turn = random(8);
  const least = random(100) === 0 ? 4 : CALL_BYTES_MIN; // what is shorter is no call, and ends the connection
  if (turn === 0) return bytes.subarray(0, least + random(bytes.length - least));
  if (turn === 1) return Buffer.concat([bytes.subarray(0, bytes.length & ~3), Buffer.alloc(4 * random(40), random(256))]);
  return bytes;
}

/** An answer is one that RPC knows; of a call whose head is as it was, also one that NFS knows. */
function check({ body }: WireReply, isNfs: boolean): void {
  const { kind } = getReply(body);
  if (isNfs && kind === 'success' && body.left >= 4) expect(STATUSES).toContain(body.u32());
}

it(`${NR_CALLS.toLocaleString('en')} mutated calls: answered or the connection ends; the server stays as it was`, {
  timeout: TIMEOUT_MS,
}, async () => {
  const served = await serve();
  const handles = await prepare(served.port);
  const good = corpus(handles).map(({ program, procedure, write }) => callMessage(0, program, procedure, write));
  const random = randomFrom(SEED);
  let xid = 1;
  let [nrAnswered, nrEnded, settledKib] = [0, 0, 0];
  let wire = await NfsWire.connect(served.port);
  for (let done = 0; done < NR_CALLS; done += BATCH) {
    const calls: Buffer[] = [];
    for (let i = 0; i < BATCH; i++) {
      const call = mutate(good[random(good.length)], random);
      call.writeUInt32BE(xid++, 0);
      calls.push(call);
    }
    const isAnswered = await wire.exchange(calls, xid++, (reply) => {
      nrAnswered++;
      check(reply, false);
    });
    if (!isAnswered) {
      nrEnded++;
      wire = await NfsWire.connect(served.port);
    }
    if (served.process.isOver) throw new Error(`the server ended (seed ${SEED}, call ${done}): ${(await served.process.ended).stderr}`);
    if (done === NR_CALLS / 4) settledKib = residentKib(served.process);
  }
  expect(residentKib(served.process) - settledKib).toBeLessThan(GROWTH_MAX_KIB);
  expect(nrAnswered).toBeGreaterThan(NR_CALLS / 4); // the rest were dropped, or were behind one that ended the connection
  expect(nrEnded).toBeGreaterThan(0);
  await wire.close();
  await prepareAgain(served.port, handles);
  expect(await served.process.stop()).toMatchObject({ code: 0, stderr: expect.not.stringContaining('bug') });
});

/** The tree is still served, by the handles of before. */
async function prepareAgain(port: number, { root }: Handles): Promise<void> {
  const wire = await NfsWire.connect(port);
  expect((await wire.call(1, NFS_PROGRAM, Nfs3.GETATTR, (out) => void out.opaque(root))).u32()).toBe(NfsStatus.OK);
  await wire.close();
}

it('arguments that are broken in one place only: each status is one that NFS has', { timeout: TIMEOUT_MS }, async () => {
  const served = await serve();
  const handles = await prepare(served.port);
  const wire = await NfsWire.connect(served.port);
  let xid = 1;
  for (const { program, procedure, write } of corpus(handles)) {
    const head = callMessage(0, program, procedure).length;
    const good = callMessage(0, program, procedure, write);
    const calls: Buffer[] = [];
    for (let at = head; at + 4 <= good.length && at < head + 200; at += 4) {
      for (const number of NUMBERS) {
        const call = Buffer.from(good);
        call.writeUInt32BE(number, at);
        call.writeUInt32BE(xid++, 0);
        calls.push(call);
      }
    }
    let nrAnswered = 0;
    const isAnswered = await wire.exchange(calls, xid++, (reply) => {
      nrAnswered++;
      check(reply, program === NFS_PROGRAM);
    });
    expect({ procedure, isAnswered, nrAnswered }).toEqual({ procedure, isAnswered: true, nrAnswered: calls.length });
  }
  await wire.close();
  expect((await served.process.stop()).code).toBe(0);
});

it('1,000 connection attempts and 1,000 queued calls take no memory, and peers that stall or creep hold nobody up', {
  timeout: TIMEOUT_MS,
}, async () => {
  const served = await serve();
  const { root, file } = await prepare(served.port);
  const good = await NfsWire.connect(served.port);
  const getattr = (xid: number): Buffer => callMessage(xid, NFS_PROGRAM, Nfs3.GETATTR, (out) => void out.opaque(root));
  const queue = async (first: number): Promise<number> => {
    let nrAnswered = 0;
    const calls = Array.from({ length: 1_000 }, (_, i) => getattr(first + i));
    expect(await good.exchange(calls, first + 1_000, () => void nrAnswered++)).toBe(true);
    return nrAnswered;
  };
  for (let i = 0; i < 20; i++) expect(await queue(2_000 * i + 1)).toBe(1_000);
  const beforeKib = residentKib(served.process);
  for (let i = 0; i < 20; i++) expect(await queue(100_000 + 2_000 * i)).toBe(1_000);
  // Some stop in the middle of a WRITE, some send a byte at a time, some read nothing.
  const write = callMessage(
    7,
    NFS_PROGRAM,
    Nfs3.WRITE,
    (out) => void out.opaque(file).u64(0).u32(30_000).u32(0).opaque(new Uint8Array(30_000)),
  );
  const [half, slow] = [await NfsWire.connect(served.port), await NfsWire.connect(served.port)];
  half.socket.write(record(write).subarray(0, 5_000));
  const bytes = record(getattr(9));
  let crept = 0;
  const answered = new Promise<void>((resolve) => slow.onReply(({ xid }) => xid === 9 && resolve()));
  for (let i = 0; i < 1_000; i++) {
    const attempt = await NfsWire.connect(served.port);
    if (i % 4 === 0) attempt.socket.write(bytes);
    if (crept < bytes.length) slow.socket.write(bytes.subarray(crept, ++crept));
    await attempt.close();
  }
  slow.socket.write(bytes.subarray(crept));
  await answered;
  expect(await queue(900_000)).toBe(1_000);
  expect(residentKib(served.process) - beforeKib).toBeLessThan(GROWTH_MAX_KIB);
  for (const each of [half, slow, good]) await each.close();
  expect((await served.process.stop()).code).toBe(0);
});
