/**
 * The log: a ring of blocks in the journal file, and the journal's superblock, which says where its oldest live transaction begins.
 *
 *     tail … head     transactions that may have to be replayed
 *     head … tail     free
 *
 * Transactions are at home before the next one is logged, so the tail may always move up to the head; it does when room is short, because
 * that costs a flush and a write of the superblock.
 */
import {
  BioOp,
  type BlockDevice,
  errorFrom,
  type MaybePromise,
  type Memory,
  type NegErrno,
  type Pfn,
  type StandingMemory,
  type TaskContext,
} from '@tidemark/core';
import { addressOf, type BlockIo, type Transfer } from '../device/block-io.js';
import {
  BlockType,
  JournalIncompat,
  type JournalSuperblock,
  putCommit,
  putDescriptor,
  putJournalSuperblock,
  putRevokes,
  tagCapacity,
  TagFlag,
} from '../format/journal.js';
import type { LogMap } from './log-map.js';
import type { Transaction } from './transaction.js';

/** Where the moment of a commit comes from. */
export type NowMs = () => number;

/** Blocks of the log beside its images that a transaction of `nrBlocks` takes: descriptors, revokes, the commit block. */
export function logOverhead(nrBlocks: number, blockSize: number): number {
  return Math.ceil(nrBlocks / tagCapacity(blockSize)) + 1 + 1;
}

export class Log {
  readonly #frame: StandingMemory;
  #head: number;
  #tail: number;

  private constructor(
    private readonly memory: Memory,
    readonly io: BlockIo,
    readonly map: LogMap,
    readonly superblock: JournalSuperblock,
    readonly blockSize: number,
    private readonly nowMs: NowMs,
    frame: StandingMemory,
  ) {
    this.#frame = frame;
    const { head, first, maxlen } = superblock;
    this.#head = this.#tail = head >= first && head < maxlen ? head : first;
  }

  /** The log of a journal that is empty. @throws KernelError ENOMEM. */
  static async open(
    task: TaskContext,
    memory: Memory,
    io: BlockIo,
    map: LogMap,
    superblock: JournalSuperblock,
    blockSize: number,
    nowMs: NowMs,
  ): Promise<Log> {
    const frame = await memory.allocStanding(task, `journal superblock of ${io.device.name}`, 1);
    const log = new Log(memory, io, map, superblock, blockSize, nowMs, frame);
    if (superblock.type === BlockType.SUPERBLOCK_V1) Object.assign(superblock, { type: BlockType.SUPERBLOCK_V2, nrUsers: 1 });
    superblock.featureIncompat |= JournalIncompat.REVOKE;
    superblock.featureCompat = 0; // checksums of commit blocks: ours have none
    const status = await log.#transfer(task, BioOp.READ, 0, frame.pfn, false);
    if (status === 0) return log;
    frame.free();
    throw errorFrom(status, `read the journal's superblock on ${io.device.name}`);
  }

  get device(): BlockDevice {
    return this.io.device;
  }

  /** Blocks that can be written before the tail must move; one always stays unused. */
  get #room(): number {
    const { first, maxlen } = this.superblock;
    const lap = maxlen - first;
    const used = (this.#head - this.#tail + lap) % lap;
    return lap - used - 1;
  }

  async #transfer(task: TaskContext, op: BioOp, logBlock: number, pfn: Pfn, isStable: boolean): Promise<0 | NegErrno> {
    const transfer = this.io.begin(task, op, isStable);
    await transfer.add(this.map.blockOf(logBlock) * this.blockSize, addressOf(pfn), this.blockSize);
    return transfer.end();
  }

  /** Writes the journal's superblock; durable when it ends. */
  async writeSuperblock(task: TaskContext): Promise<0 | NegErrno> {
    putJournalSuperblock(this.#frame.bytes, this.superblock);
    const status = await this.#transfer(task, BioOp.WRITE, 0, this.#frame.pfn, true);
    return status < 0 || this.io.canStable ? status : this.io.flush(task);
  }

  /** Makes room for a transaction, and says where it begins if the log was empty. */
  async #prepare(task: TaskContext, id: number, nrBlocks: number): Promise<0 | NegErrno> {
    const { superblock } = this;
    const isEmpty = superblock.start === 0;
    if (!isEmpty && nrBlocks <= this.#room) return 0;
    if (!isEmpty) {
      const status = await this.io.flush(task); // what is in the log is at home for good
      if (status < 0) return status;
    }
    this.#tail = this.#head;
    superblock.start = this.#head;
    superblock.sequence = id;
    return this.writeSuperblock(task);
  }

  #next(): number {
    const { first, maxlen } = this.superblock;
    const at = this.#head++;
    if (this.#head === maxlen) this.#head = first;
    return at;
  }

  /**
   * Writes a transaction and makes it durable.
   * @param scratch frames of a block each, as many as `logOverhead` says.
   */
  async append(task: TaskContext, transaction: Transaction, scratch: readonly Pfn[]): Promise<0 | NegErrno> {
    const { id, frozen, revokes } = transaction;
    const overhead = logOverhead(frozen.size, this.blockSize);
    let status = await this.#prepare(task, id, frozen.size + overhead);
    if (status < 0) return status;
    const transfer = this.io.begin(task, BioOp.WRITE);
    let used = 0;
    if (revokes.size > 0) {
      const frame = scratch[used++];
      putRevokes(this.#bytes(frame), id, [...revokes]);
      await this.#add(transfer, frame);
    }
    const images = [...frozen];
    const perDescriptor = tagCapacity(this.blockSize);
    for (let from = 0; from < images.length; from += perDescriptor) {
      const some = images.slice(from, from + perDescriptor);
      const tags = some.map(([block]) => ({ block, flags: transaction.escaped.has(block) ? TagFlag.ESCAPE : 0 }));
      const frame = scratch[used++];
      putDescriptor(this.#bytes(frame), id, this.superblock.uuid, tags);
      await this.#add(transfer, frame);
      for (const [, pfn] of some) await this.#add(transfer, pfn);
    }
    status = await transfer.end();
    if (status === 0) status = await this.io.flush(task);
    if (status < 0) return status;
    const nowMs = this.nowMs();
    const commit = scratch[used];
    const seconds = Math.floor(nowMs / 1000);
    putCommit(this.#bytes(commit), id, seconds, Math.floor((nowMs - seconds * 1000) * 1e6));
    status = await this.#transfer(task, BioOp.WRITE, this.#next(), commit, true);
    return status < 0 || this.io.canStable ? status : this.io.flush(task);
  }

  #add(transfer: Transfer, pfn: Pfn): MaybePromise<void> {
    return transfer.add(this.map.blockOf(this.#next()) * this.blockSize, addressOf(pfn), this.blockSize);
  }

  #bytes(pfn: Pfn): Uint8Array {
    return this.memory.arena.view(addressOf(pfn), this.blockSize);
  }

  /** Everything is at home, and the log is empty from here on. */
  async close(task: TaskContext, nextId: number): Promise<0 | NegErrno> {
    const { superblock } = this;
    superblock.start = 0;
    superblock.sequence = nextId;
    superblock.head = this.#head;
    return this.writeSuperblock(task);
  }

  /** Keeps in the journal that it was aborted, and why. Best effort. */
  async noteError(task: TaskContext, errno: NegErrno): Promise<void> {
    this.superblock.errno = errno;
    await this.writeSuperblock(task);
  }

  dispose(): void {
    this.#frame.free();
    this.map.dispose();
  }
}
