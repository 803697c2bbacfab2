import {
  Arena,
  Bio,
  BioOp,
  BlockDevice,
  type BlockDeviceOps,
  Completion,
  createRamDisk,
  Errno,
  PAGE_SIZE,
  RAM_DISK_MAX_BYTES,
  RamDiskDriver,
  TaskContext,
  AbortSource,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeBio, settle } from './support.js';

const task = TaskContext.root('test');

/** A device that only writes down what reaches it. */
function recorder(over: Partial<BlockDeviceOps> = {}): { device: BlockDevice; seen: Bio[] } {
  const seen: Bio[] = [];
  const device = new BlockDevice({
    apiVersion: 1,
    name: 'recorder',
    sizeBytes: 64 * 1024,
    blockSizeBytes: 512,
    maxTransferBytes: 8 * PAGE_SIZE,
    readOnly: false,
    trusted: true,
    viaSocket: false,
    can: { flush: true, fua: true, discard: true, writeZeroes: true },
    submit: (bio) => void seen.push(bio),
    close: async () => {},
    ...over,
  });
  return { device, seen };
}

/** The status a request ends with that must not reach the driver; null if it did. */
function refused(device: BlockDevice, seen: Bio[], bio: Bio): number | null {
  const before = seen.length;
  let status: number | null = null;
  bio.onEnd = (ended) => {
    status = ended.status;
  };
  device.submit(bio);
  expect(seen.length === before).toBe(status !== null);
  return status;
}

describe('Bio', () => {
  it('merges segments that touch and refuses more than it has room for', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ gap: fc.nat(1), pages: fc.integer({ min: 1, max: 3 }) }), { maxLength: 12, size: 'max' }),
        (runs) => {
          const bio = new Bio(4).start(BioOp.WRITE, 0);
          const model: [number, number][] = [];
          let address = PAGE_SIZE;
          for (const { gap, pages } of runs) {
            address += gap * PAGE_SIZE;
            const length = pages * PAGE_SIZE;
            const last = model.at(-1);
            const touches = last !== undefined && last[0] + last[1] === address;
            const fits = touches || model.length < 4;
            expect(bio.addSegment(address, length)).toBe(fits);
            if (touches) last[1] += length;
            else if (fits) model.push([address, length]);
            address += length;
          }
          expect(Array.from({ length: bio.nrSegments }, (_, i) => [bio.addresses[i], bio.lengths[i]])).toEqual(model);
          expect(bio.lengthBytes).toBe(model.reduce((sum, [, length]) => sum + length, 0));
        },
      ),
    );
  });

  it('is in flight from submit to its one end', () => {
    const bio = new Bio(1).start(BioOp.FLUSH, 0);
    expect(() => bio.end(0)).toThrow('not in flight');
    bio.markSubmitted();
    expect(bio.isInFlight).toBe(true);
    expect(() => bio.markSubmitted()).toThrow('submitted twice');
    expect(() => bio.start(BioOp.READ, 0)).toThrow('reused while in flight');
    let reused = false;
    bio.onEnd = (ended) => {
      ended.start(BioOp.READ, 512); // at once
      reused = true;
    };
    bio.end(-Errno.EIO);
    expect([reused, bio.isInFlight, bio.status, bio.op, bio.nrSegments]).toEqual([true, false, 0, BioOp.READ, 0]);
  });
});

