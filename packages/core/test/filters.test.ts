/** Filters over block devices: the device below byte for byte, whatever is stacked; each filter's own promise; opening and closing. */
import {
  type Bio,
  BioOp,
  type BlockDevice,
  copyOnWrite,
  delay,
  DelayFilter,
  describeFilter,
  ErrorFilter,
  type ErrorRule,
  Errno,
  errors,
  filterFootprint,
  filterOf,
  type Kernel,
  openFilter,
  PAGE_SIZE,
  stats,
  StatsFilter,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkKernel } from './support/check-kernel.js';
import { box, lateDevice, pieces, submit } from './support/device-box.js';
import { seeded } from './support/virtual-time.js';
import { makeBio } from './support.js';

const BLOCK = 512;
const SIZE = 64 * PAGE_SIZE;

type Stack = (kernel: Kernel, lower: BlockDevice) => Promise<BlockDevice>;
const slow: Stack = (kernel, lower) => openFilter(kernel, lower, delay, { latencyMs: 2, jitterMs: 3, bytesPerSecond: '1MiB' });
const counted: Stack = (kernel, lower) => openFilter(kernel, lower, stats, {});
const faultless: Stack = (kernel, lower) => openFilter(kernel, lower, errors, { rules: [{ rate: 0 }] });
const copied: Stack = (kernel, lower) => openFilter(kernel, lower, copyOnWrite, {});
const of =
  (...stack: Stack[]): Stack =>
  async (kernel, lower) => {
    let device = lower;
    for (const put of stack) device = await put(kernel, device);
    return device;
  };
const STACKS: Record<string, Stack> = {
  delay: slow,
  stats: counted,
  error: faultless,
  cow: copied,
  'stats over delay over cow': of(copied, slow, counted),
  'cow over cow over error over delay': of(slow, faultless, copied, copied),
};

const request = fc.record({
  op: fc.constantFrom(BioOp.READ, BioOp.READ, BioOp.WRITE, BioOp.WRITE, BioOp.WRITE_ZEROES, BioOp.FLUSH),
  block: fc.integer({ min: 0, max: SIZE / BLOCK - 1 }),
  nrBlocks: fc.integer({ min: 1, max: 64 }),
  cuts: fc.array(fc.constantFrom(100, 512, 512, 1024, 4096, 8192), { maxLength: 3 }),
});

