/**
 * Changed replies against the RPC client and the codecs of every procedure, in memory: each call ends, with a result or an errno; what is beside the
 * pages of a READ stays; no call object is lost. 3,000 replies; `TIDEMARK_RUNS=n` has n times as many (67: 200,000).
 */
import { type Clock, Errno, KernelError, Memory, PAGE_SIZE, TaskContext, type TimerHandle, TracePoints } from '@tidemark/core';
import * as nfs from '@tidemark/fs-nfs';
import { type ConnectOptions, ReceiveSlot, type Socket, type SocketHandler } from '@tidemark/net';
import { Random } from '@tidemark/testkit';
import { expect, it } from 'vitest';
import { NfsCalls } from '../src/client/nfs-calls.js';
import { RpcConnection } from '../src/rpc/rpc-connection.js';

const NR_REPLIES = 3_000 * Math.max(1, Math.floor(Number(process.env.TIDEMARK_RUNS ?? 1)) || 1);
const { Nfs3 } = nfs;
const time = { seconds: 1_700_000_000, nanoseconds: 5 };
const attributes: nfs.FileAttributes = {
  ...{ mode: 0o100644, nlink: 1, uid: 0, gid: 0, sizeBytes: 10_000, usedBytes: 12_288, rdevMajor: 0, rdevMinor: 0, fsid: 7, fileid: 9 },
  ...{ atime: time, mtime: time, ctime: time },
};
const wcc: nfs.WeakCacheData = { before: { sizeBytes: 5, mtime: time, ctime: time }, after: attributes };
const handle = new Uint8Array(32).fill(3);
const verifier = new Uint8Array(8).fill(4);
const name = new TextEncoder().encode('a name');

/** The results of each procedure as a server writes them, behind the status. */
const RESULTS: Readonly<Record<number, (out: nfs.XdrWriter, countBytes: number) => void>> = {
  [Nfs3.GETATTR]: (out) => nfs.putAttributes(out, attributes),
  [Nfs3.SETATTR]: (out) => nfs.putWcc(out, wcc),
  [Nfs3.LOOKUP]: (out) => nfs.putLookup(out, { handle, attributes, directory: attributes }),
  [Nfs3.ACCESS]: (out) => {
    nfs.putOptionalAttributes(out, attributes);
    out.u32(0x3f);
  },
  [Nfs3.READLINK]: (out) => {
    nfs.putOptionalAttributes(out, attributes);
    out.opaque(name);
  },
  [Nfs3.READ]: (out, countBytes) => {
    nfs.putRead(out, { attributes, countBytes, isEnd: false });
    out.fixed(new Uint8Array(countBytes).fill(0xab));
  },
  [Nfs3.WRITE]: (out, countBytes) => nfs.putWritten(out, { wcc, countBytes, committed: 0, verifier }),
  [Nfs3.CREATE]: (out) => nfs.putCreated(out, { handle, attributes, directory: wcc }),
  [Nfs3.MKDIR]: (out) => nfs.putCreated(out, { handle, attributes, directory: wcc }),
  [Nfs3.SYMLINK]: (out) => nfs.putCreated(out, { handle, attributes, directory: wcc }),
  [Nfs3.MKNOD]: (out) => nfs.putCreated(out, { handle: null, attributes: null, directory: wcc }),
  [Nfs3.REMOVE]: (out) => nfs.putWcc(out, wcc),
  [Nfs3.RMDIR]: (out) => nfs.putWcc(out, wcc),
  [Nfs3.RENAME]: (out) => {
    nfs.putWcc(out, wcc);
    nfs.putWcc(out, wcc);
  },
  [Nfs3.LINK]: (out) => {
    nfs.putOptionalAttributes(out, attributes);
    nfs.putWcc(out, wcc);
  },
  [Nfs3.READDIR]: (out) => entries(out, false),
  [Nfs3.READDIRPLUS]: (out) => entries(out, true),
  [Nfs3.FSSTAT]: (out) =>
    nfs.putFileSystemStatus(out, attributes, {
      ...{ totalBytes: 9, freeBytes: 8, availableBytes: 7, totalFiles: 6, freeFiles: 5, availableFiles: 4 },
    }),
  [Nfs3.FSINFO]: (out) =>
    nfs.putFileSystemInfo(out, attributes, {
      ...{ readMax: 1, readPreferred: 2, readMultiple: 3, writeMax: 4, writePreferred: 5, writeMultiple: 6, directoryPreferred: 7 },
      ...{ fileSizeMax: 8, timeDelta: time, properties: 9 },
    }),
  [Nfs3.PATHCONF]: (out) => nfs.putPathLimits(out, attributes, { linkMax: 9, nameBytesMax: 255 }),
  [Nfs3.COMMIT]: (out) => nfs.putCommitted(out, { wcc, verifier }),
};

