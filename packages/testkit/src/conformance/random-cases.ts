/** Cases under random schedules: tasks side by side, a checker of one file's content, one allocation or request after the other that fails. */
import { AllocateMode, BioOp, Errno, PAGE_SIZE } from '@tidemark/core';
import type { DiskRequest } from '../disk/simulated-disk.js';
import { injectAllocationFaults } from '../faults/allocation-faults.js';
import { Random } from '../time/random.js';
import type { CaseList } from './case.js';
import { Mismatch, must, outcomeOf, pattern, same, sameBytes } from './expect.js';
import { remount } from './posix-cases.js';
import type { Stage, Theatre } from './stage.js';
import { Workload, type WorkloadOptions } from './workload.js';

const OPTIONS: WorkloadOptions = { fileBytesMax: 24 * PAGE_SIZE, nodesMax: 24, mayFail: [] };
/** What may be said where memory or the device is missing. EROFS: a filesystem may refuse changes after a failure. */
const MEMORY_ERRORS = ['ENOMEM', 'ENOSPC', 'ENFILE'];
/** What a filesystem answers that changes nothing more, to keep what is on its disk. */
const GIVING_UP = ['EROFS', 'EIO'];
const IO_ERRORS = [...GIVING_UP, 'ENOSPC', 'EUCLEAN'];

/** Adds cases with several tasks on one filesystem. */
export function addConcurrencyCases(list: CaseList, theatre: Theatre, seed: number, effort: number): void {
  list.add('operations-do-not-mix', 'creates, renames and removals of one directory, all at once', () =>
    theatre.run({ seed }, async ({ files }) => {
      for (const dir of ['/a', '/b']) await files.mkdir(dir);
      const names = Array.from({ length: 40 }, (_, i) => `f${i}`);
      const ends = await Promise.all(
        names.map(async (name, i) => {
          const dir = i % 2 === 0 ? '/a' : '/b';
          await files.write(`${dir}/${name}`, 0, pattern(50, i));
          if (i % 4 === 1) await files.rename(`${dir}/${name}`, `/a/${name}-moved`);
          if (i % 4 === 2) await files.unlink(`${dir}/${name}`);
          return outcomeOf(() => files.create('/a/once'));
        }),
      );
      same(ends.filter((end) => end === 'ok').length, 1, 'creators of one name who succeeded');
      const inA = [
        ...names.filter((_, i) => i % 4 === 0),
        ...names.filter((_, i) => i % 4 === 1).map((name) => `${name}-moved`),
        'once',
      ].sort();
      same(await files.readdir('/a'), inA, 'names in /a');
      same(await files.readdir('/b'), names.filter((_, i) => i % 4 === 3).sort(), 'names in /b');
      for (const [i, name] of names.entries()) if (i % 4 === 0) sameBytes(await files.readAll(`/a/${name}`), pattern(50, i), name);
    }),
  );
  for (let nr = 0; nr < 2 * effort; nr++)
    list.add('operations-do-not-mix', `four tasks with a model each, schedule ${seed + nr}`, () =>
      theatre.run({ seed: seed + nr }, async (stage) => void (await sideBySide(stage, OPTIONS, 50))),
    );
  for (let nr = 0; nr < 2 * effort; nr++)
    list.add('one-cache-under-every-face', `one file, random operations, schedule ${seed + nr}`, () =>
      theatre.run({ seed: seed + nr }, (stage) => oneFile(stage, theatre.subject.supports.punch === true)),
    );
}

/** Tasks side by side, each with a model of its own; then everything is compared, also after a remount where that keeps it. */
export async function sideBySide(stage: Stage, options: WorkloadOptions, nrSteps: number): Promise<Workload[]> {
  const { world, files, device } = stage;
  const workloads: Workload[] = [];
  for (let i = 0; i < 4; i++) {
    const top = `/${i}`;
    if ((await outcomeOf(() => files.mkdir(top))) === 'ok') workloads.push(new Workload(files, world.randomOf(`work ${i}`), options, top));
  }
  await world.together(
    ...workloads.map((workload) => async (step: () => Promise<void>) => {
      for (let i = 0; i < nrSteps; i++) {
        await workload.step();
        if (i % 4 === 0) await step();
        world.progress();
      }
    }),
  );
  for (const workload of workloads) await workload.checkAll();
  if (device === null) return workloads;
  await remount(stage);
  for (const workload of workloads) await workload.checkAll();
  return workloads;
}

