/** The copy-on-write overlay: what it shows, what stays as it was below, its bound, and its two ends. */
import {
  BioOp,
  type BlockDevice,
  commitOverlay,
  copyOnWrite,
  discardOverlay,
  Errno,
  errors,
  filterOf,
  openFilter,
  Overlay,
  PAGE_SIZE,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Box, box, lateDevice, submit } from './support/device-box.js';
import { makeBio } from './support.js';

const BLOCK = 512;
const SIZE = 32 * PAGE_SIZE;

/** Fills a device with bytes that say where they are; its copy. */
async function filled(it: Box, device: BlockDevice): Promise<Uint8Array> {
  const bytes = it.memory(0, SIZE);
  for (let i = 0; i < SIZE; i++) bytes[i] = (i * 7 + (i >>> 9)) & 0xff;
  await write(it, device, 0, bytes.slice());
  return bytes.slice();
}

async function write(it: Box, device: BlockDevice, offsetBytes: number, bytes: Uint8Array): Promise<number> {
  it.memory(0, bytes.length).set(bytes);
  let status = 0;
  for (let at = 0; at < bytes.length && status === 0; at += device.maxTransferBytes) {
    const length = Math.min(device.maxTransferBytes, bytes.length - at);
    status = await it.time.run(submit(device, makeBio(BioOp.WRITE, offsetBytes + at, [[it.address + at, length]])));
  }
  return status;
}

async function contents(it: Box, device: BlockDevice): Promise<Uint8Array> {
  const bytes = it.memory(0, SIZE);
  bytes.fill(0xdd);
  for (let at = 0; at < SIZE; at += device.maxTransferBytes) {
    const length = Math.min(device.maxTransferBytes, SIZE - at);
    expect(await it.time.run(submit(device, makeBio(BioOp.READ, at, [[it.address + at, length]])))).toBe(0);
  }
  return bytes.slice();
}

const action = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      what: fc.constantFrom('write', 'zero', 'trim'),
      block: fc.nat(SIZE / BLOCK - 1),
      nrBlocks: fc.integer({ min: 1, max: 40 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constantFrom('commit', 'discard'), block: fc.constant(0), nrBlocks: fc.constant(0) }) },
);

