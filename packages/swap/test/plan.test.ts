/**
 * The dry run against the real thing: what is planned as the smallest memory is enough to boot, swap on and hold the working set; one
 * frame less is refused.
 */
import { describeRawDevice, type KernelError, Kernel, PAGE_SIZE, planLeast, planStack, type StackDescription } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { describeSwapArea, PagedBuffer, pagedBufferTerm, swap } from '@tidemark/swap';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

interface Case {
  readonly diskPages: number;
  readonly workingSetBytes: number;
  readonly checksum: boolean;
}

function describeCase({ diskPages, workingSetBytes, checksum }: Case): StackDescription {
  const device = `mem:${diskPages * PAGE_SIZE}`;
  return {
    nodes: [describeSwapArea({ device, nrSlots: diskPages, checksum }), describeRawDevice(device)],
    held: [pagedBufferTerm(workingSetBytes)],
  };
}

/** Boots it in `nrFrames`, and compares what came of it with the plan; writes and reads back the first and the last pages. */
async function bootAndUse(nrFrames: number, { diskPages, workingSetBytes, checksum }: Case): Promise<void> {
  const kernel = await Kernel.boot({ memory: nrFrames * PAGE_SIZE, plugins: [host, swap] });
  try {
    const device = await kernel.openBlockDevice(`mem:${diskPages * PAGE_SIZE}`);
    await kernel.swapOn(device, { format: true, checksum });
    const buffer = await PagedBuffer.create(kernel, { sizeBytes: workingSetBytes });
    const plan = planStack(describeCase({ diskPages, workingSetBytes, checksum }), nrFrames);
    const live = kernel.reserves.explain();
    expect(live.nodes).toMatchObject(plan.nodes);
    expect(live).toMatchObject({ standing: plan.standing, min: plan.min, low: plan.low, high: plan.high, reserved: plan.reserved });
    expect(kernel.meminfo().slab).toBe(plan.held[0].frames);
    const bytes = new Uint8Array(Math.min(workingSetBytes, 48 * PAGE_SIZE));
    for (const at of [0, workingSetBytes - bytes.length]) {
      for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31 + at) % 251;
      await buffer.write(at, bytes);
    }
    const got = new Uint8Array(bytes.length);
    await buffer.read(workingSetBytes - bytes.length, got);
    expect(got).toEqual(bytes);
    buffer.close();
  } finally {
    expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  }
}

const cases = fc.record({
  diskPages: fc.oneof(fc.integer({ min: 120, max: 5_000 }), fc.integer({ min: 120, max: 100_000 })),
  workingSetBytes: fc.oneof(fc.integer({ min: 1, max: 64 * PAGE_SIZE }), fc.integer({ min: 1, max: 2 ** 30 })),
  checksum: fc.boolean(),
});

describe('the smallest memory of swap on a RAM disk', () => {
  it('is enough, and one frame less is refused', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (each) => {
        const plan = planLeast(describeCase(each));
        expect(plan.required).toBeLessThanOrEqual(plan.total);
        await bootAndUse(plan.total, each);
        const less = planStack(describeCase(each), plan.total - 1);
        expect(less).toMatchObject({ fits: false });
        await expect(bootAndUse(plan.total - 1, each)).rejects.toMatchObject({ code: 'ENOMEM' } satisfies Partial<KernelError>);
      }),
      { numRuns: 15 },
    );
  }, 120_000);
});
