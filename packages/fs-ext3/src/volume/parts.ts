/** What a mounted filesystem is made of: one object, handed to each part that works with several others. */
import type { Clock, Memory, PinnedFile, PinSpec, RandomSource, SlabCache, TaskContext, WriteoutNode } from '@tidemark/core';
import type { BlockSpace } from '../alloc/block-space.js';
import type { GroupTable } from '../alloc/group-table.js';
import type { InodeSpace } from '../alloc/inode-space.js';
import type { LiveSuperblock } from '../alloc/live-superblock.js';
import type { BlockIo } from '../device/block-io.js';
import type { FlushLosses } from '../device/flush-losses.js';
import type { Geometry } from '../format/geometry.js';
import type { AttributeStore } from '../inode/attribute-store.js';
import type { BlockMap } from '../inode/block-map.js';
import type { InodeTable } from '../inode/inode-table.js';
import type { Node, PageMapping } from '../inode/node.js';
import type { Orphans } from '../inode/orphans.js';
import type { Journal } from '../journal/journal.js';
import type { MetadataCache } from '../metadata/metadata-cache.js';
import type { Credits } from './credits.js';

export interface Parts {
  /** `ext3:disk.img`. */
  readonly name: string;
  readonly memory: Memory;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly geometry: Geometry;
  readonly io: BlockIo;
  readonly losses: FlushLosses;
  readonly cache: MetadataCache;
  readonly superblock: LiveSuperblock;
  readonly groups: GroupTable;
  readonly journal: Journal;
  readonly blocks: BlockSpace;
  readonly inodes: InodeSpace;
  readonly table: InodeTable;
  readonly map: BlockMap;
  readonly orphans: Orphans;
  readonly attributes: AttributeStore;
  readonly credits: Credits;
  /** Node `data`: what pages are written through. */
  readonly dataNode: WriteoutNode;
  readonly nodes: SlabCache<Node>;
  readonly mappings: SlabCache<PageMapping>;
  /** Pins what is behind the device. @throws KernelError. */
  pinDevice(task: TaskContext, spec: PinSpec): Promise<PinnedFile>;
}

/** Milliseconds since 1970. */
export function wallMs(clock: Clock): number {
  return clock.wallMs?.() ?? clock.nowMs();
}

/** A random number of 32 bits: generations. */
export function randomWord(random: RandomSource): number {
  const bytes = new Uint8Array(4);
  random.fill(bytes);
  return new DataView(bytes.buffer).getUint32(0);
}