/** One file under every face, against an array of bytes: buffered and direct reads, writes, truncation, punching, syncs, memory wanted back. */
async function oneFile({ files, world, kernel, device }: Stage, punch: boolean): Promise<void> {
  const random = world.randomOf('one file');
  let model = new Uint8Array(0);
  const most = 20 * PAGE_SIZE;
  await files.create('/f');
  const resize = (size: number): void => {
    const resized = new Uint8Array(size);
    resized.set(model.subarray(0, Math.min(size, model.length)));
    model = resized;
  };
  for (let i = 0; i < 150; i++) {
    const at = random.below(most);
    const length = 1 + random.below(Math.min(most - at, random.chance(0.3) ? 5 * PAGE_SIZE : 300));
    switch (random.below(9)) {
      case 0:
      case 1:
      case 2: {
        const bytes = pattern(length, i, at);
        await files.write('/f', at, bytes);
        if (at + length > model.length) resize(at + length);
        model.set(bytes, at);
        break;
      }
      case 3: {
        const size = random.below(most);
        await files.truncate('/f', size);
        resize(size);
        break;
      }
      case 4:
        if (!punch || at >= model.length) break;
        await files.allocate('/f', AllocateMode.PUNCH_HOLE, at, length);
        model.fill(0, at, Math.min(at + length, model.length));
        break;
      case 5:
        if (device === null) break;
        {
          const first = Math.floor(at / PAGE_SIZE) * PAGE_SIZE;
          const target = new Uint8Array(3 * PAGE_SIZE);
          const got = await files.readDirect('/f', first, target);
          sameBytes(
            target.subarray(0, got),
            model.subarray(first, Math.min(first + target.length, model.length)),
            `step ${i}: direct read at ${first}`,
          );
        }
        break;
      case 6:
        if (random.chance(0.5)) await files.fsync('/f');
        else kernel.reclaim.shrink(200, true, true, kernel.task);
        break;
      default:
        sameBytes(await files.read('/f', at, length), model.subarray(at, at + length), `step ${i}: read at ${at}`);
    }
    world.progress();
  }
  same((await files.stat('/f')).sizeBytes, model.length, 'size');
  sameBytes(await files.readAll('/f'), model, 'content at the end');
}

/** Adds cases in which memory is missing. */
export function addMemoryCases(list: CaseList, theatre: Theatre, seed: number, effort: number): void {
  const tolerant: WorkloadOptions = { ...OPTIONS, mayFail: MEMORY_ERRORS };
  list.add('works-in-its-declared-memory', 'four tasks in the least memory that it can be mounted in, and a little more', async () => {
    const least = await leastMemoryOf(theatre, seed);
    for (let nr = 0; nr < effort; nr++)
      for (const spare of [8, 64])
        await theatre.run({ seed: seed + nr, memoryBytes: (least + spare) * PAGE_SIZE }, async (stage) => {
          const workloads = await sideBySide(stage, tolerant, 40);
          const nrDone = workloads.reduce((sum, workload) => sum + workload.nrDone, 0);
          if (spare === 64) must(nrDone > 40, `only ${nrDone} operations succeeded in ${least + spare} frames`);
        });
  });
  list.add('failed-allocations-are-answers', 'every call path that allocates fails once, and all from some allocation on', async () => {
    let nrPaths = 0;
    for (let nth = 1; nth <= 60 * effort; nth++) if (!(await withoutMemory(theatre, seed, 'once', nth, tolerant, () => nrPaths++))) break;
    must(nrPaths > 0, 'nothing was ever allocated');
    const random = new Random(seed);
    for (let i = 0; i < 4 * effort; i++) await withoutMemory(theatre, seed, 'from', 1 + random.below(200), tolerant, () => {});
  });
}

/** Frames of the least arena that it can be mounted in. */
async function leastMemoryOf(theatre: Theatre, seed: number): Promise<number> {
  let low = 16;
  let high = (theatre.subject.memoryBytes ?? 2 ** 22) / PAGE_SIZE;
  while (high - low > 4) {
    const middle = (low + high) >> 1;
    const end = await outcomeOf(() =>
      theatre.run({ seed, memoryBytes: middle * PAGE_SIZE }, async ({ files }) => void (await files.readdir('/'))),
    );
    if (end === 'ok') high = middle;
    else {
      must(end === 'ENOMEM', `mounting in ${middle} frames ends with ${end}`);
      low = middle;
    }
  }
  return high;
}

/**
 * A workload with one failing allocation of ordinary memory, or all from one on for a while. What was set aside (a ticket's) is there: refusing
 * that would be a bug of the planner's, and not one of the filesystem's.
 * @returns false if there were fewer allocations than that.
 */
