/** Cases about what is left: after an unmount, under a handle, after a crash at every write and flush. */
import { PAGE_SIZE } from '@tidemark/core';
import type { DiskImage } from '../disk/disk-image.js';
import type { WriteLog } from '../disk/write-log.js';
import { Random } from '../time/random.js';
import type { CaseList } from './case.js';
import { fails, Mismatch, must, pattern, same, sameBytes } from './expect.js';
import type { Files } from './files.js';
import { remount } from './posix-cases.js';
import type { Theatre } from './stage.js';
import { checkOwned, type ModelFile, Workload } from './workload.js';

/** Adds the cases of a filesystem on a disk. */
export function addPersistenceCases(list: CaseList, theatre: Theatre, seed: number): void {
  list.add('content-survives-unmount', 'a tree made at random, mounted three times', () =>
    theatre.run({ seed }, async (stage) => {
      const workload = new Workload(stage.files, stage.world.randomOf('work'), { fileBytesMax: 30 * PAGE_SIZE, nodesMax: 30, mayFail: [] });
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 60; i++) await workload.step();
        await remount(stage);
        await workload.checkAll();
      }
    }),
  );
  list.add('full-is-told-to-the-writer', 'files until nothing fits, then room again', () =>
    theatre.run({ seed }, async (stage) => {
      const { files, world } = stage;
      await files.write('/kept', 0, pattern(4 * PAGE_SIZE, 1));
      let accepted = 0;
      for (let i = 0; ; i++) {
        must(i < 4096, '256 MiB were accepted, which is more than the disk has');
        try {
          await files.write('/big', i * 16 * PAGE_SIZE, pattern(16 * PAGE_SIZE, 2, i));
          accepted = i + 1;
        } catch (error) {
          await fails(() => Promise.reject(error), ['ENOSPC'], 'the write that does not fit');
          break;
        }
        world.progress();
      }
      must(accepted > 0, 'nothing was accepted');
      await files.sync();
      sameBytes(await files.readAll('/kept'), pattern(4 * PAGE_SIZE, 1), 'a file of before');
      for (const i of [0, accepted - 1])
        sameBytes(await files.read('/big', i * 16 * PAGE_SIZE, 16 * PAGE_SIZE), pattern(16 * PAGE_SIZE, 2, i), `piece ${i}`);
      await files.unlink('/big');
      await files.settle();
      await files.sync();
      await files.write('/again', 0, pattern(16 * PAGE_SIZE, 3));
      await remount(stage);
      sameBytes(await files.readAll('/again'), pattern(16 * PAGE_SIZE, 3), 'written into the room that was freed');
      sameBytes(await files.readAll('/kept'), pattern(4 * PAGE_SIZE, 1), 'a file of before, after a remount');
    }),
  );
}

/** Adds the case of handles. @param persists they are good after a remount. */
export function addHandleCases(list: CaseList, theatre: Theatre, seed: number): void {
  list.add('handles-survive', 'remounts, renames and removals', () =>
    theatre.run({ seed }, async (stage) => {
      const { files } = stage;
      await files.mkdir('/d');
      await files.write('/d/f', 0, pattern(10, 1));
      await files.write('/gone', 0, pattern(10, 2));
      const handle = await files.handle('/d/f');
      const gone = await files.handle('/gone');
      await files.rename('/d/f', '/g');
      same(await files.byHandle(handle), handle.ino, 'number behind the handle');
      await files.unlink('/gone');
      await files.settle();
      await fails(() => files.byHandle(gone), ['ESTALE'], 'the handle of a removed file');
      for (let i = 0; i < 20; i++) await files.create(`/new${i}`);
      await fails(() => files.byHandle(gone), ['ESTALE'], 'the handle of a removed file, its number perhaps used again');
      if (stage.device === null) return;
      await remount(stage);
      const [{ fsid }] = stage.kernel.vfs.mounts.list();
      same(await files.byHandle({ ...handle, fsid }), handle.ino, 'number behind the handle after a remount');
      await fails(() => files.byHandle({ ...gone, fsid }), ['ESTALE'], 'the handle of a removed file after a remount');
    }),
  );
}

/** What was there after some operation. */
interface Moment {
  /** Entries of the disk's log when the operation began. */
  readonly beganAt: number;
  readonly names: string;
  /** Content of each file then. */
  readonly files: ReadonlyMap<string, Readonly<ModelFile>>;
}

/** A sync that has ended. */
interface Synced {
  readonly endedAt: number;
  readonly moment: number;
  /** Null: everything. */
  readonly path: string | null;
}

interface Record {
  readonly log: WriteLog;
  readonly moments: readonly Moment[];
  readonly syncs: readonly Synced[];
}

/** How much is crashed. */
export interface CrashOptions {
  readonly seed: number;
  readonly effort: number;
  /** Most crash points of a run, spread over the log. */
  readonly crashPointsMax: number;
}

/** The rules about crashes, and what looks whether they hold. */
const CRASH_CHECKS = [
  ['synced-content-survives-a-crash', checkSynced],
  ['a-crash-leaves-a-state-that-was', checkState],
] as const;

/** First failure of each rule. */
type CrashReport = Map<string, Error>;

