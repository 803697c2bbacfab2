/**
 * Making a bitmap, and finding one: what its bits mean for an array that starts (M17).
 *
 *     another array's, damaged, or unreadable on every copy     refused, saying why; the array may be assembled without, all of it to be resynced
 *     its events are behind the array's, or it says so          stale: every chunk may differ
 *     members were equal, and none is missing                   bits that are set are leftovers, cleared lazily
 *     else                                                      chunks whose bit is set, in any copy, from where they may differ on
 */
import { KernelError, type Memory, Gfp, type NegErrno, PAGE_SIZE, TaskContext } from '@tidemark/core';
import {
  BITMAP_HEADER_BYTES,
  type BitmapSuperblock,
  BitmapState,
  bitmapBytes,
  bitmapPages,
  decodeBitmapSuperblock,
  encodeBitmapSuperblock,
  nrChunksOf,
} from '../format/bitmap-superblock.js';
import { equalBytes, formatUuid, SECTOR_BYTES } from '../format/fields.js';
import { BitmapBits } from './bits.js';
import { ChunkCounters, counterWords } from './chunk-counters.js';
import { IntentLog } from './intent-log.js';
import type { BitmapStore } from './store.js';

/** mdadm's least chunk of an internal bitmap. */
const CHUNK_BYTES_DEFAULT = 2 ** 26;
const DAEMON_SECONDS_DEFAULT = 5;

/** What the array knows about itself when its bitmap is loaded. */
export interface ArrayFacts {
  readonly name: string;
  readonly uuid: Uint8Array;
  readonly sizeSectors: number;
  readonly events: bigint;
  /** Sectors from which on members may differ; null: they do not. */
  readonly resyncOffset: number | null;
  readonly isDegraded: boolean;
}

/** What a new bitmap is like. */
export interface BitmapOptions {
  /** A power of two, 4096 at least. Default: 64 MiB, or what is needed for the bits to fit. */
  readonly chunkBytes?: number;
  /** Interval of the daemon, 1 to 86,400. Default 5. */
  readonly daemonSeconds?: number;
}

/** Chunk of a bitmap that has `spaceBytes`. @throws KernelError EINVAL if it is impossible, or the bits do not fit. */
export function chooseChunk(options: BitmapOptions, sizeSectors: number, spaceBytes: number, name: string): number {
  let chunkBytes = options.chunkBytes ?? CHUNK_BYTES_DEFAULT;
  const fits = (): boolean => bitmapBytes(nrChunksOf(sizeSectors, chunkBytes)) <= spaceBytes;
  if (options.chunkBytes === undefined) while (!fits() && chunkBytes < 2 ** 31) chunkBytes *= 2;
  if (!Number.isSafeInteger(chunkBytes) || chunkBytes < PAGE_SIZE || chunkBytes > 2 ** 31 || (chunkBytes & (chunkBytes - 1)) !== 0)
    throw new KernelError('EINVAL', `the bitmap of ${name}: chunks of ${chunkBytes} bytes; want a power of two from ${PAGE_SIZE} on`);
  if (!fits())
    throw new KernelError('EINVAL', `the bitmap of ${name}: chunks of ${chunkBytes} bytes need more than its ${spaceBytes} bytes`);
  return chunkBytes;
}

/** The superblock of a new bitmap. @throws KernelError EINVAL. */
export function newBitmapSuperblock(facts: ArrayFacts, options: BitmapOptions, spaceBytes: number): BitmapSuperblock {
  const daemonSeconds = options.daemonSeconds ?? DAEMON_SECONDS_DEFAULT;
  if (!Number.isInteger(daemonSeconds) || daemonSeconds < 1 || daemonSeconds > 86_400)
    throw new KernelError('EINVAL', `the bitmap of ${facts.name}: an interval of ${daemonSeconds} s; want 1 to 86,400`);
  return {
    uuid: facts.uuid,
    events: facts.events,
    eventsCleared: facts.events,
    syncSectors: facts.sizeSectors,
    state: 0,
    chunkBytes: chooseChunk(options, facts.sizeSectors, spaceBytes, facts.name),
    daemonSeconds,
    writeBehind: 0,
    reservedSectors: 0,
  };
}

/** Standing frames of a bitmap: its pages, and the table of its counters. */
export function bitmapFrames(nrChunks: number): number {
  return 2 ** Math.ceil(Math.log2(bitmapPages(nrChunks))) + Math.ceil((counterWords(nrChunks) * 4) / PAGE_SIZE);
}

/**
 * Takes the memory of a bitmap.
 * @throws KernelError ENOMEM; EINVAL for one of more than 4 MiB.
 */
async function makeLog(memory: Memory, task: TaskContext, name: string, nrChunks: number): Promise<IntentLog> {
  const owner = `bitmap of ${name}`;
  const standing = await memory.allocStanding(task, owner, bitmapPages(nrChunks));
  try {
    const table = memory.allocFrameArray(`${owner}, counters`, counterWords(nrChunks), Gfp.STANDING);
    const nobody = TaskContext.root(owner); // no ticket, no right to any reserve: it can do without
    const counters = new ChunkCounters(nrChunks, memory.arena, table, {
      take: () => memory.allocator.allocPage(nobody, Gfp.SLAB | Gfp.ZERO | Gfp.NO_RESERVE),
      give: (pfn) => memory.allocator.freePage(pfn),
    });
    return new IntentLog(new BitmapBits(nrChunks, standing), counters);
  } catch (error) {
    standing.free();
    throw error;
  }
}

