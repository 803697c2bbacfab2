/** A swapon that does not fit by one frame says so and leaves no trace; with that frame it works (M5). */
import { describeRawDevice, Kernel, KernelError, PAGE_SIZE, planLeast } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { describeSwapArea, swap } from '@tidemark/swap';
import { describe, expect, it } from 'vitest';

const DISK_PAGES = 200_000;
const DEVICE = `mem:${DISK_PAGES * PAGE_SIZE}`;

/** What a refused swapon must leave as it was. */
function snapshot(kernel: Kernel): unknown {
  return {
    plan: kernel.reserves.explain(),
    graph: kernel.graph(),
    blocks: kernel.memory.allocator.freeBlocks(),
    meminfo: kernel.meminfo(),
  };
}

describe('swapon', () => {
  it('on an arena one frame too small is one frame short; with one more it works', async () => {
    const least = planLeast({
      nodes: [describeSwapArea({ device: DEVICE, nrSlots: DISK_PAGES }), describeRawDevice(DEVICE)],
      held: [],
    }).total;
    for (const nrFrames of [least - 1, least]) {
      const kernel = await Kernel.boot({ memory: nrFrames * PAGE_SIZE, plugins: [host, swap] });
      const device = await kernel.openBlockDevice(DEVICE);
      const before = snapshot(kernel);
      const error = await kernel.swapOn(device, { format: true }).then(
        () => null,
        (thrown: unknown) => thrown,
      );
      if (nrFrames === least) {
        expect(error).toBe(null);
        await kernel.swapOff(device);
      } else {
        expect(error).toBeInstanceOf(KernelError);
        expect(error).toMatchObject({ code: 'ENOMEM', details: { shortfallFrames: 1 } });
      }
      expect(snapshot(kernel)).toEqual(before);
      expect(await kernel.shutdown()).toMatchObject({ leakedFrames: 0, problems: [] });
    }
  });
});
