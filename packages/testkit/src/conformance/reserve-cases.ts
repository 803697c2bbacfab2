/** Cases about what a filesystem declares: its node, its units, its pins, and that it goes without a trace. */
import { OpenFlag, type OpenFile, PAGE_SIZE, type PinnedFile, Gfp, type Kernel } from '@tidemark/core';
import { injectAllocationFaults } from '../faults/allocation-faults.js';
import type { CaseList } from './case.js';
import { fails, must, pattern, same, sameBytes } from './expect.js';
import { sideBySide } from './random-cases.js';
import type { Theatre } from './stage.js';

/** Adds the cases that hold for every filesystem that writes to a device. */
export function addFootprintCases(list: CaseList, theatre: Theatre, seed: number): void {
  const { supports, diskBytes } = theatre.subject;
  if (supports.readOnly !== true && diskBytes !== undefined) {
    list.add('no-unit-holds-more-than-declared', 'much dirty, plenty of memory, four tasks', () =>
      theatre.run({ seed, memoryBytes: 2 ** 24 }, async (stage) => {
        await sideBySide(stage, { fileBytesMax: 40 * PAGE_SIZE, nodesMax: 20, mayFail: [] }, 60);
        for (const { name, highWater, limit, overspends } of stage.kernel.reserves.explain().nodes)
          must(highWater <= limit && overspends === 0, `${name} had ${highWater} of ${limit} frames, and overspent ${overspends} times`);
      }),
    );
    list.add('writeout-is-funded', 'dirty pages go out while reclaim wants them', () =>
      theatre.run({ seed }, async ({ kernel, files, world, device }) => {
        must(needsDevice(kernel, device?.name ?? ''), 'no node of the filesystem is in the writeout graph with a way to its device');
        for (let i = 0; i < 12; i++) {
          await files.write(`/f${i}`, 0, pattern(60 * PAGE_SIZE, i));
          kernel.reclaim.shrink(400, true, true, kernel.task);
          world.progress();
        }
        await files.sync();
        for (let i = 0; i < 12; i++) sameBytes(await files.readAll(`/f${i}`), pattern(60 * PAGE_SIZE, i), `/f${i}`);
        const { reserve_unfunded, lock_unticketed, lock_waits } = kernel.memory.counters;
        same(
          [reserve_unfunded, lock_unticketed, lock_waits],
          [0, 0, 0],
          'unfunded allocations, locks without a ticket, waits under a lock',
        );
      }),
    );
  }
  list.add('everything-is-given-back', 'mounted and unmounted five times', () =>
    theatre.run({ seed, isBare: true }, async (stage) => {
      const { kernel, files } = stage;
      const standing = (): unknown => kernel.memory.standingByOwner();
      const nodes = (): string[] => kernel.graph().nodes.map(({ name }) => name);
      if (stage.device !== null) await kernel.writeoutNodeOf(stage.device);
      let before: unknown[] = []; // after the first time: the kernel keeps bios of the device for later
      for (let round = 0; round < 5; round++) {
        await stage.mount();
        await files.list();
        if (supports.readOnly !== true) await files.write(`/f${supports.persistent ? round : ''}`, 0, pattern(9000, round));
        await kernel.unmount('/');
        if (round === 0) before = [nodes(), standing()];
        same([nodes(), standing()], before, 'nodes of the graph and owners of standing memory');
      }
    }),
  );
}

function needsDevice(kernel: Kernel, device: string): boolean {
  const { edges } = kernel.graph();
  return edges.some(([from, to]) => to === device && from !== device);
}