describe('Any stack of filters', () => {
  for (const [name, stack] of Object.entries(STACKS)) {
    it.each(['mem', 'late'])(`${name} over a %s device is that device, byte for byte`, async (below) => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(request, { maxLength: 6 }), { maxLength: 5 }), fc.nat(), async (batches, seed) => {
          const it = await box('8MiB', seed);
          const { kernel, time } = it;
          const lower =
            below === 'mem' ? await kernel.openBlockDevice(`mem:${SIZE}`) : kernel.attach(lateDevice(it, seed, { maxTransferPages: 4 }));
          const model = new Uint8Array(SIZE);
          const random = seeded(seed);
          const put = it.memory(0, 4 * PAGE_SIZE);
          for (let offset = 0; offset < SIZE; offset += put.length) {
            for (let i = 0; i < put.length; i++) put[i] = Math.floor(random() * 256);
            model.set(put, offset);
            expect(await time.run(submit(lower, makeBio(BioOp.WRITE, offset, [[it.address, put.length]])))).toBe(0);
          }
          const device = await stack(kernel, lower);
          for (const batch of batches) {
            const busy: [number, number][] = [];
            const ended: Promise<void>[] = [];
            let room = 0;
            for (const { op, block, nrBlocks, cuts } of batch) {
              if (op === BioOp.WRITE_ZEROES && !device.can.writeZeroes) continue;
              const offset = block * BLOCK;
              const length = Math.min(nrBlocks * BLOCK, SIZE - offset, device.maxTransferBytes);
              const isFlush = op === BioOp.FLUSH;
              if (!isFlush && busy.some(([from, to]) => from < offset + length && offset < to)) continue;
              const segments = pieces(it.address + room, length, below === 'mem' ? cuts : cuts.filter((bytes) => bytes % BLOCK === 0));
              const [lastAt, lastLength] = segments.at(-1) as [number, number];
              const end = lastAt + lastLength - it.address;
              if (op <= BioOp.WRITE && end > 64 * PAGE_SIZE) continue;
              const memory = segments.map(([address, bytes]) => it.memory(address - it.address, bytes));
              if (!isFlush) busy.push([offset, offset + length]);
              if (op <= BioOp.WRITE) room = end + 4;
              if (op === BioOp.WRITE) for (const part of memory) for (let i = 0; i < part.length; i++) part[i] = Math.floor(random() * 256);
              const bio = op <= BioOp.WRITE ? makeBio(op, offset, segments) : makeBio(op, isFlush ? 0 : offset, [], isFlush ? 0 : length);
              ended.push(
                submit(device, bio).then((status) => {
                  expect([op, status]).toEqual([op, 0]);
                  const bytes = Buffer.concat(memory);
                  if (op === BioOp.READ) expect(bytes.equals(model.subarray(offset, offset + length))).toBe(true);
                  else if (op === BioOp.WRITE) model.set(bytes, offset);
                  else if (op === BioOp.WRITE_ZEROES) model.fill(0, offset, offset + length);
                }),
              );
            }
            await time.run(Promise.all(ended));
          }
          checkKernel(kernel);
          await it.end();
        }),
        { numRuns: 25 },
      );
    });
  }

  it('says what the devices below are, and takes no more than they do', async () => {
    const it = await box();
    const { kernel } = it;
    const lower = kernel.attach(lateDevice(it, 1, { trusted: false, maxTransferPages: 8, readOnly: true }));
    const device = await openFilter(kernel, lower, stats, { name: 'watched' });
    const { name, sizeBytes, blockSizeBytes, maxTransferBytes, trusted, viaSocket, readOnly, can } = device;
    expect({ name, sizeBytes, blockSizeBytes, maxTransferBytes, trusted, viaSocket, readOnly, can }).toEqual({
      name: 'watched',
      sizeBytes: SIZE,
      blockSizeBytes: BLOCK,
      maxTransferBytes: 8 * PAGE_SIZE,
      trusted: false,
      viaSocket: false,
      readOnly: true,
      can: { flush: true, fua: false, discard: false, writeZeroes: false },
    });
    await it.end();
  });

  it('passes force unit access, no-unmap and discard on', async () => {
    const it = await box();
    const { kernel, time } = it;
    const seen: [number, number, number, boolean, boolean][] = [];
    const lower = kernel.attach({
      apiVersion: 1,
      name: 'recorder',
      sizeBytes: SIZE,
      blockSizeBytes: BLOCK,
      maxTransferBytes: PAGE_SIZE,
      readOnly: false,
      trusted: true,
      viaSocket: false,
      can: { flush: true, fua: true, discard: true, writeZeroes: true },
      submit: (bio) => {
        seen.push([bio.op, bio.offsetBytes, bio.lengthBytes, bio.fua, bio.noUnmap]);
        bio.end(0);
      },
      close: async () => {},
    });
    const device = await of(slow, counted, faultless)(kernel, lower);
    const write = makeBio(BioOp.WRITE, PAGE_SIZE, pieces(it.address, PAGE_SIZE, [44])); // 94 pieces of memory, 64 of them 5 1/2 blocks
    write.fua = true;
    const zeroes = makeBio(BioOp.WRITE_ZEROES, 0, [], SIZE);
    zeroes.noUnmap = true;
    for (const bio of [write, zeroes, makeBio(BioOp.DISCARD, BLOCK, [], SIZE - BLOCK), makeBio(BioOp.FLUSH, 0)])
      expect(await time.run(submit(device, bio))).toBe(0);
    expect(seen).toEqual([
      [BioOp.WRITE, PAGE_SIZE, 5 * BLOCK, true, false],
      [BioOp.WRITE, PAGE_SIZE + 5 * BLOCK, 3 * BLOCK, true, false],
      [BioOp.WRITE_ZEROES, 0, SIZE, false, true],
      [BioOp.DISCARD, BLOCK, SIZE - BLOCK, false, false],
      [BioOp.FLUSH, 0, 0, false, false],
    ]);
    expect(await time.run(submit(device, makeBio(BioOp.WRITE, 0, pieces(it.address, BLOCK, [4]))))).toBe(-Errno.EINVAL);
    expect(filterOf(device, ErrorFilter).explain()).toEqual([{ rule: { rate: 0 }, nrSeen: 5, nrFailed: 0 }]);
    await it.end();
  });

  it('closed at any time ends every request once, and leaves nothing', async () => {
    const closing = fc.record({
      stack: fc.constantFrom(...Object.values(STACKS)),
      nrRequests: fc.integer({ min: 0, max: 80 }),
      closeAtMs: fc.integer({ min: 0, max: 12 }),
      seed: fc.nat(),
    });
    await fc.assert(
      fc.asyncProperty(closing, async ({ stack, nrRequests, closeAtMs, seed }) => {
        const it = await box('2MiB', seed);
        const { kernel, time } = it;
        const below = lateDevice(it, seed);
        const lower = kernel.attach(below);
        const device = await stack(kernel, lower);
        const statuses = Array.from({ length: nrRequests }, (_, i) =>
          submit(
            device,
            makeBio(i % 3 === 0 ? BioOp.READ : BioOp.WRITE, (i % 64) * PAGE_SIZE, [[it.address + (i % 64) * PAGE_SIZE, PAGE_SIZE]]),
          ),
        );
        await time.advance(closeAtMs);
        const closed = device.close();
        await time.run(closed);
        expect(below.inFlight.size).toBe(0);
        const ended = await time.run(Promise.all(statuses));
        expect(ended.every((status) => status === 0 || status === -Errno.EIO)).toBe(true);
        expect(await submit(device, makeBio(BioOp.READ, 0, [[it.address, PAGE_SIZE]]))).toBe(-Errno.EIO);
        await it.end();
      }),
      { numRuns: 60 },
    );
  });
});

