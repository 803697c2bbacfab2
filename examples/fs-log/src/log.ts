/**
 * The log: transactions, checkpoints, and reading both back.
 *
 *     an operation    room for its records in the running transaction, waiting for a commit if need be → its change and its records, in one step
 *     a page written  its MAP record is due; a commit takes as many of those as it has room for: writing pages out waits for no transaction
 *     a commit        flush (data) → record blocks → flush → superseded blocks are free
 *     a checkpoint    in a commit's place when the half is full: everything as records; operations wait until it is done
 *
 * A transaction has `TRANSACTION_BLOCKS` blocks and no more; both of its buffers stand from the mount on. So a commit is one unit that allocates
 * nothing and waits for the device only, and swap on a file of such a filesystem can be admitted.
 */
import {
  type DeviceIo,
  Errno,
  KernelError,
  type NegErrno,
  Semaphore,
  type StandingMemory,
  type TaskContext,
  type UnitPool,
} from '@tidemark/core';
import { BLOCK, type BlockHeader, COMPLETE, Kind, LAST, openBlock, putRecord, recordsOf, sealBlock, TRANSACTION_BLOCKS } from './format.js';
import { entryBytes, LogNode, MAP_BYTES, NODE_BYTES, NR_SHARED, type Room } from './node.js';
import { FREE, type Space } from './space.js';

/** Blocks that the records of one operation may begin; the largest is a rename. */
const OPERATION_BLOCKS = 2;
const BYTES = TRANSACTION_BLOCKS * BLOCK;

/** A transaction's buffer: frames, and bytes used of each block that was begun. */
interface Buffer {
  readonly frames: StandingMemory;
  readonly used: number[];
}

export interface LogParts {
  readonly name: string;
  readonly io: DeviceIo;
  readonly space: Space;
  readonly room: Room;
  readonly buffers: readonly StandingMemory[];
  /** Units of the log's node; null before it is admitted. */
  readonly units: () => UnitPool | null;
  /** Inside the log's node: the task of every commit. */
  readonly task: TaskContext;
}

export class Log {
  readonly nodes = new Map<number, LogNode>();
  /** Inodes whose record is due, and blocks whose MAP record is. */
  readonly dirty = new Set<LogNode>();
  readonly unmapped = new Set<number>();
  lastIno = 1;
  fsid = 0;
  /** Why it changes nothing more: a commit has failed. */
  failure: 0 | NegErrno = 0;
  readonly #turn: Semaphore;
  readonly #nrHalf: number;
  #running: Buffer;
  #other: Buffer;
  #half = 1;
  /** Blocks written of the half, the serial number of the next, and whether a checkpoint keeps operations out. */
  #at: number;
  #serial = 1;
  #isFrozen = false;

