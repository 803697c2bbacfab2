/**
 * The life of an array: it is written to, members fail, go and come back, and the power goes again and again, in the middle of anything. Every
 * time it starts, what is read is what may be there, members in sync hold the same, and what was flushed is not lost. By replay from seeds.
 */
import { type BlockDevice, Errno, isKernelError, PAGE_SIZE } from '@tidemark/core';
import { assembleArray, createArray, decodeSuperblock, type Raid1, raid1Of, Role, SUPERBLOCK_OFFSET_BYTES } from '@tidemark/md';
import type { DiskImage, Random, Scenario, World } from '@tidemark/testkit';
import { explore } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { type Box, bootBox, bytesOf, disk, Io, KIB } from './support/array-world.js';

const DATA_BYTES = 24 * 512;
const NR_PAGES = 24;
const DISK_BYTES = DATA_BYTES + NR_PAGES * PAGE_SIZE;
const SECTOR = 512;
const NAMES = ['a', 'b', 'c'];

/** What each page may hold: versions from `from` on. `acknowledged`: the last that was in this life, or −1. */
interface Page {
  versions: Uint8Array[];
  from: number;
  acknowledged: number;
}

function check(bytes: Uint8Array, { versions, from }: Pick<Page, 'versions' | 'from'>, where: string): void {
  for (let at = 0; at < PAGE_SIZE; at += SECTOR) {
    const sector = bytes.subarray(at, at + SECTOR);
    const isPossible = versions.some((version, i) => i >= from && Buffer.compare(version.subarray(at, at + SECTOR), sector) === 0);
    if (!isPossible) throw new Error(`${where}, byte ${at}: neither what was flushed last nor anything that was written since`);
  }
}

class Life {
  readonly pages: Page[] = Array.from({ length: NR_PAGES }, () => ({ versions: [new Uint8Array(PAGE_SIZE)], from: 0, acknowledged: -1 }));
  nrVersions = 0;
  nrComeBacks = 0;

  constructor(
    readonly world: World,
    readonly random: Random,
    readonly bitmap: false | { chunkBytes: number; daemonSeconds: number },
    readonly hasErrors: boolean,
  ) {}

  /** From power on to power off. */
  async generation(nr: number, images: readonly DiskImage[]): Promise<DiskImage[]> {
    const { world, random } = this;
    const box = await bootBox(world, undefined, `box ${nr}`);
    for (const page of this.pages) page.acknowledged = -1;
    const bad = this.hasErrors ? random.below(3) : -1;
    let firstBad = 20 + random.below(400);
    const fault = (i: number) => (): number => (i === bad && --firstBad < 0 && firstBad > -random.below(40) ? -Errno.EIO : 0);
    const members = NAMES.map((name, i) => disk(box, name, { sizeBytes: DISK_BYTES, fault: fault(i), image: images[i] }));
    const devices = members.map((member) => member.device);
    const device =
      images.length === 0
        ? await createArray(box.kernel, devices, { bitmap: this.bitmap, assumeEqual: true })
        : await this.#assemble(box, devices, images);
    const raid = raid1Of(box.kernel, device);
    if (random.chance(0.7))
      await this.#checkAll(
        box,
        device,
        raid,
        members.map(({ ops }) => ops),
      );
    let isOver = false;
    const loop = (work: () => Promise<void>): void => {
      void (async () => {
        while (!isOver) await work();
      })().catch(world.onFailure);
    };
    const io = await Promise.all([0, 1].map(() => Io.on(box.kernel, device, 1)));
    for (const [writer, each] of io.entries()) loop(() => this.#write(each, writer));
    loop(() => this.#operate(raid, devices));
    await world.sleep(random.chance(0.2) ? random.below(3000) : random.below(60));
    isOver = true;
    const found = members.map(({ ops }) => ops.crash());
    box.machine.kill();
    world.progress();
    return found;
  }

  /** A member that could not be told that another is back seems to have been used alone. The freshest tells who belongs together. */
  async #assemble({ kernel }: Box, devices: readonly BlockDevice[], images: readonly DiskImage[]): Promise<BlockDevice> {
    try {
      return await assembleArray(kernel, devices, { degraded: true });
    } catch (error) {
      if (!this.hasErrors || !isKernelError(error) || error.code !== 'EINVAL') throw error;
      const superblocks = images.map((image) => decodeSuperblock(bytesOf(image, SUPERBLOCK_OFFSET_BYTES, PAGE_SIZE), DISK_BYTES, 'image'));
      const freshest = superblocks.reduce((best, each) => (each.events > best.events ? each : best));
      const right = devices.filter((_, i) => freshest.roles[superblocks[i].devNumber] < Role.FAULTY);
      return assembleArray(kernel, right, { degraded: true });
    }
  }

