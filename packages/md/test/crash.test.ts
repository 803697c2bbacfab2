/**
 * Crash at every I/O (M17): a small array is written to, and the power goes after every event, with every subset of what each disk had not
 * flushed lost. Whatever a restart finds: where members differ the bit is on disk; after resync they are equal, only chunks with their
 * bit were copied, and what was flushed is there.
 */
import { PAGE_SIZE } from '@tidemark/core';
import { assembleArray, decodeSuperblock, raid1Of, type Superblock, SUPERBLOCK_OFFSET_BYTES } from '@tidemark/md';
import type { DiskImage, Scenario, SimulatedDisk, World } from '@tidemark/testkit';
import { simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { array, bootBox, bytesOf, disk, disks, Io, KIB, sameData } from './support/array-world.js';

const DATA_BYTES = 24 * 512;
const NR_PAGES = 8;
const DISK_BYTES = DATA_BYTES + NR_PAGES * PAGE_SIZE;
const BITMAP_BYTES = SUPERBLOCK_OFFSET_BYTES + 8 * 512 + 256;
const SECTOR = 512;
/** Most combinations of the disks' images at a moment. */
const CRASHES_MAX = 64;

/** Every version a page ever had, and from which on one is sure to be there. */
interface PageHistory {
  readonly versions: Uint8Array[];
  firstPossible: number;
}

/** One moment: how far each disk's log is, and what had been promised. */
interface Moment {
  readonly lengths: readonly number[];
  readonly firstPossible: readonly number[];
}

interface Recorded {
  readonly disks: readonly SimulatedDisk[];
  readonly file: SimulatedDisk | null;
  readonly moments: readonly Moment[];
  readonly pages: readonly PageHistory[];
}

interface Kind {
  readonly name: string;
  readonly nrMembers: number;
  readonly inFile: boolean;
  readonly canFua: boolean;
  /** Never flushed by its user, and written again so long after the last write; by default it is flushed, and rests now and then. */
  readonly pauseMs?: number;
}

const KINDS: readonly Kind[] = [
  { name: 'internal bitmap, FUA', nrMembers: 2, inFile: false, canFua: true },
  { name: 'internal bitmap, flushes only', nrMembers: 2, inFile: false, canFua: false },
  { name: 'internal bitmap, three members', nrMembers: 3, inFile: false, canFua: true },
  { name: 'bitmap in a file', nrMembers: 2, inFile: true, canFua: false },
  { name: 'never idle, bitmap in a file', nrMembers: 2, inFile: true, canFua: false, pauseMs: 100 },
  { name: 'written again while it becomes clean', nrMembers: 2, inFile: false, canFua: true, pauseMs: 200.05 },
];

async function record(world: World, kind: Kind): Promise<Recorded> {
  const box = await bootBox(world);
  const can = { fua: kind.canFua };
  // The last member lags.
  const options = { sizeBytes: DISK_BYTES, can, keepsLog: true, jitter: 3 };
  const { members, device, raid } = await array(
    box,
    kind.nrMembers,
    { bitmap: kind.inFile ? false : { chunkBytes: 4 * KIB, daemonSeconds: 1 }, assumeEqual: true },
    options,
  );
  const file = kind.inFile ? disk(box, 'file', { sizeBytes: PAGE_SIZE, can, keepsLog: true, latencyMs: 0.3 }) : null;
  if (file !== null) await raid.addBitmap({ file: file.device }, { chunkBytes: 4 * KIB, daemonSeconds: 1 });
  const pages: PageHistory[] = Array.from({ length: NR_PAGES }, () => ({ versions: [new Uint8Array(PAGE_SIZE)], firstPossible: 0 }));
  const all = [...members.map(({ ops }) => ops), ...(file === null ? [] : [file.ops])];
  const moments: Moment[] = [];
  let last = '';
  world.afterEachEvent(() => {
    const lengths = all.map((each) => each.log?.entries.length ?? 0);
    if (lengths.join() === last || moments.length > 2000) return;
    last = lengths.join();
    moments.push({ lengths, firstPossible: pages.map(({ firstPossible }) => firstPossible) });
  });
  const io = await Promise.all([0, 1].map(() => Io.on(box.kernel, device, 2)));
  let version = 0;
  await world.together(
    ...io.map((each, nr) => async () => {
      const random = world.randomOf(`writer ${nr}`);
      const { pauseMs } = kind;
      if (pauseMs !== undefined && pauseMs > 200 && nr > 0) return; // one alone: what begins with it ends with it
      for (let n = 0; n < (pauseMs === undefined ? 5 : 30); n++) {
        const index = (pauseMs !== undefined && n > 3 ? 0 : random.below(NR_PAGES / 2)) * 2 + nr;
        const bytes = new Uint8Array(PAGE_SIZE).fill(++version);
        const page = pages[index];
        page.versions.push(bytes);
        expect(await each.write(index * PAGE_SIZE, bytes)).toBe(0);
        if (pauseMs !== undefined) {
          await world.sleep(pauseMs);
          continue;
        }
        if (random.chance(0.4)) {
          const durable = pages.map(({ versions }, i) => (i % 2 === nr ? versions.length - 1 : -1));
          expect(await each.flush()).toBe(0);
          for (const [i, from] of durable.entries()) if (from >= 0) pages[i].firstPossible = Math.max(pages[i].firstPossible, from);
        }
        // Long enough for the array to become clean, and for bits to be cleared.
        if (random.chance(0.5)) await world.sleep(random.below(5000));
      }
    }),
  );
  await world.sleep(6000);
  for (const each of io) each.free();
  return { disks: members.map(({ ops }) => ops), file: file?.ops ?? null, moments, pages };
}

function bitsOf(images: readonly DiskImage[], kind: Kind, nrMembers: number): number {
  const from = kind.inFile ? 256 : BITMAP_BYTES;
  const copies = kind.inFile ? [images[nrMembers]] : images.slice(0, nrMembers);
  return copies.reduce((bits, image) => bits | bytesOf(image, from, 1)[0], 0);
}

/** Is each sector of a page, from its first byte on, one that it may hold? @throws Error if not. */
function checkPage(bytes: Uint8Array, page: PageHistory, firstPossible: number, where: string): void {
  for (let at = 0; at < PAGE_SIZE; at += SECTOR) {
    const isPossible = page.versions.some((version, i) => i >= firstPossible && version[0] === bytes[at]);
    if (!isPossible) throw new Error(`${where}, byte ${at}: ${bytes[at]}, which was overwritten durably`);
  }
}

/** Images that restarts may find at a moment: all combinations when few, else some. */
function* crashes(recorded: Recorded, moment: Moment, world: World): Generator<DiskImage[]> {
  const all = [...recorded.disks, ...(recorded.file === null ? [] : [recorded.file])];
  const lists = all.map((each, i) => [...(each.log?.imagesAt(moment.lengths[i], world.random, 2) ?? [])]);
  const product = lists.reduce((n, list) => n * list.length, 1);
  const nr = Math.min(product, CRASHES_MAX);
  for (let n = 0; n < nr; n++) {
    let pick = product <= CRASHES_MAX ? n : world.random.below(product);
    yield lists.map((list) => {
      const image = list[pick % list.length];
      pick = Math.floor(pick / list.length);
      return image;
    });
  }
}

function superblockOf(image: DiskImage): Superblock {
  return decodeSuperblock(bytesOf(image, SUPERBLOCK_OFFSET_BYTES, PAGE_SIZE), DISK_BYTES, 'an image');
}

/** @returns chunks in which members differ. @throws Error for one whose bit is 0, and for data that are gone. */
function checkImages(images: readonly DiskImage[], kind: Kind, recorded: Recorded, moment: Moment, where: string): number {
  const bits = bitsOf(images, kind, kind.nrMembers);
  const members = images.slice(0, kind.nrMembers).map((image) => bytesOf(image, DATA_BYTES, NR_PAGES * PAGE_SIZE));
  const superblocks = images.slice(0, kind.nrMembers).map((image) => superblockOf(image));
  const { resyncOffset } = superblocks.reduce((best, each) => (each.events > best.events ? each : best));
  let nrDiffering = 0;
  for (let chunk = 0; chunk < NR_PAGES; chunk++) {
    const pages = members.map((bytes) => bytes.subarray(chunk * PAGE_SIZE, (chunk + 1) * PAGE_SIZE));
    const isSame = pages.slice(1).every((bytes) => Buffer.compare(pages[0], bytes) === 0);
    if (!isSame) nrDiffering++;
    if (!isSame && (bits & (1 << chunk)) === 0) throw new Error(`${where}: members differ in chunk ${chunk}, and its bit is 0`);
    if (!isSame && resyncOffset === null) throw new Error(`${where}: members differ in chunk ${chunk}, and the array is clean`);
    for (const bytes of pages) checkPage(bytes, recorded.pages[chunk], moment.firstPossible[chunk], `${where}, page ${chunk}`);
  }
  return nrDiffering;
}

async function restart(world: World, kind: Kind, images: readonly DiskImage[], recorded: Recorded, moment: Moment): Promise<void> {
  const box = await bootBox(world, undefined, 'again');
  const members = disks(box, kind.nrMembers, { sizeBytes: DISK_BYTES }, images);
  const file = kind.inFile ? disk(box, 'file', { sizeBytes: PAGE_SIZE, image: images[kind.nrMembers] }) : null;
  const nrDirty = bitsOf(images, kind, kind.nrMembers).toString(2).replaceAll('0', '').length;
  const device = await assembleArray(
    box.kernel,
    members.map((member) => member.device),
    { degraded: true, ...(file === null ? {} : { bitmapFile: file.device }) },
  );
  const raid = raid1Of(box.kernel, device);
  const before = raid.info();
  const isWhole = before.members.length === kind.nrMembers && !before.isDegraded;
  const done = await raid.waitForSync();
  if (isWhole) {
    const after = members.map(({ ops }) => ops.image);
    for (const image of after.slice(1)) expect(sameData(after[0], image, DATA_BYTES, NR_PAGES * PAGE_SIZE)).toBe(true);
    if (done !== null && before.bitmap !== null && before.bitmap.nrDirty <= nrDirty)
      expect(done.doneBytes).toBeLessThanOrEqual(nrDirty * 4 * KIB);
  }
  const io = await Io.on(box.kernel, device, 1);
  for (const [index, page] of recorded.pages.entries()) {
    const { bytes, status } = await io.read(index * PAGE_SIZE, PAGE_SIZE);
    expect(status).toBe(0);
    checkPage(bytes, page, moment.firstPossible[index], `page ${index} after the restart`);
  }
  io.free();
  await box.kernel.shutdown();
  box.machine.kill();
}

describe('after a crash at any event, with any unflushed writes lost', () => {
  for (const kind of KINDS) {
    it(`${kind.name}: members differ only where the bit is set, resync makes them equal, flushed data are there`, async () => {
      let nrImages = 0;
      let nrRestarts = 0;
      let nrDiffering = 0;
      for (let seed = 1; seed <= 2; seed++) {
        const scenario: Scenario = {
          name: `crash, ${kind.name}`,
          async run(world) {
            const recorded = await record(world, kind);
            expect(recorded.moments.length).toBeGreaterThan(50);
            for (const [n, moment] of recorded.moments.entries()) {
              for (const images of crashes(recorded, moment, world)) {
                nrImages++;
                nrDiffering += checkImages(images, kind, recorded, moment, `moment ${n}`);
                if (!world.random.chance(1 / 200)) continue;
                nrRestarts++;
                await restart(world, kind, images, recorded, moment);
                world.progress();
              }
            }
          },
        };
        const outcome = await simulate(scenario, { seed, eventsMax: 2_000_000 });
        if (outcome.verdict !== 'completes') throw outcome.error ?? new Error(JSON.stringify(outcome, null, 1));
      }
      console.log(`${kind.name}: ${nrImages} crashes, ${nrDiffering} chunks that differ, ${nrRestarts} restarts`);
      expect(nrDiffering).toBeGreaterThan(100);
      expect(nrRestarts).toBeGreaterThan(10);
    }, 240_000);
  }
});
