/**
 * What files hold after a crash, fsynced or not: never what belongs to another. A new file must not show old blocks (ordered data), and a file whose
 * deletion was lost must not show what was put into its blocks since (freed blocks are not given out before the freeing is durable). And blocks that
 * look like the journal's own come back as they were (escaping).
 */
import fs from 'node:fs';
import path from 'node:path';
import { FileType, Kernel, OpenFlag, run } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { Random, SimulatedDisk, simulate, type WriteLog } from '@tidemark/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ext3 } from '../src/index.js';
import { bytesOf, freshDisk } from './support/fresh-disk.js';
import { placesIn } from './support/places.js';
import { e2fsck, hasPeers, makeFolder, MIB } from './support/image.js';

/** Crashes of each seed. */
const NR_POINTS = Number(process.env.TIDEMARK_CRASH_POINTS ?? 30);
const SIZE = 3 * MIB;
/** Its bytes on disk begin with the journal's magic, c0 3b 39 98. */
const MAGIC_TARGET = `\udcc0;9\udc98${'target'.repeat(30)}`;
let folder = '';
beforeAll(() => {
  folder = makeFolder('content');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Data that tell whose they are, in every word. */
function dataOf(owner: number, length: number): Buffer {
  const data = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) data.writeUInt32LE(owner, at);
  return data;
}

/** Files come, grow and go, on a disk that is always nearly full, so that blocks change hands. */
async function record(seed: number): Promise<WriteLog> {
  const image = await freshDisk(SIZE, { blockSize: 1024, journalSize: '1MiB', bytesPerInode: 8192, reservedPercent: 0 });
  let log: WriteLog | null = null;
  const outcome = await simulate(
    {
      name: 'blocks change hands',
      async run(world) {
        const machine = world.machine('box');
        const kernel = await world.boot(machine, { memory: '16MiB', plugins: [ext3] });
        const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: SIZE, image, keepsLog: true });
        log = disk.log;
        await kernel.mount('ext3:disk', '/', { device: kernel.attach(disk) });
        const { vfs } = kernel;
        const who = vfs.caller();
        const random = world.randomOf('work');
        const link = await run(vfs.directories.make(who, '/magic', { mode: FileType.SYMLINK, linkTarget: MAGIC_TARGET }));
        if (typeof link === 'number') throw new Error(`symlink: ${link}`);
        const { superblock } = link;
        superblock.put(link);
        const owners: number[] = [];
        for (let owner = 1; owner <= 220; owner++) {
          while (owners.length > 9) {
            const [gone] = owners.splice(random.below(owners.length), 1);
            await run(vfs.directories.remove(who, `/f${gone}`, false));
          }
          const file = await run(vfs.open(who, `/f${owner}`, OpenFlag.CREATE | OpenFlag.READ_WRITE, 0o644));
          if (typeof file !== 'number') {
            owners.push(owner);
            for (let at = 0, n = 3 + random.below(5); n > 0; n--, at += 32_768)
              await run(vfs.data.write(who, file, dataOf(owner, 32_768), at));
            file.release();
          }
          if (random.chance(0.1)) await world.sleep(random.below(7000));
          if (random.chance(0.1)) await run(vfs.mounts.sync(kernel.task, superblock));
          world.progress();
        }
        await kernel.unmount('/');
      },
    },
    { seed, afterReactions: (then) => setImmediate(then), eventsMax: 2_000_000 },
  );
  expect(outcome.verdict, `${(outcome.error as Error | null)?.stack}`).toBe('completes');
  return log as unknown as WriteLog;
}

/** How many places on the device blocks were written to that begin with the journal's magic and are not the journal's own. */
function placesOfMagic(log: WriteLog): number {
  const places = new Set<number>();
  for (const entry of log.entries) {
    if (entry.step !== 'begin') continue;
    const bytes = Buffer.from(entry.bytes);
    for (let at = 0; at + 1024 <= bytes.length; at += 1024)
      if (bytes.readUInt32BE(at) === 0xc03b3998 && bytes.readUInt32BE(at + 4) > 5) places.add(entry.offsetBytes + at);
  }
  return places.size;
}

describe.skipIf(!hasPeers)('after a crash', () => {
  it.each([1, 2])('no file holds what is not its own, seed %i', { timeout: 240_000 + 300 * NR_POINTS }, async (seed) => {
    const random = new Random(seed);
    const log = await record(seed);
    expect(placesOfMagic(log)).toBe(1);
    const file = path.join(folder, `${seed}.img`);
    let nrPoints = 0;
    let nrFiles = 0;
    let nrLinks = 0;
    for (const at of placesIn(log.entries.length)) {
      if (nrPoints >= NR_POINTS) break;
      for (const image of log.imagesAt(at, random, 2)) {
        if (nrPoints >= NR_POINTS) break;
        nrPoints++;
        fs.writeFileSync(file, bytesOf(image, SIZE));
        const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, ext3] });
        await kernel.mount(`ext3:${file}`, '/');
        const { promises } = kernel.fs as NodeFs;
        for (const name of (await promises.readdir('/')) as string[]) {
          if (name === 'magic') {
            nrLinks++;
            expect(await promises.readlink('/magic')).toBe(MAGIC_TARGET);
          }
          if (!name.startsWith('f')) continue;
          nrFiles++;
          const data = (await promises.readFile(`/${name}`)) as Buffer;
          const strange = new Set<number>();
          for (let i = 0; i + 4 <= data.length; i += 4) {
            const word = data.readUInt32LE(i);
            if (word !== 0 && word !== Number(name.slice(1))) strange.add(word);
          }
          expect([...strange], `entry ${at}: ${name} of ${data.length} bytes holds what belongs to others`).toEqual([]);
        }
        await kernel.shutdown();
        const { status, text } = e2fsck(file);
        expect(status, text).toBe(0);
      }
    }
    console.log(`${nrPoints} crashes in a log of ${log.entries.length} entries, ${nrFiles} files and ${nrLinks} links looked at`);
    expect(Math.min(nrFiles, nrLinks)).toBeGreaterThan(NR_POINTS / 4);
  });
});
