/** A device that has gone silent: the stall report leads from the writer or the reader to it, and says the same in text and for Graphviz. */
import { formatStallReport, stallReportToDot } from '@tidemark/core';
import { PagedBuffer } from '@tidemark/swap';
import { expect, it } from 'vitest';
import { pattern } from '../../core/test/support/pattern.js';
import { MIB, SwapWorld } from './support/swap-world.js';

it('leads from who waits for memory to the device that does not answer', async () => {
  const world = await SwapWorld.boot('2MiB');
  const { kernel } = world;
  expect(kernel.stallReport()).toMatchObject({ waiters: [], edges: [], cycles: [], ends: [] });
  const { ops } = await world.area({ sizeBytes: 16 * MIB, name: 'silent' });
  const buffer = await world.run(PagedBuffer.create(kernel, { sizeBytes: 8 * MIB }));
  ops.isSilent = true;
  const write = Promise.resolve(buffer.write(0, pattern(8 * MIB, 1)));
  const failed = write.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );
  await world.time.advance(5_000);
  const report = kernel.stallReport();
  expect(report.waiters.map(({ task }) => task).sort()).toEqual(['kernel', 'kswapd']);
  expect(report.cycles).toEqual([]);
  expect(report.ends).toEqual(['block-device: silent']);
  expect(report.edges).toContainEqual(['task: kernel', 'frames: free above low']);
  expect(report.edges).toContainEqual(['frames: free above low', 'writeback: swap-out to silent']);
  expect(report.edges).toContainEqual(['writeback: swap-out to silent', 'swap-area: swap:silent']);
  expect(report.edges).toContainEqual(['swap-area: swap:silent', 'block-device: silent']);
  expect(formatStallReport(report)).toContain('nobody works on: block-device: silent');
  expect(stallReportToDot(report)).toContain('"swap-area: swap:silent" -> "block-device: silent";');
  await world.shutdown(1_000);
  expect(await failed).not.toBe('done');
});

it('leads from who reads a page back, and who waits for the same page, to the device that does not answer', async () => {
  const world = await SwapWorld.boot('2MiB');
  const { kernel } = world;
  const { ops } = await world.area({ sizeBytes: 16 * MIB, name: 'silent' });
  const buffer = await world.run(PagedBuffer.create(kernel, { sizeBytes: 8 * MIB }));
  await world.run(Promise.resolve(buffer.write(0, pattern(8 * MIB, 1))));
  await world.time.advance(1_000);
  ops.isSilent = true;
  const reads = [0, 0].map(() => Promise.resolve(buffer.read(0, new Uint8Array(4096))).catch(({ code }: { code: string }) => code));
  await world.time.advance(1);
  const report = kernel.stallReport();
  const waited = report.waiters.map(({ waitsFor }) => waitsFor.replace(/slot \d+/, 'slot N')).sort();
  expect(waited).toEqual(['bio: I/O on silent', 'page: slot N of silent, being read']);
  expect(report.ends).toEqual(['block-device: silent']);
  await world.shutdown(1_000);
  for (const code of await Promise.all(reads)) expect(code).not.toBe(4096);
});