/** Adds the cases of a filesystem that claims crash consistency. Each image is mounted once, and both rules are looked at. */
export function addCrashCases(list: CaseList, theatre: Theatre, options: CrashOptions): void {
  for (let nr = 0; nr < options.effort; nr++) {
    let crashed: Promise<CrashReport> | null = null;
    for (const [rule] of CRASH_CHECKS)
      list.add(rule, `power fails at writes and flushes, run ${options.seed + nr}`, async () => {
        crashed ??= crashEverywhere(theatre, { ...options, seed: options.seed + nr });
        const failure = (await crashed).get(rule);
        if (failure !== undefined) throw failure;
      });
  }
}

async function recordRun(theatre: Theatre, seed: number): Promise<Record> {
  let record: Record | null = null;
  await theatre.run({ seed, disk: { keepsLog: true } }, async ({ files, world, disk, kernel }) => {
    const log = disk?.log as WriteLog;
    const workload = new Workload(files, world.randomOf('work'), { fileBytesMax: 12 * PAGE_SIZE, nodesMax: 12, mayFail: [] });
    const moments: Moment[] = [];
    const syncs: Synced[] = [];
    const note = (beganAt: number): void => {
      const copies = [...workload.files].map(([path, file]) => [path, { ...file }] as const);
      moments.push({ beganAt, names: workload.names(), files: new Map(copies) });
    };
    note(0);
    for (let i = 0; i < 60; i++) {
      const beganAt = log.entries.length;
      const what = i % 9 === 8 ? 'sync' : await workload.step();
      if (what === 'sync') await files.sync();
      note(beganAt);
      const path = /^fsync (.*)$/.exec(what)?.[1] ?? null;
      if (what === 'sync' || path !== null) syncs.push({ endedAt: log.entries.length, moment: moments.length - 1, path });
      if (world.random.chance(0.15)) await world.sleep(world.random.below(9_000)); // flushers and commits have their turn
    }
    record = { log, moments, syncs };
    await kernel.unmount('/');
  });
  return record as unknown as Record;
}

async function crashEverywhere(theatre: Theatre, { seed, effort, crashPointsMax }: CrashOptions): Promise<CrashReport> {
  const report: CrashReport = new Map();
  const record = await recordRun(theatre, seed);
  const random = new Random(seed);
  const nrEntries = record.log.entries.length;
  must(nrEntries > 10, `the workload wrote ${nrEntries} times: nothing to crash at`);
  const nrPoints = Math.min(nrEntries, crashPointsMax);
  for (let nr = 1; nr <= nrPoints; nr++) {
    const at = Math.round((nr * nrEntries) / nrPoints);
    const images = [...record.log.imagesAt(at, random, 1)];
    for (let i = 0; i < effort && images.length > 0; i++) {
      const [image] = images.splice(random.below(images.length), 1);
      await crashOnce(theatre, image, seed, record, at, report);
    }
  }
  return report;
}

async function crashOnce(theatre: Theatre, image: DiskImage, seed: number, record: Record, at: number, report: CrashReport): Promise<void> {
  const where = `crash after entry ${at} of ${record.log.entries.length} of the disk's log`;
  const note = (rule: string, error: unknown): void => {
    if (!report.has(rule)) report.set(rule, new Mismatch(`${where}: ${error instanceof Error ? error.message : error}`));
  };
  try {
    await theatre.run({ seed, image }, async ({ files }) => {
      for (const [rule, check] of CRASH_CHECKS) await check(files, record, at).catch((error: unknown) => note(rule, error));
      await files.write('/after the crash', 0, pattern(5000, 9));
      await files.sync();
      sameBytes(await files.readAll('/after the crash'), pattern(5000, 9), 'written after the crash');
    });
  } catch (error) {
    note('a-crash-leaves-a-state-that-was', error); // it cannot be mounted, or not be used
  }
}

/** Files that the last syncs before the crash covered, and that nobody has changed since, are there and whole. */
async function checkSynced(files: Files, { moments, syncs }: Record, at: number): Promise<void> {
  const nrMoments = moments.filter(({ beganAt }) => beganAt < at).length;
  for (const { endedAt, moment, path } of syncs) {
    if (endedAt > at) break;
    for (const [name, { owner, version, data }] of moments[moment].files) {
      if (path !== null && path !== name) continue;
      const isUntouched = moments.slice(moment, nrMoments).every((later) => {
        const file = later.files.get(name);
        return file !== undefined && file.owner === owner && file.version === version;
      });
      if (isUntouched) sameBytes(await files.readAll(name), data, `${name}, synced at entry ${endedAt}`);
    }
  }
}

/** The names are those of some moment between the last sync and the crash; and no file shows what is not its own. */
async function checkState(files: Files, { moments, syncs }: Record, at: number): Promise<void> {
  const listing = await files.list();
  const names = listing.map((line) => line.replace(/ file \d+ -?\d+$/, ' file')).sort();
  const first = syncs.filter(({ endedAt, path }) => path === null && endedAt <= at).at(-1)?.moment ?? 0;
  const candidates = moments.slice(first).filter(({ beganAt }, i) => i === 0 || beganAt < at);
  const found = candidates.filter((moment) => moment.names === names.join('\n'));
  if (found.length === 0)
    throw new Mismatch(
      `the tree is none of the ${candidates.length} that there were since the last sync: ${names.join(', ')}; the last was ${candidates.at(-1)?.names.replaceAll('\n', ', ')}`,
    );
  for (const line of names) {
    if (!line.endsWith(' file')) continue;
    const path = line.slice(0, -' file'.length);
    const bytes = await files.readAll(path);
    const errors: unknown[] = [];
    for (const { files: then } of found) {
      try {
        checkOwned(bytes, (then.get(path) as ModelFile).owner, path);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length === found.length) throw errors[0];
  }
}
