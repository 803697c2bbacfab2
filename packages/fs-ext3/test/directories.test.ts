/** Large directories: indexes made, split and deepened; cookies that stay good while entries come and go; hashes of every kind. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { FileType, type Inode, Kernel, run } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { Random } from '@tidemark/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ext3 } from '../src/index.js';
import { debugfs, e2fsck, hasPeers, makeFolder, makeImage, MIB, ownFindings } from './support/image.js';

let folder = '';
beforeAll(() => {
  folder = makeFolder('directories');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

async function mounted(file: string, work: (kernel: Kernel, promises: NodeFs['promises']) => Promise<void>): Promise<void> {
  const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, ext3] });
  await kernel.mount(`ext3:${file}`, '/');
  await work(kernel, (kernel.fs as NodeFs).promises);
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
}

async function make(kernel: Kernel, at: string, mode: number = FileType.REGULAR | 0o644): Promise<void> {
  const made = await run(kernel.vfs.directories.make(kernel.vfs.caller(), at, { mode }));
  if (typeof made === 'number') throw new Error(`make ${at}: ${made}`);
  made.superblock.put(made);
}

async function isWell(file: string): Promise<void> {
  const { status, text } = e2fsck(file);
  expect(status, text).toBe(0);
  expect(await ownFindings(new Uint8Array(fs.readFileSync(file)))).toEqual([]);
}

/** Names that an index needs to grow a second level; TIDEMARK_RUNS=1 has its nodes split as well. */
const LONG = process.env.TIDEMARK_RUNS === undefined ? 2500 : 6000;
const HASHES = ['legacy', 'half_md4', 'tea'];

describe.skipIf(!hasPeers)('a large directory', () => {
  it.each(HASHES.flatMap((hash) => ['signed', 'unsigned'].map((sign) => [hash, sign])))(
    'indexed by %s, %s characters, is what e2fsck and debugfs expect',
    { timeout: 120_000 },
    async (hash, sign) => {
      const file = path.join(folder, `${hash}-${sign}.img`);
      await makeImage(file, 16 * MIB, { blockSize: 1024, bytesPerInode: 2048, journalSize: '1MiB' });
      spawnSync('debugfs', ['-w', '-R', `set_super_value def_hash_version ${hash}`, file]);
      spawnSync('debugfs', ['-w', '-R', `set_super_value flags ${sign === 'signed' ? 1 : 2}`, file]);
      const nrNames = hash === 'half_md4' && sign === 'signed' ? LONG : 1000;
      const name = (i: number): string => `${i % 3 === 0 ? 'é' : ''}entry-${i}-${'x'.repeat((i * 7) % 90)}`;
      const left = new Set<string>();
      await mounted(file, async (kernel, promises) => {
        await promises.mkdir('/many');
        for (let i = 0; i < nrNames; i++) {
          await make(kernel, `/many/${name(i)}`);
          left.add(name(i));
        }
        for (let i = 0; i < nrNames; i += 5) {
          await promises.unlink(`/many/${name(i)}`);
          left.delete(name(i));
        }
        expect(new Set(await promises.readdir('/many'))).toEqual(left);
        for (let i = 0; i < nrNames; i += 97) {
          const found = await promises.stat(`/many/${name(i)}`).then(
            () => true,
            () => false,
          );
          expect(found, name(i)).toBe(left.has(name(i)));
        }
      });
      await isWell(file);
      if (nrNames > 5000) expect(debugfs(file, 'htree_dump /many')).toMatch(/Number of entries \(count\)/);
      expect(debugfs(file, 'stat /many')).toMatch(/Flags: 0x1000/);
      await mounted(file, async (_kernel, promises) => {
        expect(new Set(await promises.readdir('/many'))).toEqual(left);
      });
    },
  );

  it.each([true, false])('is read once and whole while entries come and go; indexes: %s', { timeout: 120_000 }, async (dirIndex) => {
    const file = path.join(folder, `cookies-${dirIndex}.img`);
    await makeImage(file, 16 * MIB, { blockSize: 1024, dirIndex, bytesPerInode: 2048, journalSize: '1MiB' });
    await mounted(file, async (kernel) => {
      const { vfs } = kernel;
      const who = vfs.caller();
      for (let round = 0; round < 12; round++) {
        const random = new Random(round);
        const top = `/d${round}`;
        await make(kernel, top, FileType.DIRECTORY | 0o755);
        const kept = new Set<string>();
        const others: string[] = [];
        for (let i = 0; i < 20 + round * 30; i++) {
          const name = `k${i}-${'y'.repeat(random.below(60))}`;
          await make(kernel, `${top}/${name}`);
          if (random.chance(0.5)) kept.add(name);
          else others.push(name);
        }
        const dir = (await run(vfs.resolve(who, top, false))) as Inode;
        const seen: string[] = [];
        let nrNew = 0;
        for (let cookie = 0; ; ) {
          const some = await run(vfs.readDirectory(who, dir, cookie, 1 + random.below(9)));
          if (typeof some === 'number') throw new Error(`read ${top}: ${some}`);
          if (some.length === 0) break;
          for (const entry of some) {
            seen.push(entry.name);
            cookie = entry.cookie;
          }
          for (let i = random.below(4); i > 0; i--) await make(kernel, `${top}/new${nrNew++}-${'z'.repeat(random.below(80))}`);
          const gone = random.chance(0.6) ? others.pop() : undefined;
          if (gone !== undefined) expect(await run(vfs.directories.remove(who, `${top}/${gone}`, false))).toBe(0);
          if (nrNew > 600) break;
        }
        dir.superblock.put(dir);
        for (const name of kept) expect(seen.filter((other) => other === name).length, `${name} in ${top}, ${dirIndex}`).toBe(1);
        expect(new Set(seen).size).toBe(seen.length);
      }
    });
    await isWell(file);
  });
});