describe('Closing a filter', () => {
  it('over a device that answers nothing ends all the same: that is aborted in the end, whoever has opened it', async () => {
    for (const isShutdown of [false, true]) {
      const it = await box();
      const { kernel, time } = it;
      const below = lateDevice(it, 1);
      const device = await of(slow, counted)(kernel, kernel.attach(below));
      below.isSilent = true;
      const reading = submit(device, makeBio(BioOp.READ, 0, [[it.address, PAGE_SIZE]]));
      await time.advance(60_000);
      expect(below.inFlight.size).toBe(1);
      if (!isShutdown) await time.run(device.close(), 5_000);
      const ended = it.end();
      expect(await time.run(reading, 5_000)).toBe(-Errno.EIO);
      await ended;
    }
  });

  it('leaves a device that is slow its time, and its caller the device', async () => {
    const it = await box();
    const { kernel, time } = it;
    const lower = kernel.attach(lateDevice(it, 1, { delayMs: () => 1_900 }));
    const device = await counted(kernel, lower);
    const reading = submit(device, makeBio(BioOp.READ, 0, [[it.address, PAGE_SIZE]]));
    await time.run(device.close());
    expect(await reading).toBe(0);
    expect(await time.run(submit(lower, makeBio(BioOp.READ, 0, [[it.address, PAGE_SIZE]])))).toBe(0);
    await it.end();
  });
});