async function withoutMemory(
  theatre: Theatre,
  seed: number,
  mode: 'once' | 'from',
  nth: number,
  options: WorkloadOptions,
  injected: () => void,
): Promise<boolean> {
  let nrInjected = 0;
  const kept = pattern(2 * PAGE_SIZE, 78);
  await theatre.run({ seed }, async (stage) => {
    const { kernel, files, device, world } = stage;
    const workload = new Workload(files, world.randomOf('work'), options);
    await files.write('/kept', 0, kept);
    for (let i = 0; i < 8; i++) await workload.step();
    const injector = injectAllocationFaults(kernel, { mode, nth, by: mode === 'once' ? 'path' : 'call', sparesTickets: true });
    try {
      for (let i = 0; i < 25; i++) await workload.step();
      await outcomeOf(() => files.sync());
    } catch (error) {
      throw new Mismatch(`${error}\n  first refused, mode ${mode}, allocation ${nth}:\n${injector.firstPath}`);
    } finally {
      injector.remove();
    }
    ({ nrInjected } = injector);
    await workload.checkAll(['kept']);
    await files.sync();
    for (let i = 0; i < 5; i++) await workload.step();
    if (device !== null) await remount(stage);
    await workload.checkAll(['kept']);
    sameBytes(await files.readAll('/kept'), kept, 'a file of before');
  });
  if (nrInjected > 0) injected();
  return nrInjected > 0;
}

/** Adds the case in which requests of the device fail. */
export function addIoFaultCases(list: CaseList, theatre: Theatre, seed: number, effort: number): void {
  list.add('failed-io-is-an-answer', 'reads, writes and flushes fail one at a time, and all from one on', async () => {
    const counts = new Map<BioOp, number>();
    await withFault(theatre, seed, [], ({ op }) => {
      counts.set(op, (counts.get(op) ?? 0) + 1);
      return 0;
    });
    const random = new Random(seed);
    for (const [op, nrPoints, isLasting] of IO_FAULTS) {
      const total = counts.get(op) ?? 0;
      const points = Math.min(total, nrPoints * effort);
      for (let i = 0; i < points; i++) {
        const nth = 1 + Math.floor(((i + random.next()) * total) / points);
        let nr = 0;
        await withFault(theatre, seed, IO_ERRORS, (request) => {
          const fails = request.op === op && (++nr === nth || (isLasting && nr > nth));
          return fails ? -Errno.EIO : 0;
        });
      }
    }
  });
}

/** What fails, at how many places, and whether it goes on failing. */
const IO_FAULTS: readonly (readonly [op: BioOp, nrPoints: number, isLasting: boolean])[] = [
  [BioOp.WRITE, 8, false],
  [BioOp.WRITE, 2, true],
  [BioOp.READ, 2, false],
  [BioOp.FLUSH, 2, false],
  [BioOp.FLUSH, 1, true],
];

/** A workload on a disk with a fault, and what a whole disk shows of it afterwards. */
async function withFault(
  theatre: Theatre,
  seed: number,
  mayFail: readonly string[],
  fault: (request: DiskRequest) => number,
): Promise<void> {
  const options: WorkloadOptions = { ...OPTIONS, mayFail };
  let hasTold = false;
  let image = await theatre.freshImage();
  const kept = pattern(3 * PAGE_SIZE, 77);
  await theatre.run({ seed, image }, async (stage) => {
    await stage.files.write('/kept', 0, kept);
    await stage.files.sync();
    await stage.kernel.unmount('/');
    image = stage.disk?.image ?? image;
  });
  const workloads: Workload[] = [];
  await theatre.run({ seed, image, disk: { fault }, isBare: true }, async (stage) => {
    const { kernel, files, world, disk } = stage;
    const told = async (work: () => Promise<unknown>): Promise<boolean> => {
      const end = await outcomeOf(work);
      must(end === 'ok' || options.mayFail.includes(end), `an operation ended with ${end}`);
      hasTold ||= end !== 'ok';
      return end === 'ok';
    };
    if (await told(() => stage.mount())) {
      const workload = new Workload(files, world.randomOf('work'), options);
      workloads.push(workload);
      if (await told(() => files.mkdir('/w'))) {
        workload.top = '/w';
        for (let i = 0; i < 40; i++) {
          await workload.step();
          if (i % 10 === 9) await told(() => files.sync());
          world.progress();
        }
      }
      hasTold ||= workload.nrFailed > 0;
      if (!(await told(() => kernel.unmount('/')))) {
        if (kernel.vfs.mounts.list().length > 0) await kernel.unmount('/', { force: true });
      }
    }
    image = disk?.image ?? image;
  });
  await theatre.run({ seed, image }, async ({ files }) => {
    sameBytes(await files.readAll('/kept'), kept, 'a file that was synced before the failure, and not touched since');
    if (hasTold) return;
    for (const workload of workloads) {
      workload.tree = files;
      await workload.checkAll();
    }
  });
}
