/**
 * Liveness, in real time: 16 tasks loop over buffers of together four times the memory, all of it swapped over one NBD connection to a
 * server of others. Every page is compared, no frame goes astray, and it ends.
 */
import { expect, it } from 'vitest';
import { MIB } from './support/bytes.js';
import { expectFramesAddUp, withKernel } from './support/kernels.js';
import { describeWith } from './support/peers.js';
import { until } from './support/processes.js';
import { freshFile } from './support/sandbox.js';
import { type Server, startNbdkit, startQemuNbd } from './support/servers.js';
import { WorkingSet } from './support/swapping.js';

const NR_TASKS = 16;
const NR_LOOPS = 3;
const MEMORY_BYTES = 8 * MIB;
/** The collector's slack: the working sets of all runs together are 32 MiB a round, and the heap is let grow before it is swept. */
const RSS_GROWTH_MAX_BYTES = 96 * MIB;

/** One task: writes its whole buffer, reads it all, and again; in its own order every time. */
async function loop(set: WorkingSet, number: number): Promise<void> {
  for (let round = 0; round < NR_LOOPS; round++) {
    for (let i = 0; i < set.nrPages; i++) {
      await set.write(i);
      if (i % 7 === number % 7) expect(await set.reads((i * 31) % set.nrPages)).toBe(true);
    }
    expect(await set.countLost()).toBe(0);
  }
}

async function run(server: Server): Promise<void> {
  await withKernel(`${MEMORY_BYTES / MIB}MiB`, async (kernel) => {
    await kernel.swapOn(await kernel.openBlockDevice(server.uri), { format: true });
    const idle = kernel.meminfo();
    const sets = await Promise.all(Array.from({ length: NR_TASKS }, () => WorkingSet.create(kernel, (4 * MEMORY_BYTES) / NR_TASKS)));
    const { standing } = kernel.meminfo();
    let peakRssBytes = 0;
    let nrLooks = 0;
    const watch = setInterval(() => {
      const now = kernel.meminfo();
      expectFramesAddUp(now);
      expect(now.standing).toBe(standing); // the path takes nothing but what it was given
      peakRssBytes = Math.max(peakRssBytes, process.memoryUsage.rss());
      nrLooks++;
    }, 100);
    const before = process.memoryUsage.rss();
    await Promise.all(sets.map(loop));
    clearInterval(watch);
    expect(nrLooks).toBeGreaterThan(3);
    expect(peakRssBytes - before).toBeLessThan(RSS_GROWTH_MAX_BYTES);
    const { pswpout, pswpin, oom, swpin_error, swpout_error } = kernel.vmstat();
    const pagesPerRound = (4 * MEMORY_BYTES - MEMORY_BYTES) / 4096;
    expect(pswpout).toBeGreaterThan(NR_LOOPS * pagesPerRound);
    expect(pswpin).toBeGreaterThan(NR_LOOPS * pagesPerRound);
    expect({ oom, swpin_error, swpout_error }).toEqual({ oom: 0, swpin_error: 0, swpout_error: 0 });
    for (const set of sets) set.close();
    // Pages that are on their way out follow when they have arrived.
    await until('every frame and slot to be free', () => {
      const { memFree, swapFree } = kernel.meminfo();
      return memFree === idle.memFree && swapFree === idle.swapFree;
    });
  });
  await server.process.stop();
}

describeWith(['nbdkit'], 'swapping to nbdkit file', () => {
  it.each(['unix', 'tcp'] as const)('goes on and ends, over %s', async (kind) =>
    run(await startNbdkit(kind, 'file', freshFile('store', 48 * MIB))),
  );
});

describeWith(['qemu-nbd'], 'swapping to qemu-nbd', () => {
  it('goes on and ends', async () => run(await startQemuNbd('unix', freshFile('store', 48 * MIB))));
});