describe('Opening filters', () => {
  it('by name: stacked, with settings; what is below goes with them', async () => {
    const it = await box();
    const { kernel, time } = it;
    const before = kernel.memory.allocator.nrFree;
    const name = 'stats:delay:latencyMs=5,bytesPerSecond=1MiB:error:op=write,nth=2,error=ENOSPC:cow:limitBytes=8KiB:mem:64KiB';
    const device = await kernel.openBlockDevice(name);
    expect(device.name).toBe(name);
    const write = (): Promise<number> => time.run(submit(device, makeBio(BioOp.WRITE, 0, [[it.address, PAGE_SIZE]])));
    expect([await write(), await write(), await write()]).toEqual([0, -Errno.ENOSPC, 0]);
    expect(filterOf(device, StatsFilter).explain().write).toMatchObject({ nrRequests: 3, nrErrors: 1, bytes: 2 * PAGE_SIZE });
    expect(time.nowMs()).toBeCloseTo(3 * (5 + 4000 / 1024), 6);
    const { nodes, edges } = kernel.graph();
    expect(nodes).toHaveLength(6);
    expect(edges.map(([from, to]) => `${from} → ${to}`)).toContain('cow:limitBytes=8KiB:mem:64KiB → mem:65536');
    expect(nodes.find((node) => node.name === name)?.level).toBe(4);
    await device.close();
    expect([kernel.graph().nodes.length, kernel.memory.allocator.nrFree]).toEqual([0, before]);
    await it.end();
  });

  it('refuses names and options that are none, by name, and leaves nothing behind', async () => {
    const it = await box();
    const { kernel } = it;
    const before = kernel.memory.allocator.nrFree;
    const refused: [string, string][] = [
      ['delay:latencyMs=x:mem:64KiB', 'latencyMs=x is no number'],
      ['delay:latencyMs=1,latencyMs=2:mem:64KiB', 'there twice'],
      ['delay:latency=1:mem:64KiB', 'none of its settings'],
      ['delay:=:mem:64KiB', 'none of its settings'],
      ['delay:latencyMs=99999999999:mem:64KiB', 'latencyMs'],
      ['delay:bytesPerSecond=0:mem:64KiB', 'bytesPerSecond'],
      ['delay:', 'names no device below'],
      ['delay:latencyMs=1:', 'names no device below'],
      ['error:op=eat:mem:64KiB', 'eat is no operation'],
      ['error:error=EGG:mem:64KiB', 'EGG is no error of a device'],
      ['error:rate=2:mem:64KiB', 'rate of 2'],
      ['error:nth=0:mem:64KiB', 'nth of 0'],
      ['error:every=1.5:mem:64KiB', 'no whole number'],
      ['error:after=yes:mem:64KiB', 'neither 0 nor 1'],
      ['stats:x=1:mem:64KiB', 'none of its settings'],
      ['cow:limitBytes=-1:mem:64KiB', 'limitBytes'],
      ['stats:nothing:here', 'no driver'],
      [`${'stats:'.repeat(1000)}mem:64KiB`, 'longer than 4096'],
    ];
    for (const [name, why] of refused) {
      await expect(kernel.openBlockDevice(name)).rejects.toThrow(
        expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(why) }),
      );
      expect([name, kernel.graph().nodes.length, kernel.memory.allocator.nrFree]).toEqual([name, 0, before]);
    }
    await it.end();
  });

  it('has what is below to itself, and gives it back', async () => {
    const it = await box();
    const { kernel } = it;
    const lower = await kernel.openBlockDevice('mem:64KiB');
    const upper = await kernel.openBlockDevice('mem:64KiB');
    const small = await kernel.openBlockDevice('mem:32KiB');
    const busy = expect.objectContaining({ code: 'EBUSY', message: expect.stringContaining('in use by delay:mem:64KiB') });
    const device = await openFilter(kernel, lower, delay, {});
    await expect(openFilter(kernel, lower, stats, {})).rejects.toThrow(busy);
    await expect(openFilter(kernel, upper, copyOnWrite, { upper: lower })).rejects.toThrow(busy);
    await expect(lower.close()).rejects.toThrow(busy);
    expect(upper.holder).toBe(null);
    await expect(openFilter(kernel, upper, copyOnWrite, { upper: small })).rejects.toThrow(
      expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining('32768 bytes') }),
    );
    expect([upper.holder, small.holder]).toEqual([null, null]);
    const top = await openFilter(kernel, device, stats, {});
    await expect(device.close()).rejects.toThrow(expect.objectContaining({ code: 'EBUSY' }));
    expect(() => filterOf(device, StatsFilter)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(filterOf(device, DelayFilter)).toBe(device.ops);
    expect(() => filterOf(lower, StatsFilter)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    await top.close();
    await device.close();
    expect(lower.holder).toBe(null);
    expect(await submit(lower, makeBio(BioOp.READ, 0, [[it.address, PAGE_SIZE]]))).toBe(0);
    await (await openFilter(kernel, lower, stats, {})).close();
    await expect(openFilter(kernel, lower, delay, { latencyMs: Number.NaN })).rejects.toThrow(expect.objectContaining({ code: 'EINVAL' }));
    await lower.close();
    await expect(openFilter(kernel, lower, stats, {})).rejects.toThrow(expect.objectContaining({ code: 'ENODEV' }));
    await it.end();
  });

  it('stops with ENOMEM where memory ends, names who is short, and gives everything back', async () => {
    const it = await box('1MiB');
    const { kernel } = it;
    const opened: BlockDevice[] = [];
    let refusal: unknown = null;
    let before = 0;
    while (refusal === null && opened.length < 200) {
      before = kernel.memory.allocator.nrFree;
      await kernel.openBlockDevice(`cow:mem:${64 * (opened.length + 1)}MiB`).then(
        (device) => opened.push(device),
        (error: unknown) => (refusal = error),
      );
    }
    expect(refusal).toMatchObject({ code: 'ENOMEM', message: expect.stringContaining('cow:mem:') });
    expect(opened.length).toBeGreaterThan(3);
    expect(kernel.memory.allocator.nrFree).toBe(before);
    checkKernel(kernel);
    await it.end();
  });

  it('declares what it takes', async () => {
    const it = await box();
    const { kernel } = it;
    const before = kernel.memory.allocator.nrFree;
    await kernel.openBlockDevice('mem:64MiB');
    const beside = kernel.memory.allocator.nrFree;
    await openFilter(kernel, await kernel.openBlockDevice('stats:mem:64MiB'), copyOnWrite, {
      upper: await kernel.openBlockDevice('mem:128MiB'),
    });
    const { nodes } = kernel.reserves.explain();
    const declared = nodes.reduce((sum, { standing }) => sum + standing, 0);
    expect(before - beside).toBe(0);
    expect(declared).toBeGreaterThan(8);
    expect(beside - kernel.memory.allocator.nrFree).toBe(declared);
    const { name, kind, footprint } = describeFilter('dry', []);
    expect({ name, kind, ...footprint(kernel.memory.nrFrames) }).toEqual({
      name: 'dry',
      kind: 'block-device',
      ...filterFootprint(kernel.memory.nrFrames),
    });
    expect(nodes.find((node) => node.name === 'stats:mem:64MiB')).toMatchObject({
      standing: footprint(kernel.memory.nrFrames).standing[0].frames,
      nrUnits: kernel.memory.sizes.clientUnits,
      needs: ['mem:64MiB (2)'],
    });
    await it.end();
  });
});