  constructor(readonly parts: LogParts) {
    [this.#running, this.#other] = parts.buffers.map((frames) => ({ frames, used: [] }));
    this.#nrHalf = this.#at = parts.space.nrRecordBlocks / 2;
    this.#turn = new Semaphore(1, { kind: 'transaction', name: `commit of ${parts.name}` });
  }

  /** True if an operation's records fit now. */
  get hasRoom(): boolean {
    return this.failure === 0 && !this.#isFrozen && this.#running.used.length + OPERATION_BLOCKS <= TRANSACTION_BLOCKS;
  }

  /** Waits until an operation's records fit. What follows in one step is one change. @returns 0; EROFS after a failure. */
  async begin(task: TaskContext): Promise<0 | NegErrno> {
    while (this.failure === 0 && !this.hasRoom) {
      const status = await this.commit(task);
      if (status < 0) return status;
    }
    return this.failure === 0 ? 0 : -Errno.EROFS;
  }

  add(kind: number, numbers: readonly number[], text = ''): void {
    if (!put(this.#running, kind, numbers, text)) throw new Error(`${this.parts.name}: an operation has more records than it said`);
  }

  /** A page is on the device: `block` takes the place of what was there. */
  remap(node: LogNode, page: number, block: number): void {
    const { space } = this.parts;
    const old = node.map.get(page) ?? 0;
    space.previous.set(block, this.unmapped.has(old) ? space.previous.get(old) : old);
    if (this.unmapped.delete(old)) space.release(old); // nothing durable leads to it
    node.map.set(page, block);
    this.unmapped.add(block);
  }

  /** A page's block is given up; the record that says so is the caller's. */
  unmap(node: LogNode, page: number): void {
    const { space, room } = this.parts;
    const block = node.map.get(page) as number;
    const isUnmapped = this.unmapped.delete(block);
    const durable = isUnmapped ? space.previous.get(block) : block;
    if (isUnmapped) space.release(block);
    if (durable !== 0) space.supersede(durable);
    node.map.delete(page);
    room.take(-MAP_BYTES);
  }

  /** Makes everything changed before this call durable. */
  async sync(task: TaskContext): Promise<0 | NegErrno> {
    const due = [...this.unmapped];
    let status = await this.commit(task);
    while (status === 0 && due.some((block) => this.unmapped.has(block))) status = await this.commit(task);
    return status;
  }

  /** Has the next commit be a checkpoint. */
  fillHalf(): void {
    this.#at = this.#nrHalf;
  }

  /** Commits the running transaction: one unit of the log's node. */
  async commit(task: TaskContext): Promise<0 | NegErrno> {
    const got = await this.#turn.acquire(task);
    if (got < 0) return got;
    const ticket = (await this.parts.units()?.begin(this.parts.task)) ?? null;
    if (this.failure === 0 && typeof ticket !== 'number') this.failure = await this.#commitNow(this.parts.task.withTicket(ticket));
    if (ticket !== null && typeof ticket !== 'number') ticket.end();
    this.#turn.release();
    return this.failure === 0 ? 0 : -Errno.EIO;
  }

  async #commitNow(task: TaskContext): Promise<0 | NegErrno> {
    const { space, io } = this.parts;
    const isCheckpoint = this.#at + TRANSACTION_BLOCKS > this.#nrHalf;
    const buffer = this.#running;
    [this.#running, this.#other] = [this.#other, buffer];
    let status: 0 | NegErrno = 0;
    if (!isCheckpoint) this.#drain(buffer);
    const superseded = space.takeSuperseded();
    if (isCheckpoint) status = await this.#checkpoint(task, buffer);
    else {
      status = await io.flush(task);
      if (status === 0 && buffer.used.length > 0) status = await this.#append(task, buffer, LAST);
    }
    if (status === 0 && buffer.used.length > 0) status = await io.flush(task);
    buffer.used.length = 0;
    this.#isFrozen = false;
    if (status === 0) for (const block of superseded) space.release(block);
    return status;
  }

  /** Takes what is due, as far as there is room. */
  #drain(buffer: Buffer): void {
    const { owner, page, previous } = this.parts.space;
    for (const node of this.dirty) {
      if (!put(buffer, Kind.INODE, ...node.record)) return; // no page before the size that covers it
      this.dirty.delete(node);
    }
    for (const block of this.unmapped) {
      if (!put(buffer, Kind.MAP, [owner.get(block), page.get(block), block])) return;
      this.unmapped.delete(block);
      if (previous.get(block) !== 0) this.parts.space.supersede(previous.get(block));
      previous.set(block, 0);
    }
  }

  /** Writes everything to the other half. */
  async #checkpoint(task: TaskContext, buffer: Buffer): Promise<0 | NegErrno> {
    this.#isFrozen = true;
    this.#half ^= 1;
    this.#at = buffer.used.length = 0;
    this.dirty.clear();
    for (const [kind, numbers, text] of this.#everything()) {
      if (put(buffer, kind, numbers, text)) continue;
      const status = await this.#append(task, buffer, LAST);
      if (status < 0) return status;
      buffer.used.length = 0;
      put(buffer, kind, numbers, text);
    }
    return this.#append(task, buffer, LAST | COMPLETE);
  }

  /** All that is durable; of pages whose MAP record is due, where they were. */
  *#everything(): Generator<[kind: number, numbers: readonly number[], text?: string]> {
    const { page, previous } = this.parts.space;
    for (const node of this.nodes.values()) yield [Kind.INODE, ...node.record];
    for (const node of this.nodes.values()) {
      for (const [name, { ino, cookie }] of node.entries) yield [Kind.ENTRY, [node.ino, ino, cookie], name];
      for (const block of [...node.map.values()]) {
        const durable = this.unmapped.has(block) ? previous.get(block) : block;
        if (durable !== 0) yield [Kind.MAP, [node.ino, page.get(durable), durable]];
      }
    }
  }