  async #write(io: Io, writer: number): Promise<void> {
    const { random, pages } = this;
    const index = random.below(NR_PAGES / 2) * 2 + writer;
    const bytes = new Uint8Array(PAGE_SIZE).fill(++this.nrVersions);
    new DataView(bytes.buffer).setUint32(0, this.nrVersions);
    const page = pages[index];
    const version = page.versions.push(bytes) - 1;
    if (!this.#isDone(await io.write(index * PAGE_SIZE, bytes))) return;
    page.acknowledged = version;
    this.world.progress();
    const read = await io.read(index * PAGE_SIZE, PAGE_SIZE);
    if (this.#isDone(read.status)) check(read.bytes, { versions: [bytes], from: 0 }, `page ${index}, just written`);
    if (random.chance(0.3)) {
      const sure = pages.map(({ acknowledged }, i) => (i % 2 === writer ? acknowledged : -1));
      if (!this.#isDone(await io.flush())) return;
      for (const [i, from] of sure.entries()) pages[i].from = Math.max(pages[i].from, from);
    }
    if (random.chance(0.1)) await this.world.sleep(random.below(400));
  }

  /** @returns whether it succeeded; else it has to be a member with errors that is the last one. */
  #isDone(status: number): boolean {
    expect(this.hasErrors ? [0, -Errno.EIO] : [0]).toContain(status);
    return status === 0;
  }

  /** Fails, removes, adds; what cannot be done now is tried later. */
  async #operate(raid: Raid1, devices: readonly BlockDevice[]): Promise<void> {
    const { random, world } = this;
    await world.sleep(random.below(30));
    try {
      const there = raid.info().members;
      const gone = devices.filter(({ name, holder }) => holder === null && !there.some((member) => member.name === name));
      const faulty = there.filter(({ state }) => state === 'faulty');
      if (gone.length > 0) {
        if ((await raid.add(gone[0])) === 're-added') this.nrComeBacks++;
      } else if (faulty.length > 0) await raid.remove(faulty[0].name);
      else if (random.chance(0.3)) await raid.fail(NAMES[random.below(3)]);
    } catch (error) {
      if (!isKernelError(error)) throw error;
      if (!['EBUSY', 'EIO', 'ENODEV'].includes(error.code)) throw error;
    }
  }

  async #checkAll(box: Box, device: BlockDevice, raid: Raid1, ops: readonly { image: DiskImage }[]): Promise<void> {
    await raid.waitForSync().catch((error: unknown) => {
      if (!isKernelError(error)) throw error;
    });
    const io = await Io.on(box.kernel, device, 1);
    for (const [index, page] of this.pages.entries()) {
      const { bytes, status } = await io.read(index * PAGE_SIZE, PAGE_SIZE);
      if (!this.#isDone(status)) continue;
      check(bytes, page, `page ${index} of ${box.kernel.name}`);
      for (const member of raid.info().members) {
        if (member.state !== 'in-sync') continue;
        const own = bytesOf(ops[NAMES.indexOf(member.name)].image, DATA_BYTES + index * PAGE_SIZE, PAGE_SIZE);
        if (Buffer.compare(own, bytes) !== 0) throw new Error(`page ${index} of ${box.kernel.name}: ${member.name} holds something else`);
      }
      page.versions = [bytes];
      page.from = 0;
      page.acknowledged = 0;
    }
    this.#isDone(await io.flush());
    io.free();
  }
}

function scenario(name: string, bitmap: Life['bitmap'], hasErrors: boolean, told: { nrComeBacks: number }): Scenario {
  return {
    name,
    async run(world) {
      const life = new Life(world, world.randomOf('life'), bitmap, hasErrors);
      let images: DiskImage[] = [];
      for (let nr = 1; nr <= 5; nr++) images = await life.generation(nr, images);
      told.nrComeBacks += life.nrComeBacks;
    },
  };
}

describe('the life of an array of three', () => {
  const rows: [string, Life['bitmap'], boolean][] = [
    ['with a bitmap', { chunkBytes: 4 * KIB, daemonSeconds: 1 }, false],
    ['with a bitmap of large chunks', { chunkBytes: 32 * KIB, daemonSeconds: 1 }, false],
    ['without a bitmap', false, false],
    ['with a bitmap, and a member with errors', { chunkBytes: 4 * KIB, daemonSeconds: 1 }, true],
  ];
  for (const [name, bitmap, hasErrors] of rows) {
    it(name, async () => {
      const told = { nrComeBacks: 0 };
      const summary = await explore(scenario(name, bitmap, hasErrors, told), {
        nrSeeds: 10,
        eventsMax: 400_000,
        command: 'npx vitest run packages/md/test/life.test.ts',
      });
      console.log(`${name}: ${summary.nrRuns} runs of 5 lives, ${summary.nrEvents} events, ${told.nrComeBacks} re-added by the bitmap`);
      if (bitmap !== false) expect(told.nrComeBacks).toBeGreaterThan(5);
    }, 200_000);
  }
});
