/** RAID1 in virtual time: the speed of writes and of reads, and what a resync copies after a crash. */
import { Bio, BioOp, type BlockDevice, errorFrom, type Kernel, OpenFlag, PAGE_SIZE, run as steps } from '@tidemark/core';
import { ext3, mkfs, planMkfs } from '@tidemark/fs-ext3';
import { assembleArray, createArray, md, raid1Of } from '@tidemark/md';
import { DiskImage, type Machine, SimulatedDisk, type World } from '@tidemark/testkit';
import { simulate } from '@tidemark/testkit/host';

const MEMORY_BYTES = 32 * 2 ** 20;
const DISK_BYTES = 64 * 2 ** 20;
const BYTES_PER_MS = 100_000;
const READ_BYTES = 64 * 1024;
const READ_DEPTH = 8;
const NR_READS = 800;
const CHUNK_BYTES = 64 * 1024;
const BITMAP = { chunkBytes: CHUNK_BYTES, daemonSeconds: 5 };
const WRITE_DEPTH = 32;
const NR_WRITES = 64_000;

interface Box {
  readonly world: World;
  readonly machine: Machine;
  readonly kernel: Kernel;
}

async function boot(world: World, name: string): Promise<Box> {
  const machine = world.machine(name);
  return { world, machine, kernel: await world.boot(machine, { memory: MEMORY_BYTES, plugins: [md, ext3] }) };
}

function disksOf({ world, machine, kernel }: Box, images: readonly DiskImage[], nrDisks = images.length): SimulatedDisk[] {
  return Array.from({ length: nrDisks }, (_, i) => {
    const options = { name: `disk ${i}`, sizeBytes: DISK_BYTES, bytesPerMs: BYTES_PER_MS, image: images[i] };
    return new SimulatedDisk(world, machine, kernel.memory.arena, options);
  });
}

async function inWorld<T>(work: (world: World) => Promise<T>): Promise<T> {
  let result: T | undefined;
  const run = async (world: World): Promise<void> => {
    result = await work(world);
  };
  const { verdict, error } = await simulate({ name: 'bench', run }, { seed: 1, eventsMax: 2_000_000 });
  if (verdict !== 'completes') throw error ?? new Error(verdict);
  return result as T;
}

/** Thousands of writes a second to pages chosen at random, all bits being 0 at first. */
export function writeSpeed(bitmap: 'internal' | 'none' | 'on ext3'): Promise<number> {
  return inWorld(async (world) => {
    const box = await boot(world, 'box');
    const { kernel } = box;
    const devices = disksOf(box, [], 2).map((disk) => kernel.attach(disk));
    const array = await createArray(kernel, devices, { assumeEqual: true, bitmap: bitmap === 'internal' && BITMAP });
    if (bitmap === 'on ext3') await raid1Of(kernel, array).addBitmap({ file: await fileOnExt3(box) }, BITMAP);
    const random = world.randomOf('writes');
    const pageOf = (): number => random.below(array.sizeBytes / PAGE_SIZE);
    const begunMs = kernel.clock.nowMs();
    await world.together(...Array.from({ length: WRITE_DEPTH }, () => () => writeSome(box, array, NR_WRITES / WRITE_DEPTH, pageOf)));
    return NR_WRITES / (kernel.clock.nowMs() - begunMs);
  });
}