  /** Writes a buffer's blocks as one transaction behind the others. */
  #append(task: TaskContext, { frames, used }: Buffer, flags: number): 0 | NegErrno | Promise<0 | NegErrno> {
    const { fsid, lastIno } = this;
    for (const [i, bytes] of used.entries()) {
      const header = { fsid, flags: i === used.length - 1 ? flags : 0, serial: this.#serial++, lastIno, used: bytes };
      sealBlock(frames.bytes.subarray(i * BLOCK, (i + 1) * BLOCK), header);
    }
    const offsetBytes = (this.#half * this.#nrHalf + this.#at) * BLOCK;
    this.#at += used.length;
    return this.parts.io.write(task, offsetBytes, pfnsOf(frames), 0, used.length);
  }

  /** Reads the log back. @throws KernelError EUCLEAN for what is none, EIO. */
  async load(task: TaskContext): Promise<void> {
    const { name, space } = this.parts;
    const halves = [];
    for (const half of [0, 1]) halves.push({ half, ...((await this.#completeCheckpoint(task, half)) ?? { serial: 0, fsid: 0 }) });
    const { half, serial, fsid } = halves.sort((a, b) => b.serial - a.serial)[0];
    if (serial === 0) throw new KernelError('EUCLEAN', `${name} has no checkpoint: it was never formatted, or is damaged`);
    [this.#half, this.#serial, this.fsid, this.#at] = [half, serial, fsid, 0];
    for (let used = await this.#readTransaction(task); used !== null; used = await this.#readTransaction(task))
      for (const [i, bytes] of used.entries())
        for (const { kind, n, text } of recordsOf(this.#running.frames.bytes.subarray(i * BLOCK, (i + 1) * BLOCK), bytes))
          this.#apply(kind, n, text);
    for (const node of this.nodes.values())
      for (const [page, block] of node.map) {
        if (space.owner.get(block) !== FREE) throw new KernelError('EUCLEAN', `${name}: block ${block} belongs to two pages`);
        space.claim(block, node.ino, page);
      }
  }

  /** The first header of a half whose checkpoint is whole, else null. */
  async #completeCheckpoint(task: TaskContext, half: number): Promise<BlockHeader | null> {
    let first: BlockHeader | null = null;
    for (let at = 0; at < this.#nrHalf; at++) {
      const header = await this.#readBlock(task, half * this.#nrHalf + at, 0);
      first ??= header;
      if (header === null || header.fsid !== first?.fsid || header.serial !== first.serial + at) return null;
      if ((header.flags & COMPLETE) !== 0) return first;
    }
    return null;
  }

  /** Bytes used of the blocks of the next whole transaction, which are in the running buffer; null at the end of the log. */
  async #readTransaction(task: TaskContext): Promise<number[] | null> {
    const used: number[] = [];
    while (used.length < TRANSACTION_BLOCKS && this.#at + used.length < this.#nrHalf) {
      const header = await this.#readBlock(task, this.#half * this.#nrHalf + this.#at + used.length, used.length);
      if (header === null || header.fsid !== this.fsid || header.serial !== this.#serial + used.length) return null;
      used.push(header.used);
      this.lastIno = header.lastIno;
      if ((header.flags & LAST) === 0) continue;
      this.#serial += used.length;
      this.#at += used.length;
      return used;
    }
    return null;
  }

  async #readBlock(task: TaskContext, block: number, frame: number): Promise<BlockHeader | null> {
    const { frames } = this.#running;
    const status = await this.parts.io.read(task, block * BLOCK, pfnsOf(frames), frame, 1);
    if (status < 0) throw new KernelError('EIO', `${this.parts.name}: block ${block} of the log cannot be read`);
    return openBlock(frames.bytes.subarray(frame * BLOCK, (frame + 1) * BLOCK));
  }

  #apply(kind: number, n: readonly number[], text: string): void {
    const { name, room, space } = this.parts;
    const isNew = !this.nodes.has(n[0]);
    const node = this.nodes.get(n[0]) ?? new LogNode(n[0]);
    if (isNew && kind !== Kind.INODE) throw new KernelError('EUCLEAN', `${name}: the log speaks of inode ${n[0]}, which is not there`);
    if (kind === Kind.INODE) {
      if (isNew) room.take(NODE_BYTES + 2 * text.length);
      Object.assign(node, { attributes: n.slice(1, 1 + NR_SHARED), parent: n[1 + NR_SHARED], linkTarget: text });
      this.nodes.set(n[0], node);
    } else if (kind === Kind.ENTRY) {
      if (node.entries.delete(text)) room.take(-entryBytes(text));
      if (n[1] !== 0) room.take(entryBytes(text));
      if (n[1] !== 0) node.entries.set(text, { ino: n[1], cookie: n[2] });
      node.nrCookies = Math.max(node.nrCookies, n[2]);
    } else if (kind === Kind.MAP) {
      if (!(n[2] >= space.nrRecordBlocks && n[2] < space.nrBlocks))
        throw new KernelError('EUCLEAN', `${name}: page ${n[1]} of inode ${n[0]} is at block ${n[2]}, which is outside`);
      if (!node.map.has(n[1])) room.take(MAP_BYTES);
      node.map.set(n[1], n[2]);
    } else if (kind === Kind.CUT) {
      for (const page of [...node.map.keys()]) if (page >= n[1] && node.map.delete(page)) room.take(-MAP_BYTES);
      if (n[1] < 0 && this.nodes.delete(n[0])) room.take(-NODE_BYTES - 2 * node.linkTarget.length);
    } else throw new KernelError('EUCLEAN', `${name}: the log has a record of kind ${kind}`);
  }
}

/** Appends a record to a buffer. @returns false if it is full. */
function put({ frames, used }: Buffer, kind: number, numbers: readonly number[], text = ''): boolean {
  const block = (i: number): Uint8Array => frames.bytes.subarray(i * BLOCK, (i + 1) * BLOCK);
  const at = used.length - 1;
  const end = at < 0 ? -1 : putRecord(block(at), used[at], kind, numbers, text);
  if (end >= 0) used[at] = end;
  else if ((at + 2) * BLOCK > BYTES) return false;
  else used.push(putRecord(block(at + 1).fill(0), 0, kind, numbers, text));
  return true;
}

function pfnsOf({ pfn, nrFrames }: StandingMemory): Uint32Array {
  return Uint32Array.from({ length: nrFrames }, (_, i) => pfn + i);
}