function entries(out: nfs.XdrWriter, isPlus: boolean): void {
  nfs.putOptionalAttributes(out, attributes);
  out.fixed(verifier);
  for (let i = 1; i < 6; i++) nfs.putEntry(out, i, name, i, isPlus ? { attributes, handle } : null);
  out.bool(false).bool(true);
}

/** Time that moves when the test says so. */
class HandClock implements Clock {
  now = 0;
  readonly #timers = new Map<object, { dueMs: number; fire: () => void }>();
  nowMs = (): number => this.now;
  setTimer(delayMs: number, fire: () => void): TimerHandle {
    const timer = {};
    this.#timers.set(timer, { dueMs: this.now + delayMs, fire });
    return timer;
  }
  clearTimer(timer: TimerHandle): void {
    this.#timers.delete(timer);
  }
  get nrPendingTimers(): number {
    return this.#timers.size;
  }
  /** To the next timer. */
  advance(): void {
    const next = [...this.#timers].sort(([, a], [, b]) => a.dueMs - b.dueMs)[0];
    if (next === undefined) return;
    this.#timers.delete(next[0]);
    this.now = Math.max(this.now, next[1].dueMs);
    next[1].fire();
  }
}

const WORDS = [0, 1, 2, 3, 5, 70, 255, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fffc, 10_008, 1 << 20];

/** The other end: it answers each call with what a server would say, changed. */
class FuzzSocket implements Socket {
  readonly peer = 'fuzz';
  readonly slot: ReceiveSlot;
  handler: SocketHandler;
  isOpen = true;
  nrUnsentBytes = 0;
  #sent: number[] = [];
  readonly #out: Uint8Array[] = [];

  constructor(
    options: ConnectOptions,
    private readonly random: Random,
  ) {
    this.slot = options.slot;
    this.handler = options.handler;
    this.slot.reset();
  }

  send(bytes: Uint8Array, onSent: (() => void) | null): void {
    if (!this.isOpen) return;
    this.#sent.push(...bytes.subarray(0, 4096));
    onSent?.();
    const all = Uint8Array.from(this.#sent);
    if (all.length < 4 || all.length < 4 + (new DataView(all.buffer).getUint32(0) & 0x7fff_ffff)) return;
    this.#sent = [];
    this.#out.push(this.#reply(all));
  }

  #reply(call: Uint8Array): Uint8Array {
    const view = new DataView(call.buffer);
    const procedure = view.getUint32(24);
    const out = new nfs.XdrWriter().reset(new Uint8Array(32_768));
    out.u32(0);
    nfs.putAccepted(out, view.getUint32(4), 0);
    out.u32(this.random.chance(0.1) ? this.random.pick([2, 5, 70, 10_004]) : 0);
    RESULTS[procedure](out, COUNT_BYTES);
    out.patch(0, nfs.LAST_FRAGMENT + out.length - 4);
    return this.#change(out.written().slice());
  }

  #change(message: Uint8Array): Uint8Array {
    const { random } = this;
    let bytes = message;
    for (let n = random.below(4); n > 0; n--) {
      const at = random.chance(0.8) ? random.below(Math.min(bytes.length, 120)) : random.below(bytes.length);
      const kind = random.below(5);
      if (kind === 0) bytes[at] ^= 1 << random.below(8);
      else if (kind === 1 && at + 4 <= bytes.length) new DataView(bytes.buffer, bytes.byteOffset).setUint32(at & ~3, random.pick(WORDS));
      else if (kind === 2) bytes = bytes.slice(0, Math.max(at, 4));
      else if (kind === 3)
        bytes = Uint8Array.from([...bytes.subarray(0, at), ...new Uint8Array(4 * random.below(3)), ...bytes.subarray(at)]);
      else bytes[at] = random.below(256);
      if (bytes.length < 4) return new Uint8Array(4);
    }
    return bytes;
  }

  /** Hands over what there is, in pieces. */
  deliver(): void {
    for (const bytes of this.#out.splice(0)) {
      for (let at = 0; at < bytes.length && this.isOpen; ) {
        if (!this.slot.takeUp()) return; // what it reads is longer than it can be: the client has stopped
        const target = this.slot.target();
        const length = Math.min(target.length, bytes.length - at, 1 + this.random.below(3_000));
        target.set(bytes.subarray(at, at + length));
        this.slot.received(length);
        this.handler.onReceive(this);
        this.slot.plan();
        at += length;
      }
    }
  }

  pause(): void {}
  resume(): void {}
  end(): void {}
  closeWhenSent(): void {
    this.destroy();
  }
  destroy(error: KernelError | null = null): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    setImmediate(() => this.handler.onClose(this, error));
  }
}

