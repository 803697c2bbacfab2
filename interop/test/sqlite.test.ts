/**
 * SQLite (wa-sqlite, asynchronous build) with its files on `kernel.fs`: on memfs, and on ext3 over a disk whose power goes. After a crash
 * every transaction that was committed is there, whole, and no other in part; SQLite itself and the host's `sqlite3` find the database sound.
 */
import { execFileSync } from 'node:child_process';
import { type BlockDevice, Kernel } from '@tidemark/core';
import { createNodeFs, host, type NodeFs } from '@tidemark/core/host';
import { ext3, mkfs, planMkfs } from '@tidemark/fs-ext3';
import { DiskImage, Random, SimulatedDisk, simulate, type WriteLog } from '@tidemark/testkit';
import { beforeAll, expect, it } from 'vitest';
import { describeWith, programOf } from './support/peers.js';
import { freshPath } from './support/sandbox.js';
import { Sqlite, TreeVfs } from './support/sqlite-vfs.js';
import { onHost, withTree } from './support/trees.js';

let sqlite: Sqlite;
beforeAll(async () => {
  sqlite = await Sqlite.load();
});

type Query = (sql: string) => Promise<unknown[][]>;

const SCHEMA = `
  CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL);
  CREATE INDEX by_owner ON account (owner, balance);
  CREATE TABLE done (nr INTEGER PRIMARY KEY, note BLOB);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
    INSERT INTO account SELECT i, 'owner ' || (i * 7919 % 1000), 1000 FROM n;`;

/** A transaction that keeps the sum of all balances, and says that it was there. */
function transfer(nr: number, random: Random): string {
  const [from, to, amount] = [1 + random.below(200), 1 + random.below(200), random.below(500)];
  return `BEGIN;
    UPDATE account SET balance = balance - ${amount} WHERE id = ${from};
    UPDATE account SET balance = balance + ${amount}, owner = 'owner of ${nr}' WHERE id = ${to};
    INSERT INTO done VALUES (${nr}, zeroblob(${random.below(9_000)}));
    COMMIT`;
}

/** What must hold whatever happened. @returns how many transfers are in. */
async function check(query: Query): Promise<number> {
  expect(await query('PRAGMA integrity_check')).toEqual([['ok']]);
  expect(await query('SELECT sum(balance), count(*) FROM account')).toEqual([[200_000, 200]]);
  const [[count, last]] = (await query('SELECT count(*), coalesce(max(nr), -1) FROM done')) as [[number, number]];
  expect(count, 'transfers are in from the first on, without a gap').toBe(last + 1);
  return count;
}

it.each(['DELETE', 'TRUNCATE', 'PERSIST', 'MEMORY'])('transactions, rollbacks, VACUUM with journal_mode=%s', (mode) =>
  withTree(async (tree) => {
    const vfs = new TreeVfs(`tree-${mode}`, tree.promises);
    const random = new Random(7);
    await sqlite.with(vfs, '/accounts.db', async (query) => {
      await query(`PRAGMA journal_mode = ${mode}; PRAGMA cache_size = 10; ${SCHEMA}`);
      for (let nr = 0; nr < 60; nr++) await query(transfer(nr, random));
      await query('BEGIN; DELETE FROM account WHERE id > 3; ROLLBACK');
      await query('SAVEPOINT here; DELETE FROM done; ROLLBACK TO here; RELEASE here');
      await expect(query('INSERT INTO done VALUES (1, NULL)')).rejects.toThrow('UNIQUE');
      expect(await check(query)).toBe(60);
      await query('VACUUM');
    });
    expect([vfs.nrOpen, vfs.errors]).toEqual([0, []]);
    const again = new TreeVfs(`again-${mode}`, tree.promises);
    await sqlite.with(again, '/accounts.db', async (query) => expect(await check(query)).toBe(60));
    const left = tree.readdirSync('/').filter((name) => name !== 'accounts.db' && !name.endsWith('-journal'));
    expect(left).toEqual([]);
  }),
);

it('a full filesystem fails a transaction, which leaves nothing behind', () =>
  withTree(async (_tree, kernel) => {
    kernel.fs.mkdirSync('/small');
    await kernel.mount('memfs:256KiB', '/small');
    const vfs = new TreeVfs('full', kernel.fs.promises);
    await sqlite.with(vfs, '/small/accounts.db', async (query) => {
      await query(SCHEMA);
      await expect(query('BEGIN; INSERT INTO done VALUES (0, randomblob(400000)); COMMIT')).rejects.toThrow(/full|disk I\/O/);
      await query('ROLLBACK').catch(() => []);
      expect(await check(query)).toBe(0);
      await query(transfer(0, new Random(1)));
      expect(await check(query)).toBe(1);
    });
    await kernel.unmount('/small');
  }));