describe('Delay', () => {
  it('ends a request neither before its time nor after', async () => {
    const options = fc.record({
      readLatencyMs: fc.integer({ min: 0, max: 20 }),
      writeLatencyMs: fc.integer({ min: 0, max: 20 }),
      msPerPage: fc.constantFrom(0, 1, 4),
    });
    const requests = fc.array(fc.record({ isRead: fc.boolean(), nrPages: fc.integer({ min: 1, max: 4 }), afterMs: fc.nat(9) }), {
      maxLength: 8, // as many as the filter has units
    });
    await fc.assert(
      fc.asyncProperty(options, requests, async ({ readLatencyMs, writeLatencyMs, msPerPage }, all) => {
        const it = await box();
        const { kernel, time } = it;
        const lower = await kernel.openBlockDevice(`mem:${SIZE}`);
        const bytesPerSecond = msPerPage === 0 ? undefined : (1000 * PAGE_SIZE) / msPerPage;
        const device = await openFilter(kernel, lower, delay, { readLatencyMs, writeLatencyMs, bytesPerSecond });
        const ended: Promise<void>[] = [];
        let wireMs = 0;
        for (const { isRead, nrPages, afterMs } of all) {
          await time.advance(afterMs);
          wireMs = Math.max(wireMs, time.nowMs()) + nrPages * msPerPage;
          const dueMs = wireMs + (isRead ? readLatencyMs : writeLatencyMs);
          const bio = makeBio(isRead ? BioOp.READ : BioOp.WRITE, 0, [[it.address, nrPages * PAGE_SIZE]]);
          ended.push(submit(device, bio).then(() => expect(time.nowMs()).toBeCloseTo(dueMs, 2)));
        }
        await time.run(Promise.all(ended));
        expect(kernel.clock.nrPendingTimers).toBe(0);
        await it.end();
      }),
      { numRuns: 40 },
    );
  });

  it('holds no more requests than it has units; the others wait in line', async () => {
    const it = await box('2MiB'); // two units
    const { kernel, time } = it;
    const device = await kernel.openBlockDevice('delay:latencyMs=10:mem:64KiB');
    expect(kernel.memory.sizes.clientUnits).toBe(2);
    const ends: number[] = [];
    await time.run(
      Promise.all(
        Array.from({ length: 6 }, () =>
          submit(device, makeBio(BioOp.READ, 0, [[it.address, PAGE_SIZE]])).then(() => void ends.push(time.nowMs())),
        ),
      ),
    );
    expect(ends).toEqual([10, 10, 20, 20, 30, 30]);
    await it.end();
  });
});