/** A file on an ext3 of its own, as large as the bitmap. @returns its path. */
async function fileOnExt3({ world, machine, kernel }: Box): Promise<string> {
  const image = DiskImage.empty();
  const sizeBytes = 16 * 2 ** 20;
  const target = {
    name: 'ext3',
    sizeBytes,
    write: async (offsetBytes: number, bytes: Uint8Array) => image.write(offsetBytes, bytes.slice()),
    zero: async () => {},
    flush: async () => {},
  };
  await mkfs(target, planMkfs('ext3', sizeBytes, { nowSeconds: 0, hashSeed: new Uint8Array(16), uuid: new Uint8Array(16).fill(1) }));
  const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { name: 'ext3', sizeBytes, bytesPerMs: BYTES_PER_MS, image });
  await kernel.mount('ext3:disk', '/mnt', { device: kernel.attach(disk) });
  const { vfs } = kernel;
  const file = await steps(vfs.open(vfs.caller(), '/mnt/bitmap', OpenFlag.READ_WRITE | OpenFlag.CREATE, 0o600));
  if (typeof file === 'number') throw errorFrom(file, 'make the file of the bitmap');
  const written = await steps(vfs.data.write(vfs.caller(), file, new Uint8Array(PAGE_SIZE), 0));
  if (written < 0) throw errorFrom(written, 'write the file of the bitmap');
  file.release();
  return '/mnt/bitmap';
}

/** MB a second that are read from an array with so many members. */
export function readSpeed(order: 'sequential' | 'random', nrMembers: number): Promise<number> {
  return inWorld(async (world) => {
    const box = await boot(world, 'box');
    const devices = disksOf(box, [], nrMembers).map((disk) => box.kernel.attach(disk));
    const array = await createArray(box.kernel, devices, { assumeEqual: true });
    const random = world.randomOf('reads');
    const nrPlaces = Math.floor(array.sizeBytes / READ_BYTES);
    let next = 0;
    const placeOf = (): number => (order === 'random' ? random.below(nrPlaces) : next++);
    const begunMs = box.kernel.clock.nowMs();
    await world.together(...Array.from({ length: READ_DEPTH }, () => () => readSome(box, array, placeOf)));
    return (NR_READS * READ_BYTES) / (box.kernel.clock.nowMs() - begunMs) / 1e3;
  });
}

async function readSome({ world, kernel }: Box, array: BlockDevice, placeOf: () => number): Promise<void> {
  const memory = await kernel.memory.allocStanding(kernel.task, 'a read', READ_BYTES / PAGE_SIZE);
  const bio = new Bio(READ_BYTES / PAGE_SIZE);
  for (let i = 0; i < NR_READS / READ_DEPTH; i++) {
    bio.start(BioOp.READ, placeOf() * READ_BYTES);
    bio.addSegment(memory.address, READ_BYTES);
    if ((await array.submitAndWait(kernel.task, bio)) !== 0) throw new Error('a read failed');
    world.progress();
  }
  memory.free();
}

/** Bytes that are copied after the power went while 1 % of the chunks had been written. */
export function resyncedBytes(hasBitmap: boolean): Promise<number> {
  return inWorld(async (world) => {
    const before = await boot(world, 'before');
    const disks = disksOf(before, [], 2);
    const devices = disks.map((disk) => before.kernel.attach(disk));
    const array = await createArray(before.kernel, devices, { assumeEqual: true, bitmap: hasBitmap && BITMAP });
    const nrChunks = Math.ceil(array.sizeBytes / CHUNK_BYTES);
    let nr = 0;
    await writeSome(before, array, Math.ceil(nrChunks / 100), () => nr++ * 100 * (CHUNK_BYTES / PAGE_SIZE));
    const images = disks.map((disk) => disk.crash());
    before.machine.kill();

    const after = await boot(world, 'after');
    const found = disksOf(after, images).map((disk) => after.kernel.attach(disk));
    const again = await assembleArray(after.kernel, found);
    const done = await raid1Of(after.kernel, again).waitForSync();
    return done?.doneBytes ?? 0;
  });
}

/** Writes pages, one after the other. */
async function writeSome({ world, kernel }: Box, array: BlockDevice, nrPages: number, pageOf: () => number): Promise<void> {
  const memory = await kernel.memory.allocStanding(kernel.task, 'a write', 1);
  const bio = new Bio(1);
  for (let i = 0; i < nrPages; i++) {
    bio.start(BioOp.WRITE, pageOf() * PAGE_SIZE);
    bio.addSegment(memory.address, PAGE_SIZE);
    if ((await array.submitAndWait(kernel.task, bio)) !== 0) throw new Error('a write failed');
    world.progress();
  }
  memory.free();
}