describe('Copy-on-write overlay', () => {
  it('shows what was written over what was there; below nothing changes until it is committed, and the bound holds', async () => {
    const limits = fc.constantFrom(SIZE, SIZE / 2, 8 * BLOCK);
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 20 }), limits, fc.boolean(), async (actions, limitBytes, isLate) => {
        const it = await box();
        const { kernel, time } = it;
        const lower = isLate
          ? kernel.attach(lateDevice(it, 1, { sizeBytes: SIZE, maxTransferPages: 4 }))
          : await kernel.openBlockDevice(`mem:${SIZE}`);
        let below = await filled(it, lower);
        let above = below.slice();
        const changed = new Set<number>();
        const device = await openFilter(kernel, lower, copyOnWrite, { limitBytes });
        const overlay = filterOf(device, Overlay);
        for (const [i, { what, block, nrBlocks }] of actions.entries()) {
          if (what === 'commit') {
            await time.run(commitOverlay(device));
            below = above.slice();
            changed.clear();
          } else if (what === 'discard') {
            await time.run(discardOverlay(device));
            above = below.slice();
            changed.clear();
          } else {
            const offset = block * BLOCK;
            const length = Math.min(nrBlocks * BLOCK, SIZE - offset, device.maxTransferBytes);
            const blocks = Array.from({ length: length / BLOCK }, (_, b) => block + b);
            if (what === 'trim') {
              expect(await time.run(submit(device, makeBio(BioOp.DISCARD, offset, [], length)))).toBe(0);
              for (const b of blocks) if (changed.has(b)) above.fill(0, b * BLOCK, (b + 1) * BLOCK); // as a RAM disk does
            } else {
              const fits = new Set([...changed, ...blocks]).size * BLOCK <= limitBytes || blocks.every((b) => changed.has(b));
              const bytes = new Uint8Array(length).fill(what === 'zero' ? 0 : 0x80 + i);
              const status =
                what === 'zero'
                  ? await time.run(submit(device, makeBio(BioOp.WRITE_ZEROES, offset, [], length)))
                  : await write(it, device, offset, bytes);
              expect(status).toBe(fits ? 0 : -Errno.ENOSPC);
              if (fits) {
                above.set(bytes, offset);
                for (const b of blocks) changed.add(b);
              }
            }
          }
          expect(overlay.explain()).toEqual({ changedBytes: changed.size * BLOCK, limitBytes });
          expect(Buffer.compare(await contents(it, device), above)).toBe(0);
        }
        await time.run(device.close());
        expect(Buffer.compare(await contents(it, lower), below)).toBe(0);
        await it.end();
      }),
      { numRuns: 60 },
    );
  });

  it('a write that fails leaves what was there, and takes nothing of the bound', async () => {
    const it = await box();
    const { kernel, time } = it;
    const lower = await kernel.openBlockDevice(`mem:${SIZE}`);
    const before = await filled(it, lower);
    const upper = await openFilter(kernel, await kernel.openBlockDevice(`mem:${SIZE}`), errors, { rules: [{ op: 'write', times: 1 }] });
    const device = await openFilter(kernel, lower, copyOnWrite, { upper, limitBytes: PAGE_SIZE });
    expect(await write(it, device, 0, new Uint8Array(PAGE_SIZE).fill(9))).toBe(-Errno.EIO);
    expect(Buffer.compare(await contents(it, device), before)).toBe(0);
    expect(await write(it, device, 8 * BLOCK, new Uint8Array(PAGE_SIZE).fill(9))).toBe(0);
    expect(await write(it, device, 0, new Uint8Array(BLOCK))).toBe(-Errno.ENOSPC);
    await time.run(device.close());
    expect([lower.holder, upper.holder]).toEqual([null, null]);
    await it.end();
  });

  it('reads what was there while a write of it is under way', async () => {
    const it = await box();
    const { kernel, time } = it;
    const lower = await kernel.openBlockDevice(`mem:${SIZE}`);
    const before = await filled(it, lower);
    const upper = kernel.attach(lateDevice(it, 3, { sizeBytes: SIZE, delayMs: () => 10 }));
    const device = await openFilter(kernel, lower, copyOnWrite, { upper });
    it.memory(SIZE, PAGE_SIZE).fill(7);
    const writing = submit(device, makeBio(BioOp.WRITE, 0, [[it.address + SIZE, PAGE_SIZE]]));
    expect(await submit(device, makeBio(BioOp.READ, 0, [[it.address, PAGE_SIZE]]))).toBe(0);
    expect(Buffer.compare(it.memory(0, PAGE_SIZE), before.subarray(0, PAGE_SIZE))).toBe(0);
    expect(await time.run(writing)).toBe(0);
    expect(await time.run(submit(device, makeBio(BioOp.READ, 0, [[it.address, PAGE_SIZE]])))).toBe(0);
    expect(it.memory(0, PAGE_SIZE).every((byte) => byte === 7)).toBe(true);
    await it.end();
  });

  it('a commit that fails at any request loses nothing, and the next one brings all of it', async () => {
    for (const op of ['write', 'flush'] as const) {
      for (let nth = 1; nth <= (op === 'flush' ? 1 : 4); nth++) {
        const it = await box();
        const { kernel, time } = it;
        const disk = kernel.attach(lateDevice(it, nth, { sizeBytes: SIZE }));
        await filled(it, disk);
        const lower = await openFilter(kernel, disk, errors, { rules: [{ op, nth }] });
        const device = await openFilter(kernel, lower, copyOnWrite, {});
        for (let page = 0; page < SIZE / PAGE_SIZE; page += 8)
          expect(await write(it, device, page * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(nth))).toBe(0);
        const wanted = await contents(it, device);
        await expect(time.run(commitOverlay(device))).rejects.toThrow(
          expect.objectContaining({ code: 'EIO', message: expect.stringContaining('commit') }),
        );
        expect(Buffer.compare(await contents(it, device), wanted)).toBe(0);
        await time.run(commitOverlay(device));
        expect(filterOf(device, Overlay).explain().changedBytes).toBe(0);
        expect(Buffer.compare(await contents(it, device), wanted)).toBe(0);
        await time.run(device.close());
        expect(Buffer.compare(await contents(it, disk), wanted)).toBe(0);
        await it.end();
      }
    }
  });

  it('requests wait while it commits; a second commit, a discard in use and a read-only device are refused', async () => {
    const it = await box();
    const { kernel, time } = it;
    const lower = kernel.attach(lateDevice(it, 5, { sizeBytes: SIZE }));
    await filled(it, lower);
    const device = await openFilter(kernel, lower, copyOnWrite, {});
    await write(it, device, 0, new Uint8Array(16 * PAGE_SIZE).fill(1));
    const committed = commitOverlay(device);
    await expect(commitOverlay(device)).rejects.toThrow(expect.objectContaining({ code: 'EBUSY' }));
    let isWritten = false;
    it.memory(0, PAGE_SIZE).fill(2);
    const writing = submit(device, makeBio(BioOp.WRITE, 0, [[it.address, PAGE_SIZE]])).then(() => (isWritten = true));
    await time.settle();
    expect(isWritten).toBe(false);
    await time.run(committed);
    await time.run(writing);
    expect((await contents(it, device))[0]).toBe(2);
    device.hold('somebody');
    await expect(discardOverlay(device)).rejects.toThrow(
      expect.objectContaining({ code: 'EBUSY', message: expect.stringContaining('somebody') }),
    );
    device.unhold();
    await time.run(discardOverlay(device));
    expect([(await contents(it, device))[0], device.holder]).toEqual([1, null]);
    const named = await kernel.openBlockDevice(`cow:mem:${SIZE}`);
    await expect(commitOverlay(named)).rejects.toThrow(expect.objectContaining({ code: 'EROFS' }));
    await expect(commitOverlay(lower)).rejects.toThrow(expect.objectContaining({ code: 'EINVAL' }));
    const writable = await kernel.openBlockDevice(`cow:commit=1:mem:${SIZE}`);
    expect(await write(it, writable, 0, new Uint8Array(PAGE_SIZE))).toBe(0);
    await commitOverlay(writable);
    const readOnly = await kernel.openBlockDevice(`cow:mem:${SIZE}`, { readOnly: true });
    expect(await write(it, readOnly, 0, new Uint8Array(PAGE_SIZE))).toBe(-Errno.EROFS);
    await it.end();
  });

  it('closed while it commits, it stops, tells so, and leaves nothing', async () => {
    for (const afterMs of [0, 1, 3, 6, 10, 20]) {
      const it = await box();
      const { kernel, time } = it;
      const lower = kernel.attach(lateDevice(it, afterMs, { sizeBytes: SIZE }));
      const device = await openFilter(kernel, lower, copyOnWrite, {});
      await write(it, device, 0, new Uint8Array(SIZE).fill(1));
      const committed = commitOverlay(device).then(
        () => 'whole',
        (error: { code: string }) => error.code,
      );
      await time.advance(afterMs);
      await time.run(device.close());
      expect(['whole', 'EIO']).toContain(await time.run(committed));
      await it.end();
    }
  });
});
