/**
 * A file behind a page cache, for tests: pages in a map, late, failing, full, as the test says. What `writepages` wrote is volatile until `sync`.
 *
 * It checks its user: writes only pages whose `dirtyPage` agreed, never two at once of one page, never one that was freed.
 */
import {
  type AddressSpaceOperations,
  type Arena,
  Errno,
  isPromise,
  type MaybePromise,
  type NegErrno,
  PAGE_SIZE,
  type PageChange,
  type TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import type { VirtualTime } from './virtual-time.js';

/** What is asked before an operation ends. */
export type BackingOp = 'read' | 'write' | 'dirty' | 'sync';

export interface FileBackingOptions {
  readonly arena: Arena;
  readonly sizeBytes?: number;
  /** Answers take time on this clock; absent: at once. */
  readonly time?: VirtualTime;
  readonly delayMs?: (op: BackingOp) => number;
  readonly status?: (op: BackingOp, index: number) => 0 | NegErrno;
  /** Blocks, of a page each; beyond them ENOSPC. */
  readonly nrBlocks?: number;
  readonly device?: object;
  readonly node?: WriteoutNode;
  readonly pagesPerWrite?: number;
  readonly onWrite?: (task: TaskContext, index: number, count: number) => void;
}

export class FileBacking implements AddressSpaceOperations {
  sizeBytes: number;
  /** Pages that have a block; what they hold: written, and written and synced. */
  readonly blocks = new Map<number, Uint8Array>();
  readonly durable = new Map<number, Uint8Array>();
  readonly counts: Record<BackingOp, number> = { read: 0, write: 0, dirty: 0, sync: 0 };
  readonly device?: object;
  readonly pagesPerWrite?: number;
  /** What waits for `resume`. */
  isSilent: boolean | BackingOp = false;
  readonly #options: FileBackingOptions;
  readonly #busy = new Set<number>();
  #held: (() => void)[] = [];

  constructor(options: FileBackingOptions) {
    this.#options = options;
    this.sizeBytes = options.sizeBytes ?? 0;
    if (options.device !== undefined) this.device = options.device;
    if (options.pagesPerWrite !== undefined) this.pagesPerWrite = options.pagesPerWrite;
  }

  setSize(sizeBytes: number): void {
    this.sizeBytes = sizeBytes;
  }

  writesThrough(): WriteoutNode | null {
    return this.#options.node ?? null;
  }

  resume(): void {
    this.isSilent = false;
    const held = this.#held;
    this.#held = [];
    for (const each of held) each();
  }

  #answer(op: BackingOp, finish: () => 0 | NegErrno): MaybePromise<0 | NegErrno> {
    const { time, delayMs } = this.#options;
    this.counts[op]++;
    if (time === undefined) return finish();
    return new Promise((resolve) => {
      const end = (): void => {
        if (this.isSilent === true || this.isSilent === op) this.#held.push(end);
        else resolve(finish());
      };
      const delay = delayMs?.(op) ?? 1;
      if (delay < 0) end();
      else time.after(delay, end);
    });
  }

  readFolio(_task: TaskContext, index: number, pfn: number): MaybePromise<0 | NegErrno> {
    const view = this.#options.arena.view(pfn * PAGE_SIZE, PAGE_SIZE);
    view.fill(0xee);
    const status = this.#options.status?.('read', index) ?? 0;
    return this.#answer('read', () => {
      if (status < 0) return status;
      const block = this.blocks.get(index);
      if (block === undefined) view.fill(0);
      else view.set(block);
      const end = Math.max(this.sizeBytes - index * PAGE_SIZE, 0);
      if (end < PAGE_SIZE) view.fill(0xee, end); // a disk holds anything there
      return 0;
    });
  }

  dirtyPage(_task: TaskContext, change: PageChange): MaybePromise<0 | NegErrno> {
    const { index } = change;
    const status = this.#options.status?.('dirty', index) ?? 0;
    if (status < 0) return status;
    const brought = this.#answer('dirty', () => {
      if (!this.blocks.has(index) && this.blocks.size >= (this.#options.nrBlocks ?? Number.POSITIVE_INFINITY)) return -Errno.ENOSPC;
      const brought = change.bringIn();
      if (brought === 0 && !this.blocks.has(index)) this.blocks.set(index, new Uint8Array(PAGE_SIZE));
      return brought;
    });
    // It has something to do afterwards, too: close a handle.
    return isPromise(brought) ? brought.then((status) => this.#answer('dirty', () => status)) : brought;
  }

  writepages(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    this.#options.onWrite?.(task, index, count);
    const status = this.#options.status?.('write', index) ?? 0;
    const frames = pfns.slice(from, from + count);
    for (let at = index; at < index + count; at++) {
      if (this.#busy.has(at)) throw new Error(`page ${at} is written twice at once`);
      if (!this.blocks.has(at)) throw new Error(`page ${at} is written and has no block`);
      this.#busy.add(at);
    }
    return this.#answer('write', () => {
      for (let i = 0; i < count; i++) {
        this.#busy.delete(index + i);
        if (status < 0 && i % 2 === 1) continue; // done in part
        const block = this.blocks.get(index + i);
        if (block === undefined) throw new Error(`page ${index + i} was freed while it was written`);
        block.set(this.#options.arena.view(frames[i] * PAGE_SIZE, PAGE_SIZE));
      }
      return status;
    });
  }

  sync(): MaybePromise<0 | NegErrno> {
    const status = this.#options.status?.('sync', 0) ?? 0;
    const snapshot = new Map([...this.blocks].map(([index, block]) => [index, block.slice()]));
    return this.#answer('sync', () => {
      if (status < 0) return status;
      this.durable.clear();
      for (const [index, block] of snapshot) this.durable.set(index, block);
      return 0;
    });
  }

  /** What a filesystem does when the cache has let go of a range: its blocks are free. */
  free(firstPage: number, lastPage = Number.POSITIVE_INFINITY): 0 {
    for (const index of [...this.blocks.keys()]) {
      if (index < firstPage || index > lastPage) continue;
      if (this.#busy.has(index)) throw new Error(`page ${index} is freed while it is written`);
      this.blocks.delete(index);
    }
    return 0;
  }

  /** The file as it would be read after a crash, or (not durable) without the cache. */
  content(durable = false): Uint8Array {
    const bytes = new Uint8Array(this.sizeBytes);
    for (const [index, block] of durable ? this.durable : this.blocks) {
      const at = index * PAGE_SIZE;
      if (at < bytes.length) bytes.set(block.subarray(0, Math.min(PAGE_SIZE, bytes.length - at)), at);
    }
    return bytes;
  }
}
