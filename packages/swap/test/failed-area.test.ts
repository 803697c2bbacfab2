/** A device that is gone for a while: its area fails instead of wearing out its slots, says so, and takes pages again once it is back. */
import { BioOp, Errno, PAGE_SIZE } from '@tidemark/core';
import { PagedBuffer } from '@tidemark/swap';
import { describe, expect, it } from 'vitest';
import { firstDifference, pattern } from '../../core/test/support/pattern.js';
import { CLEAN, errorOf, MIB, SwapWorld } from './support/swap-world.js';

const SIZE_BYTES = 8 * MIB;
const PART_BYTES = 16 * PAGE_SIZE;

describe.each([
  ['writes', BioOp.WRITE, true],
  ['writes, untrusted', BioOp.WRITE, false],
  ['flushes', BioOp.FLUSH, false],
] as const)('a device whose %s all fail for a while', (_name, failing, trusted) => {
  it('fails its area, not its slots, and is used again when it works again', async () => {
    const world = await SwapWorld.boot('2MiB');
    let isGone = false;
    const status = (op: BioOp): number => (isGone && op === failing ? -Errno.EIO : 0);
    const { device } = await world.area({ sizeBytes: 2 * SIZE_BYTES, trusted, status, losesOnFailedFlush: false });
    const seen: string[] = [];
    world.kernel.trace.on('swap', ({ state }) => void (state !== 'bad-slot' && seen.push(state)));
    const buffer = await world.run(PagedBuffer.create(world.kernel, { sizeBytes: SIZE_BYTES }));
    const source = pattern(SIZE_BYTES, 1);
    let stored = 0;
    const store = async (): Promise<void> => {
      for (; stored < SIZE_BYTES; stored += PART_BYTES) await world.run(buffer.write(stored, source.subarray(stored, stored + PART_BYTES)));
    };
    for (; stored < SIZE_BYTES / 2; stored += PART_BYTES)
      await world.run(buffer.write(stored, source.subarray(stored, stored + PART_BYTES)));
    isGone = true;
    const error = await errorOf(store);
    expect(error.code).toBe('EIO');
    expect(error.message).toContain(device.name);
    const [area] = world.kernel.swap?.areas() ?? [];
    expect(area.nrBad).toBeLessThan(32);
    isGone = false;
    await world.time.advance(6_000);
    await store();
    const back = new Uint8Array(SIZE_BYTES);
    await world.run(buffer.read(0, back));
    expect(firstDifference(back, source)).toBe(-1);
    expect(seen).toEqual(['failed', 'on']);
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});