describe('Error', () => {
  const rule: fc.Arbitrary<ErrorRule> = fc.record(
    {
      op: fc.constantFrom('read', 'write', 'flush'),
      fromBytes: fc.integer({ min: 0, max: 7 }).map((n) => n * PAGE_SIZE),
      toBytes: fc.integer({ min: 0, max: 8 }).map((n) => n * PAGE_SIZE),
      nth: fc.integer({ min: 1, max: 5 }),
      every: fc.integer({ min: 1, max: 4 }),
      times: fc.integer({ min: 1, max: 3 }),
      error: fc.constantFrom('EIO', 'ENOSPC', 'ETIMEDOUT'),
      after: fc.boolean(),
    },
    { requiredKeys: [] },
  );

  it('fails exactly the requests that its rules say; what failed before has not happened, what failed after has', async () => {
    const requests = fc.array(fc.record({ op: fc.constantFrom('read', 'write', 'flush'), page: fc.nat(7) }), {
      maxLength: 30,
      size: 'max',
    });
    await fc.assert(
      fc.asyncProperty(fc.array(rule, { maxLength: 3 }), requests, async (rules, all) => {
        const it = await box();
        const { kernel } = it;
        const device = await openFilter(kernel, await kernel.openBlockDevice(`mem:${8 * PAGE_SIZE}`), errors, { rules });
        const model = new Uint8Array(8);
        /** For each rule, the requests that it looked at, one by one; those that it failed. */
        const looked = rules.map(() => 0);
        const failed = rules.map(() => 0);
        for (const [i, { op, page }] of all.entries()) {
          const applying = rules.filter((each, r) => {
            if (each.op !== undefined && each.op !== op) return false;
            const hasRange = each.fromBytes !== undefined || each.toBytes !== undefined;
            if (hasRange && op === 'flush') return false;
            if (hasRange && !((page + 1) * PAGE_SIZE > (each.fromBytes ?? 0) && page * PAGE_SIZE < (each.toBytes ?? Infinity)))
              return false;
            const n = ++looked[r];
            if (failed[r] === (each.times ?? Infinity)) return false;
            if ((each.nth ?? n) !== n || n % (each.every ?? 1) !== 0) return false;
            failed[r]++;
            return true;
          });
          const wanted = applying.length === 0 ? 0 : -Errno[applying[0].error ?? 'EIO'];
          const happens = applying.length === 0 || applying[0].after === true;
          it.memory(0, PAGE_SIZE).fill(op === 'write' ? i + 1 : 0xee);
          const code = { read: BioOp.READ, write: BioOp.WRITE, flush: BioOp.FLUSH }[op] as Bio['op'];
          const bio = op === 'flush' ? makeBio(code, 0) : makeBio(code, page * PAGE_SIZE, [[it.address, PAGE_SIZE]]);
          expect([i, await submit(device, bio)]).toEqual([i, wanted]);
          if (op === 'write' && happens) model[page] = i + 1;
          if (op === 'read') expect(it.memory(0, 1)[0]).toBe(happens ? model[page] : 0xee);
        }
        expect(filterOf(device, ErrorFilter).explain()).toEqual(
          rules.map((each, r) => ({ rule: each, nrSeen: looked[r], nrFailed: failed[r] })),
        );
        await it.end();
      }),
      { numRuns: 150 },
    );
  });

  it('fails some at random, as often as told, and can be told otherwise', async () => {
    const it = await box();
    const { kernel } = it;
    const device = await kernel.openBlockDevice('error:rate=0.25:mem:64KiB');
    const failures = async (): Promise<number> => {
      let nr = 0;
      for (let i = 0; i < 2000; i++) if ((await submit(device, makeBio(BioOp.READ, 0, [[it.address, PAGE_SIZE]]))) !== 0) nr++;
      return nr;
    };
    const nr = await failures();
    expect(nr).toBeGreaterThan(400);
    expect(nr).toBeLessThan(600);
    const filter = filterOf(device, ErrorFilter);
    expect(() => filter.setRules(Array.from({ length: 65 }, () => ({})))).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    filter.setRules([]);
    expect(await failures()).toBe(0);
    await it.end();
  });

  it('under a page cache costs errors that are told, never a byte that was synced', async () => {
    let nrErrors = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const it = await box('1MiB', seed);
        const { kernel, time } = it;
        const random = seeded(seed);
        const below = await kernel.openBlockDevice('mem:2MiB');
        const device = await openFilter(kernel, below, errors, {
          rules: [
            { op: 'write', rate: 0.1, error: 'ENOSPC' },
            { op: 'read', rate: 0.05 },
            { op: 'flush', rate: 0.1 },
            { op: 'write', rate: 0.05, after: true },
          ],
        });
        const cache = kernel.cacheDevice(device);
        const nrPages = 512;
        /** For each page: what it may hold. A sync that succeeds leaves one for each page written since the sync before, good or not. */
        const may = Array.from({ length: nrPages }, () => new Set([0]));
        const sinceSync = new Map<number, number>();
        const page = Buffer.alloc(PAGE_SIZE);
        for (let n = 0; n < 300; n++) {
          const index = Math.floor(random() * nrPages);
          const action = random();
          try {
            if (action < 0.5) {
              const tag = 1 + (n % 255);
              may[index].add(tag);
              sinceSync.delete(index);
              await time.run(cache.write(index * PAGE_SIZE, page.fill(tag)));
              sinceSync.set(index, tag);
            } else if (action < 0.95) {
              await time.run(Promise.resolve(cache.read(index * PAGE_SIZE, page)));
              expect(may[index].has(page[0])).toBe(true);
              expect(page.equals(Buffer.alloc(PAGE_SIZE, page[0]))).toBe(true);
            } else {
              const written = [...sinceSync];
              sinceSync.clear();
              await time.run(cache.sync());
              for (const [at, tag] of written) may[at] = new Set([tag]);
            }
          } catch (error) {
            expect(['EIO', 'ENOSPC']).toContain((error as { code: string }).code);
            nrErrors++;
          }
        }
        filterOf(device, ErrorFilter).setRules([]);
        // Whatever is in the cache now is what the device must hold after a sync that succeeds.
        const last: number[] = [];
        for (let index = 0; index < nrPages; index++) {
          await time.run(cache.write(index * PAGE_SIZE, page.fill((index % 250) + 1)));
          last.push((index % 250) + 1);
        }
        await time.run(cache.sync().catch(() => cache.sync())); // the first may tell of an error of before
        for (let index = 0; index < nrPages; index += 64) {
          expect(await submit(below, makeBio(BioOp.READ, index * PAGE_SIZE, [[it.address, 64 * PAGE_SIZE]]))).toBe(0);
          for (let i = 0; i < 64; i++)
            expect(Buffer.alloc(PAGE_SIZE, last[index + i]).equals(it.memory(i * PAGE_SIZE, PAGE_SIZE))).toBe(true);
        }
        await time.run(cache.close().catch(() => {}));
        await it.end();
      }),
      { numRuns: 8 },
    );
    expect(nrErrors).toBeGreaterThan(0);
  });
});