const COUNT_BYTES = 6_000;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it(`${NR_REPLIES.toLocaleString('en')} changed replies: every call ends`, async () => {
  const random = new Random(Number(process.env.TIDEMARK_SEED ?? 1));
  const memory = new Memory(512);
  const task = TaskContext.root('fuzz');
  const clock = new HandClock();
  const slot = new ReceiveSlot(await memory.allocStanding(task, 'slot', 8));
  const heads = await memory.allocStanding(task, 'heads', 2);
  const pages = await memory.allocStanding(task, 'pages', 4);
  let socket: FuzzSocket | null = null;
  const connection = new RpcConnection({
    ...{ name: 'fuzz', arena: memory.arena, clock, trace: new TracePoints(), slot },
    credentials: { flavor: 1, uid: 0, gid: 0, groups: [] },
    machineName: name,
    firstXid: 0xffff_ff00,
    times: { timeoMs: 100, retrans: 1, isSoft: true },
    recordBytesMax: 16_384,
    connect: async (handler, timeoutMs, signal) => (socket = new FuzzSocket({ slot, handler, timeoutMs, signal }, random)),
    heldBy: () => [],
  });
  const lane = connection.lane('calls', 4, heads.bytes);
  const lanes = { writes: lane, commits: lane, pinnedWrites: lane, pinnedReads: lane, pinnedCommits: lane, others: lane, long: lane };
  const calls = new NfsCalls({ name: 'fuzz', clock, jukeboxMs: () => 50, general: connection, writeout: connection, ...lanes });
  await connection.open(task, 1_000);
  const pfns = Uint32Array.of(pages.pfn, pages.pfn + 1, pages.pfn + 2, pages.pfn + 3);
  const span = { pfns, from: 1, skipBytes: 100, lengthBytes: COUNT_BYTES };
  const { NO_CHANGE } = nfs;
  const where = { directory: handle, name };
  const list = { handle, cookie: new Uint8Array(8), verifier, namesBytesMax: 1_000, resultBytesMax: 4_000 };
  const procedures: readonly (() => Promise<unknown>)[] = [
    () => calls.getAttributes(task, handle),
    () => calls.setAttributes(task, handle, NO_CHANGE),
    () => calls.lookup(task, handle, name),
    () => calls.access(task, handle, 3),
    () => calls.readLink(task, handle),
    () => calls.read(task, handle, 0, span, false),
    () => calls.write(task, handle, 0, span, 0, false),
    () => calls.create(task, { ...where, mode: 1, attributes: NO_CHANGE, verifier: null }),
    () => calls.makeDirectory(task, { ...where, attributes: NO_CHANGE }),
    () => calls.makeSymlink(task, { ...where, attributes: NO_CHANGE, target: name }),
    () => calls.makeNode(task, { ...where, type: 7, attributes: NO_CHANGE, rdevMajor: 0, rdevMinor: 0 }),
    () => calls.remove(task, where, false),
    () => calls.remove(task, where, true),
    () => calls.rename(task, { from: where, to: where }),
    () => calls.link(task, { handle, to: where }),
    () => calls.readDirectory(task, list, false),
    () => calls.readDirectory(task, list, true),
    () => calls.status(task, handle),
    () => calls.info(task, handle),
    () => calls.limits(task, handle),
    () => calls.commit(task, handle, false),
  ];
  const outcomes = new Map<string, number>();
  const note = (what: string): unknown => outcomes.set(what, (outcomes.get(what) ?? 0) + 1);
  for (let done = 0; done < NR_REPLIES; ) {
    pages.bytes.fill(0x11);
    const batch = Array.from({ length: 1 + random.below(4) }, () => random.pick(procedures)());
    done += batch.length;
    let nrEnded = 0;
    for (const call of batch)
      void call.then((answer) => {
        nrEnded++;
        if (typeof answer === 'number') note(`${answer}`);
        else note((answer as { ok: unknown }).ok === null ? 'refused' : 'ok');
      });
    for (let round = 0; nrEnded < batch.length && round < 200; round++) {
      await turn();
      (socket as FuzzSocket | null)?.deliver();
      await turn();
      if (nrEnded < batch.length && round % 2 === 1) clock.advance();
    }
    expect(nrEnded, `calls that ended, after ${done} replies`).toBe(batch.length);
    const beside = [pages.bytes.subarray(0, PAGE_SIZE + 100), pages.bytes.subarray(PAGE_SIZE + 100 + COUNT_BYTES)];
    for (const part of beside) expect(part.every((byte) => byte === 0x11)).toBe(true);
    expect(lane.nrBusy).toBe(0);
  }
  expect(outcomes.get('ok') ?? 0).toBeGreaterThan(NR_REPLIES / 20);
  expect(outcomes.get(`${-Errno.EPROTO}`) ?? 0).toBeGreaterThan(0);
  await connection.close();
  expect(clock.nrPendingTimers).toBe(0);
  expect(connection.nrInFlight).toBe(0);
}, 3_600_000);