const SIZE_BYTES = 8 * 2 ** 20;
const NR_TRANSFERS = 40;
/** How long to look for trouble in each journal mode. */
const BUDGET_MS = Number(process.env.TIDEMARK_CRASH_MS ?? 7000);

async function freshDisk(): Promise<DiskImage> {
  const image = DiskImage.empty();
  const target = {
    name: 'disk',
    sizeBytes: SIZE_BYTES,
    write: async (offsetBytes: number, bytes: Uint8Array) => image.write(offsetBytes, bytes.slice()),
    zero: async () => {},
    flush: async () => {},
  };
  const identity = { nowSeconds: 1_700_000_000, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(9) };
  await mkfs(target, planMkfs('disk', SIZE_BYTES, { ...identity, blockSize: 1024, journalSize: '1MiB' }));
  return image;
}

/** Runs transfers on a simulated disk. @returns what the disk was asked, and how long that log was after each COMMIT. */
async function record(mode: string): Promise<{ log: WriteLog; committed: number[] }> {
  const image = await freshDisk();
  const committed: number[] = [];
  let log: WriteLog | null = null;
  const scenario = {
    name: 'sqlite',
    async run(world: Parameters<Parameters<typeof simulate>[0]['run']>[0]) {
      const machine = world.machine('box');
      const kernel = await world.boot(machine, { memory: '4MiB', plugins: [ext3] });
      const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: SIZE_BYTES, image, keepsLog: true });
      const kept = disk.log as WriteLog;
      log = kept;
      const device: BlockDevice = kernel.attach(disk);
      await kernel.mount('ext3:disk', '/', { device });
      const random = world.randomOf('transfers');
      const fs = createNodeFs(kernel.vfs, random) as NodeFs;
      await sqlite.with(new TreeVfs(`crash-${mode}`, fs.promises), '/accounts.db', async (query) => {
        await query(`PRAGMA journal_mode = ${mode}; PRAGMA synchronous = EXTRA; PRAGMA cache_size = 10; BEGIN; ${SCHEMA} COMMIT`);
        committed.push(kept.entries.length);
        for (let nr = 0; nr < NR_TRANSFERS; nr++) {
          await query(transfer(nr, random));
          committed.push(kept.entries.length);
          world.progress();
        }
      });
      await kernel.unmount('/');
    },
  };
  const outcome = await simulate(scenario, { seed: 5, afterReactions: (then) => setImmediate(then), eventsMax: 1_000_000 });
  expect(outcome.verdict, String((outcome.error as Error | null)?.stack)).toBe('completes');
  return { log: log as unknown as WriteLog, committed };
}

describeWith(['sqlite3'], 'the power goes at any write', () => {
  it.each(['DELETE', 'TRUNCATE', 'PERSIST'])('with journal_mode=%s', async (mode) => {
    const { log, committed } = await record(mode);
    const random = new Random(committed.length);
    const bytes = new Uint8Array(SIZE_BYTES);
    const seen = new Set<number>();
    const file = freshPath('crashed.img');
    let nrCrashes = 0;
    for (const endMs = Date.now() + BUDGET_MS; Date.now() < endMs; nrCrashes++) {
      const at = committed[0] + random.below(log.entries.length - committed[0]);
      const nrCommitted = committed.filter((end) => end <= at).length - 1;
      const images = [...log.imagesAt(at, random, 1)];
      images[random.below(images.length)].read(0, bytes);
      onHost.writeFileSync(file, bytes);
      const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, ext3] });
      await kernel.mount(`ext3:${file}`, '/');
      const { promises } = kernel.fs;
      const outside = freshPath('copy.db');
      for (const name of await promises.readdir('/'))
        if (name.startsWith('accounts.db')) onHost.writeFileSync(outside + name.slice(11), await promises.readFile(`/${name}`));
      const count = await sqlite.with(new TreeVfs(`crashed-${mode}-${nrCrashes}`, promises), '/accounts.db', check);
      expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
      expect([nrCommitted, nrCommitted + 1], `crash at entry ${at} of ${log.entries.length}`).toContain(count);
      const sql = 'PRAGMA integrity_check; SELECT count(*) FROM done';
      expect(execFileSync(programOf('sqlite3'), [outside, sql], { encoding: 'utf8' })).toBe(`ok\n${count}\n`);
      seen.add(count);
    }
    console.log(`journal_mode=${mode}: ${nrCrashes} crashes in a log of ${log.entries.length} entries`);
    expect(nrCrashes).toBeGreaterThan(5);
    expect(seen.size).toBeGreaterThan(3);
  });
});