describe('Stats', () => {
  it('counts requests, bytes, errors and times as they are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 60 }), async (delaysUs) => {
        const it = await box();
        const { kernel, time } = it;
        let at = 0;
        const lower = kernel.attach(
          lateDevice(it, 1, { delayMs: () => delaysUs[at++] / 1000, status: (_op, nth) => (nth % 5 === 0 ? -Errno.EIO : 0) }),
        );
        const device = await counted(kernel, lower);
        const filter = filterOf(device, StatsFilter);
        for (const _ of delaysUs) await time.run(submit(device, makeBio(BioOp.WRITE, 0, [[it.address, PAGE_SIZE]])));
        const { write, read, nrInFlight, nrInFlightMax } = filter.explain();
        const nr = delaysUs.length;
        const nrErrors = Math.floor(nr / 5);
        expect([write.nrRequests, write.nrErrors, write.bytes]).toEqual([nr, nrErrors, (nr - nrErrors) * PAGE_SIZE]);
        expect([read.nrRequests, read.meanMs, read.p99Ms, nrInFlight, nrInFlightMax]).toEqual([0, 0, 0, 0, 1]);
        const sorted = delaysUs.map((us) => us / 1000).sort((a, b) => a - b);
        expect(write.maxMs).toBeCloseTo(sorted[nr - 1], 6);
        expect(write.meanMs).toBeCloseTo(sorted.reduce((sum, ms) => sum + ms, 0) / nr, 6);
        for (const [told, part] of [
          [write.medianMs, 0.5],
          [write.p99Ms, 0.99],
        ]) {
          const exact = sorted[Math.ceil(part * nr) - 1];
          expect(told).toBeGreaterThanOrEqual(exact - 1e-6);
          expect(told).toBeLessThanOrEqual(exact * 1.19 + 0.001);
        }
        filter.reset();
        expect(filter.explain().write.nrRequests).toBe(0);
        await it.end();
      }),
      { numRuns: 30 },
    );
  });
});