/** A bitmap in memory, and its superblock. */
export interface LoadedBitmap {
  readonly log: IntentLog;
  readonly superblock: BitmapSuperblock;
  readonly isStale: boolean;
}

/** What `loadBitmap` and `createBitmap` work with. */
export interface BitmapPlace {
  readonly memory: Memory;
  readonly task: TaskContext;
  readonly store: BitmapStore;
}

/** Makes a bitmap and stores it, every bit 1 unless the members are known to be equal. @throws KernelError ENOMEM, EINVAL, EIO. */
export async function createBitmap(
  place: BitmapPlace,
  facts: ArrayFacts,
  options: BitmapOptions,
  areEqual: boolean,
): Promise<LoadedBitmap> {
  const { memory, task, store } = place;
  const superblock = newBitmapSuperblock(facts, options, store.spaceBytes);
  const log = await makeLog(memory, task, facts.name, nrChunksOf(facts.sizeSectors, superblock.chunkBytes));
  try {
    store.bind(log.bits);
    if (!areEqual) log.bits.setAll();
    encodeBitmapSuperblock(log.bits.page(0), superblock);
    const pages = Uint32Array.from(log.bits.pfns.keys());
    check(await store.writeDurably(pages, pages.length), `write the bitmap of ${facts.name} to ${store.name}`);
    log.load(areEqual ? log.nrChunks : 0);
    for (const page of pages) log.bits.unmark(page, 0xff);
    return { log, superblock, isStale: false };
  } catch (error) {
    log.free();
    throw error;
  }
}

/**
 * Loads a bitmap.
 * @param headers the first page of each copy, or null for one that could not be read.
 * @throws KernelError EINVAL, EUCLEAN, EOPNOTSUPP saying what is wrong with it; EIO; ENOMEM.
 */
export async function loadBitmap(place: BitmapPlace, facts: ArrayFacts, headers: readonly (Uint8Array | null)[]): Promise<LoadedBitmap> {
  const { memory, task, store } = place;
  const superblock = chooseHeader(facts, headers, store);
  const log = await makeLog(memory, task, facts.name, nrChunksOf(superblock.syncSectors, superblock.chunkBytes));
  try {
    store.bind(log.bits);
    const isStale = superblock.events < facts.events || (superblock.state & (BitmapState.STALE | BitmapState.WRITE_ERROR)) !== 0;
    if (isStale) log.bits.setAll();
    else await readCopies(store, log.bits, headers, facts);
    const mayDiffer = isStale || facts.isDegraded ? 0 : facts.resyncOffset;
    const needFrom = mayDiffer === null ? log.nrChunks : Math.floor((mayDiffer * SECTOR_BYTES) / superblock.chunkBytes);
    log.load(needFrom);
    const eventsCleared = isStale || superblock.eventsCleared > facts.events ? facts.events : superblock.eventsCleared;
    return { log, superblock: { ...superblock, eventsCleared }, isStale };
  } catch (error) {
    log.free();
    throw error;
  }
}

/** The header to go by: of those that are this array's and whole, the one with the most events. */
function chooseHeader(facts: ArrayFacts, headers: readonly (Uint8Array | null)[], store: BitmapStore): BitmapSuperblock {
  let best: BitmapSuperblock | null = null;
  let trouble: unknown = new KernelError('EIO', `the bitmap of ${facts.name} cannot be read from ${store.name}`);
  for (const header of headers) {
    if (header === null) continue;
    try {
      const found = decodeBitmapSuperblock(header, store.spaceBytes, store.name);
      checkFits(found, facts, store.name);
      if (best === null || found.events > best.events) best = found;
    } catch (error) {
      trouble = error;
    }
  }
  if (best === null) throw trouble;
  return best;
}

function checkFits(found: BitmapSuperblock, facts: ArrayFacts, name: string): void {
  if (!equalBytes(found.uuid, facts.uuid))
    throw new KernelError('EINVAL', `the bitmap on ${name} belongs to array ${formatUuid(found.uuid)}, not to ${formatUuid(facts.uuid)}`);
  if (found.syncSectors !== facts.sizeSectors)
    throw new KernelError('EUCLEAN', `the bitmap on ${name} covers ${found.syncSectors} sectors, the array has ${facts.sizeSectors}`);
}

/** Reads every copy; a bit counts if any has it (a crash may have come between two of them). */
async function readCopies(store: BitmapStore, bits: BitmapBits, headers: readonly (Uint8Array | null)[], facts: ArrayFacts): Promise<void> {
  const merged = new Uint8Array(PAGE_SIZE);
  for (let page = 0; page < bits.nrPages; page++) {
    merged.fill(0);
    let nrRead = 0;
    for (let copy = 0; copy < store.nrCopies; copy++) {
      if (headers[copy] === null || (await store.read(copy, page)) !== 0) continue;
      const bytes = bits.page(page);
      for (let i = page === 0 ? BITMAP_HEADER_BYTES : 0; i < PAGE_SIZE; i++) merged[i] |= bytes[i];
      nrRead++;
    }
    if (nrRead === 0) throw new KernelError('EIO', `page ${page} of the bitmap of ${facts.name} cannot be read from ${store.name}`);
    bits.page(page).set(merged);
  }
}

function check(status: 0 | NegErrno, doing: string): void {
  if (status !== 0) throw new KernelError('EIO', `could not ${doing} (${status})`);
}