describe('BlockDevice', () => {
  it('passes on what is right and ends what is not', () => {
    const { device, seen } = recorder();
    const page: [number, number][] = [[0, PAGE_SIZE]];
    const cases: [Bio, number | null][] = [
      [makeBio(BioOp.READ, 0, page), null],
      [makeBio(BioOp.WRITE, 60 * 1024, page), null],
      [makeBio(BioOp.FLUSH, 0), null],
      [makeBio(BioOp.DISCARD, 0, [], 64 * 1024), null],
      [makeBio(BioOp.WRITE_ZEROES, 512, [], 512), null],
      [makeBio(BioOp.READ, 61 * 1024, page), -Errno.EINVAL],
      [makeBio(BioOp.WRITE, 61 * 1024, page), -Errno.ENOSPC],
      [makeBio(BioOp.WRITE_ZEROES, 512, [], 64 * 1024), -Errno.ENOSPC],
      [makeBio(BioOp.READ, -512, page), -Errno.EINVAL],
      [makeBio(BioOp.READ, 100, page), -Errno.EINVAL],
      [makeBio(BioOp.WRITE, 0, [[0, 100]]), -Errno.EINVAL],
      [makeBio(BioOp.READ, 0), -Errno.EINVAL],
      [makeBio(BioOp.READ, Number.NaN, page), -Errno.EINVAL],
      [makeBio(BioOp.READ, 0, [[0, 9 * PAGE_SIZE]]), -Errno.EINVAL],
      [makeBio(BioOp.DISCARD, 0, [], 0), -Errno.EINVAL],
    ];
    for (const [i, [bio, status]] of cases.entries()) expect([i, refused(device, seen, bio)]).toEqual([i, status]);
  });

  it('asks nothing of a device that it cannot do', () => {
    const can = { flush: false, fua: false, discard: false, writeZeroes: false };
    const { device, seen } = recorder({ can });
    expect(refused(device, seen, makeBio(BioOp.FLUSH, 0))).toBe(0);
    expect(refused(device, seen, makeBio(BioOp.DISCARD, 0, [], 512))).toBe(-Errno.EOPNOTSUPP);
    expect(refused(device, seen, makeBio(BioOp.WRITE_ZEROES, 0, [], 512))).toBe(-Errno.EOPNOTSUPP);
    const forced = makeBio(BioOp.WRITE, 0, [[0, 512]]);
    forced.fua = true;
    expect(refused(device, seen, forced)).toBe(-Errno.EOPNOTSUPP);
    const { device: readOnly, seen: reads } = recorder({ readOnly: true });
    expect(refused(readOnly, reads, makeBio(BioOp.WRITE, 0, [[0, 512]]))).toBe(-Errno.EROFS);
    expect(refused(readOnly, reads, makeBio(BioOp.DISCARD, 0, [], 512))).toBe(-Errno.EROFS);
    expect(refused(readOnly, reads, makeBio(BioOp.READ, 0, [[0, 512]]))).toBe(null);
  });

  it('refuses drivers that declare nonsense, by name', () => {
    for (const over of [
      { sizeBytes: -1 },
      { sizeBytes: 1.5 },
      { blockSizeBytes: 0 },
      { blockSizeBytes: 768 },
      { blockSizeBytes: 8192 },
      { maxTransferBytes: 512 },
      { maxTransferBytes: 5000 },
    ]) {
      expect(() => recorder(over)).toThrow(expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining('recorder') }));
    }
  });

  it('waits for the device whatever the signal says, since until then the memory belongs to the device', async () => {
    const { device, seen } = recorder();
    const source = new AbortSource();
    let status: number | null = null;
    void Promise.resolve(device.submitAndWait(task.withSignal(source.signal), makeBio(BioOp.READ, 0, [[0, 512]]))).then(
      (ended) => (status = ended),
    );
    source.abort();
    await settle();
    expect(status).toBe(null);
    seen[0].end(-Errno.EIO);
    await settle();
    expect(status).toBe(-Errno.EIO);
  });

  it('has one holder, and closes once', async () => {
    let nrCloses = 0;
    const heard: string[] = [];
    const { device, seen } = recorder({ close: async () => void nrCloses++ });
    device.onClose(() => void heard.push('closing'));
    device.hold('swap');
    expect(() => device.hold('md')).toThrow(
      expect.objectContaining({ code: 'EBUSY', message: expect.stringMatching(/in use by swap, wanted by md/) }),
    );
    await expect(device.close()).rejects.toThrow(expect.objectContaining({ code: 'EBUSY' }));
    device.unhold();
    await device.close();
    await device.close();
    expect([nrCloses, heard]).toEqual([1, ['closing']]);
    expect(refused(device, seen, makeBio(BioOp.READ, 0, [[0, 512]]))).toBe(-Errno.EIO);
  });
});

