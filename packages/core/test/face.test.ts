/** What a program may get wrong: every way in answers with a KernelError, and changes nothing. */
import { Bio, BioOp, CHUNK_BYTES, isKernelError, Kernel, PAGE_SIZE } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { describe, expect, it } from 'vitest';

async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    return isKernelError(error) ? error.code : String(error);
  }
  return 'none';
}

const boot = (memory: unknown): Promise<Kernel> => Kernel.boot({ memory: memory as string, plugins: [host, swap] });
// biome-ignore lint/suspicious/noExplicitAny: these tests give what the types forbid
const wrong = (value: unknown): any => value;

describe('wrong input', () => {
  it.each([undefined, null, {}, 8n, true, Number.NaN, 0, -1, 1.5, '0', '999999TiB', '4TiB', 'eight'])('memory %s', async (memory) => {
    expect(await codeOf(() => boot(memory))).toBe('EINVAL');
  });

  it.each([[undefined], [{}], [{ memory: '1MiB' }], [{ memory: '1MiB', plugins: [undefined] }]])('boot(%j)', async (options) => {
    expect(await codeOf(() => Kernel.boot(wrong(options)))).toBe('EINVAL');
  });

  it('devices and buffers that are none', async () => {
    const kernel = await boot('1MiB');
    for (const url of [undefined, 7, {}]) expect(await codeOf(() => kernel.openBlockDevice(wrong(url)))).toBe('EINVAL');
    for (const device of [undefined, {}, 'disk']) expect(await codeOf(() => kernel.swapOn(wrong(device)))).toBe('EINVAL');
    expect(await codeOf(() => kernel.swapOff(wrong(undefined)))).toBe('EINVAL');
    expect(await codeOf(() => PagedBuffer.create(wrong(undefined), { sizeBytes: 1 }))).toBe('EINVAL');
    expect(await codeOf(() => PagedBuffer.create(kernel, wrong(undefined)))).toBe('EINVAL');
    const disk = await kernel.openBlockDevice('mem:1MiB');
    for (const priority of ['x', Number.NaN, 1.5, 1e9, -40_000]) {
      expect(await codeOf(() => kernel.swapOn(disk, { format: true, priority: wrong(priority) }))).toBe('EINVAL');
    }
    const buffer = await PagedBuffer.create(kernel, { sizeBytes: 8192 });
    await buffer.write(0, new Uint8Array([1, 2, 3]));
    for (const bytes of ['hello', [1, 2], { length: 5 }, new Float64Array(2), new ArrayBuffer(8), null, undefined]) {
      expect(await codeOf(() => buffer.write(0, wrong(bytes)))).toBe('EINVAL');
      expect(await codeOf(() => buffer.read(0, wrong(bytes)))).toBe('EINVAL');
    }
    for (const type of ['zz', 'constructor', undefined]) expect(await codeOf(() => buffer.view(wrong(type)))).toBe('EINVAL');
    const seen = new Uint8Array(3);
    await buffer.read(0, seen);
    expect([...seen]).toEqual([1, 2, 3]);
    await kernel.shutdown();
  });
});

describe('another kernel’s device', () => {
  it('is refused before anything is read or written', async () => {
    const [a, b] = [await boot('2MiB'), await boot('2MiB')];
    const buffer = await PagedBuffer.create(b, { sizeBytes: 300 * PAGE_SIZE });
    const page = new Uint8Array(PAGE_SIZE).fill(0xb0);
    for (let i = 0; i < 300; i++) await buffer.write(i * PAGE_SIZE, page);
    const disk = await b.openBlockDevice('mem:1MiB');
    expect(await codeOf(() => a.swapOn(disk, { format: true }))).toBe('ENODEV');
    expect(await codeOf(() => a.cacheDevice(disk))).toBe('ENODEV');
    const seen = new Uint8Array(PAGE_SIZE);
    for (let i = 0; i < 300; i++) {
      await buffer.read(i * PAGE_SIZE, seen);
      expect(seen).toEqual(page);
    }
    await disk.close();
    expect(await codeOf(() => b.swapOn(disk))).toBe('ENODEV');
    await a.shutdown();
    await b.shutdown();
  });
});

describe('after shutdown', () => {
  it('every way in says so, and what the kernel cut off ends with EIO', async () => {
    const kernel = await boot('1MiB');
    const disk = await kernel.openBlockDevice('mem:1MiB');
    const buffer = await PagedBuffer.create(kernel, { sizeBytes: 8192 });
    const closed = await PagedBuffer.create(kernel, { sizeBytes: 8192 });
    closed.close();
    expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    expect(await codeOf(() => kernel.openBlockDevice('mem:1MiB'))).toBe('ESHUTDOWN');
    expect(await codeOf(() => kernel.swapOn(disk))).toBe('ESHUTDOWN');
    expect(await codeOf(() => kernel.cacheDevice(disk))).toBe('ESHUTDOWN');
    expect(await codeOf(() => PagedBuffer.create(kernel, { sizeBytes: 8192 }))).toBe('ESHUTDOWN');
    expect(await codeOf(() => buffer.write(0, new Uint8Array(1)))).toBe('EIO');
    expect(await codeOf(() => closed.write(0, new Uint8Array(1)))).toBe('EBADF');
  });
});

describe('a bio', () => {
  it('does not join runs across the end of a chunk of the arena', () => {
    const bio = new Bio(4).start(BioOp.WRITE, 0);
    bio.addSegment(CHUNK_BYTES - 2 * PAGE_SIZE, PAGE_SIZE);
    bio.addSegment(CHUNK_BYTES - PAGE_SIZE, PAGE_SIZE);
    bio.addSegment(CHUNK_BYTES, PAGE_SIZE);
    expect([bio.nrSegments, bio.lengths[0], bio.lengths[1], bio.lengthBytes]).toEqual([2, 2 * PAGE_SIZE, PAGE_SIZE, 3 * PAGE_SIZE]);
  });
});

describe('a trace listener', () => {
  it('that throws harms nobody but itself', async () => {
    const kernel = await boot('1MiB');
    kernel.trace.on('swap', () => {
      throw new Error('mine');
    });
    await kernel.swapOn(await kernel.openBlockDevice('mem:1MiB'), { format: true });
    expect(kernel.trace.listenerErrors).toHaveLength(1);
    expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  });
});