/** Adds the cases of a filesystem whose files can be pinned. */
export function addPinCases(list: CaseList, theatre: Theatre, seed: number): void {
  const PAGES = 24;
  const pin = (kernel: Kernel, file: OpenFile): Promise<PinnedFile> =>
    kernel.swapHooksOf(file, 'a file').swapActivate(kernel.task, file, { user: 'conformance', nrUnits: 4 });
  /** Frames of ordinary memory, as a swap's user has them. */
  const frames = (kernel: Kernel, count: number): Uint32Array =>
    Uint32Array.from({ length: count }, () => {
      const pfn = kernel.memory.allocator.allocPage(kernel.task, Gfp.TRANSIENT);
      must(pfn >= 0, 'no frame for the test itself');
      return pfn;
    });
  const free = (kernel: Kernel, pfns: Uint32Array): void => {
    for (const pfn of pfns) kernel.memory.allocator.freePage(pfn);
  };

  list.add('a-pin-needs-nothing', 'pages out, flushed and in again with every allocation failing', () =>
    theatre.run({ seed }, async ({ kernel, files }) => {
      await files.write('/pinned', 0, pattern(PAGES * PAGE_SIZE, 1));
      const file = await files.open('/pinned');
      const pinned = await pin(kernel, file);
      must(pinned.sizePages >= PAGES, `${pinned.sizePages} pages are pinned of ${PAGES}`);
      must(pinned.nrUnits >= 1, 'no unit');
      const pfns = frames(kernel, 8);
      const injector = injectAllocationFaults(kernel, { mode: 'from', nth: 1 });
      try {
        for (const index of [0, 8, 16, 3]) {
          for (const [i, pfn] of pfns.entries())
            kernel.memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE).set(pattern(PAGE_SIZE, 50 + index + i));
          same(await pinned.swapOut(kernel.task, index, pfns, 0, 8), 0, `swapOut at ${index}`);
          same(await pinned.flush(kernel.task), 0, 'flush');
          for (const pfn of pfns) kernel.memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE).fill(0);
          same(await pinned.swapIn(kernel.task, index, pfns, 0, 8), 0, `swapIn at ${index}`);
          for (const [i, pfn] of pfns.entries())
            sameBytes(kernel.memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE), pattern(PAGE_SIZE, 50 + index + i), `page ${index + i}`);
        }
        same(injector.nrInjected, 0, 'allocations asked for');
      } finally {
        injector.remove();
      }
      free(kernel, pfns);
      await pinned.release();
      sameBytes(
        await files.read('/pinned', 5 * PAGE_SIZE, PAGE_SIZE),
        pattern(PAGE_SIZE, 50 + 3 + 2),
        'page 5, read as a file after the release',
      );
      file.release();
    }),
  );
  list.add('a-pin-holds-its-place', 'truncation is refused, cleaning and removal move nothing', () =>
    theatre.run({ seed }, async ({ kernel, files, world }) => {
      await files.write('/pinned', 0, pattern(PAGES * PAGE_SIZE, 2));
      const file = await files.open('/pinned');
      const pinned = await pin(kernel, file);
      await fails(() => files.truncate('/pinned', PAGE_SIZE), ['ETXTBSY'], 'truncate');
      await fails(() => files.truncate('/pinned', 2 * PAGES * PAGE_SIZE), ['ETXTBSY'], 'grow');
      const pfns = frames(kernel, 4);
      for (const [i, pfn] of pfns.entries()) kernel.memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE).set(pattern(PAGE_SIZE, 90 + i));
      same(await pinned.swapOut(kernel.task, 10, pfns, 0, 4), 0, 'swapOut');
      for (let round = 0; round < 30; round++) {
        // What is written and removed all the time makes room that has to be cleaned.
        await files.write(`/churn${round % 3}`, 0, pattern(40 * PAGE_SIZE, round));
        if (round % 3 === 2) await files.unlink(`/churn${round % 2}`);
        await files.sync();
        world.progress();
      }
      await files.unlink('/pinned');
      await files.settle();
      for (const pfn of pfns) kernel.memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE).fill(0);
      same(await pinned.swapIn(kernel.task, 10, pfns, 0, 4), 0, 'swapIn');
      for (const [i, pfn] of pfns.entries())
        sameBytes(kernel.memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE), pattern(PAGE_SIZE, 90 + i), `page ${10 + i}`);
      free(kernel, pfns);
      await pinned.release();
      file.release();
      await files.settle();
    }),
  );
  list.add('a-pin-has-no-holes', 'holes and crumbs are refused, and may be changed afterwards', () =>
    theatre.run({ seed }, async ({ kernel, files }) => {
      await files.write('/holes', 0, pattern(2 * PAGE_SIZE, 3));
      await files.truncate('/holes', 10 * PAGE_SIZE);
      await files.write('/crumb', 0, pattern(100, 4));
      for (const path of ['/holes', '/crumb']) {
        const file = await files.open(path, OpenFlag.READ_WRITE);
        await fails(() => pin(kernel, file), ['EINVAL'], `pin ${path}`);
        await files.truncate(path, 7);
        file.release();
      }
    }),
  );
}