describe('RAM disk', () => {
  const SIZE = 3 * 2 ** 20 + 512;
  const request = fc.record({
    op: fc.constantFrom(BioOp.READ, BioOp.READ, BioOp.WRITE, BioOp.WRITE, BioOp.DISCARD, BioOp.WRITE_ZEROES),
    // around the borders of chunks more often than not
    block: fc.oneof(fc.integer({ min: 0, max: SIZE / 512 - 1 }), fc.constantFrom(0, 2047, 2048, 4095, 4096, 6143, 6144)),
    nrBlocks: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(2048, 4096)),
    cut: fc.nat(),
    noUnmap: fc.boolean(),
  });

  it('keeps what is written, and zeroes elsewhere', () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 25, size: 'max' }), (requests) => {
        const arena = new Arena(2 * Math.ceil(SIZE / PAGE_SIZE + 2));
        const device = new BlockDevice(createRamDisk(arena, { sizeBytes: SIZE }));
        const model = new Uint8Array(SIZE);
        let stamp = 1;
        for (const { op, block, nrBlocks, cut, noUnmap } of requests) {
          const offset = block * 512;
          const length = Math.min(nrBlocks * 512, SIZE - offset);
          const first = length > 512 ? 512 * (1 + (cut % (length / 512 - 1))) : length;
          const far = Math.ceil(SIZE / PAGE_SIZE + 1) * PAGE_SIZE; // the second segment lies elsewhere
          const segments: [number, number][] = [[PAGE_SIZE, first]];
          if (length > first) segments.push([far, length - first]);
          const isTransfer = op <= BioOp.WRITE;
          const bio = isTransfer ? makeBio(op, offset, segments) : makeBio(op, offset, [], length);
          bio.noUnmap = noUnmap;
          if (op === BioOp.WRITE) {
            for (const [address, bytes] of segments) arena.view(address, bytes).fill(stamp++ & 0xff);
          } else if (op === BioOp.READ) for (const [address, bytes] of segments) arena.view(address, bytes).fill(0xee);
          device.submit(bio);
          expect([bio.isInFlight, bio.status]).toEqual([false, 0]);
          const memory = Buffer.concat(isTransfer ? segments.map(([address, bytes]) => arena.view(address, bytes)) : []);
          if (op === BioOp.WRITE) model.set(memory, offset);
          else if (op === BioOp.READ) expect(memory.equals(model.subarray(offset, offset + length))).toBe(true);
          else model.fill(0, offset, offset + length);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('costs memory for what is stored, not for its size', async () => {
    const arena = new Arena(64);
    const device = new BlockDevice(createRamDisk(arena, { sizeBytes: RAM_DISK_MAX_BYTES }));
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 16; i++) device.submit(makeBio(BioOp.WRITE, i * 2 ** 35, [[0, PAGE_SIZE]]));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThanOrEqual(16 * 2 ** 20);
    const read = makeBio(BioOp.READ, RAM_DISK_MAX_BYTES - 512, [[0, 512]]);
    device.submit(read);
    expect(read.status).toBe(0);
    await device.close();
  });

  it('is opened by mem:SIZE, and refuses impossible sizes', async () => {
    const driver = new RamDiskDriver(new Arena(1));
    const ops = await driver.open('mem:64KiB', { readOnly: true });
    expect([ops.name, ops.sizeBytes, ops.readOnly, ops.trusted]).toEqual(['mem:64KiB', 65536, true, true]);
    for (const url of ['mem:', 'mem:x', 'mem:1000', 'mem:2TiB', 'mem:-1']) {
      await expect(driver.open(url, {})).rejects.toThrow(
        expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(url) }),
      );
    }
  });

  it('ends a flush at once', () => {
    const device = new BlockDevice(createRamDisk(new Arena(1), { sizeBytes: 512 }));
    const done = new Completion({ kind: 'test', name: 'flush' });
    const bio = makeBio(BioOp.FLUSH, 0);
    bio.onEnd = () => done.complete();
    device.submit(bio);
    expect(done.isDone).toBe(true);
  });
});
