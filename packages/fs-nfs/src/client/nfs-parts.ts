/** What the parts of one mount share. */
import type { Arena, PinSpec, Semaphore, TaskContext, UnitPool, WriteoutNode } from '@tidemark/core';
import type { AttributeCache } from './attribute-cache.js';
import type { Committer } from './committer.js';
import type { NfsCalls } from './nfs-calls.js';

export interface NfsParts {
  /** `nfs://host/export`. */
  readonly name: string;
  readonly arena: Arena;
  readonly calls: NfsCalls;
  readonly cache: AttributeCache;
  readonly committer: Committer;
  /** What its dirty pages share limits and a flusher by (M10). */
  readonly device: object;
  readonly nodes: { readonly write: WriteoutNode; readonly commit: WriteoutNode; readonly rpc: WriteoutNode };
  /** Bytes of a READ and of a WRITE at most: multiples of a page where the server allows it. */
  readonly readBytes: number;
  readonly writeBytes: number;
  /** Pages of one writeback run. */
  readonly pagesPerWrite: number;
  /** Who gathers units: one at a time. */
  readonly unitTurn: Semaphore;
  /** The units of the write node, once it is admitted. */
  writeUnits(): UnitPool | null;
  /** Pages that pinned files may have in flight at once. */
  readonly pinnedUnits: number;
  /** Pins what is behind the server, if that is of this kernel. @returns what undoes it. */
  pinBehind(task: TaskContext, spec: PinSpec): Promise<() => Promise<void>>;
  /** Ends everything in flight with EIO, at once. */
  cutOff(): Promise<void>;
  /** Does something when those who run now have had their turn. */
  defer(work: () => void): void;
}
