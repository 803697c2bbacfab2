/**
 * A server that loses what it had acknowledged says so in one flush, which may end while a run of pages is half acknowledged: the half
 * that was is lost too, although no later flush will say so.
 */
import { Kernel, PAGE_SIZE } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { expect, it } from 'vitest';
import { LossyDevice } from './support/lossy-device.js';

const MIB = 2 ** 20;
const NR_LOSSES = 8;

it('a run that was half acknowledged before a loss is written again', async () => {
  const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, swap] });
  const device = new LossyDevice((address, lengthBytes) => kernel.memory.arena.view(address, lengthBytes));
  await kernel.swapOn(kernel.attach(device), { format: true });
  const buffer = await PagedBuffer.create(kernel, { sizeBytes: 16 * MIB });
  device.nrLossesLeft = NR_LOSSES;
  const page = new Uint8Array(PAGE_SIZE);
  const wanted = (index: number): number => 1 + (index % 251);
  for (let index = 0; index < buffer.sizeBytes / PAGE_SIZE; index++) await buffer.write(index * PAGE_SIZE, page.fill(wanted(index)));
  expect(device.nrLosses).toBe(NR_LOSSES);
  const wrong: number[] = [];
  for (let index = 0; index < buffer.sizeBytes / PAGE_SIZE; index++) {
    await buffer.read(index * PAGE_SIZE, page);
    if (page.some((byte) => byte !== wanted(index))) wrong.push(index);
  }
  expect(wrong).toEqual([]);
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
});
