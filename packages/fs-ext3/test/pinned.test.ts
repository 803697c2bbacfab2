/** Pinned files (M14): what may happen to them, what they survive, and that what is written through a pin is what everybody reads. */
import fs from 'node:fs';
import path from 'node:path';
import {
  AllocateMode,
  type BlockDevice,
  type BlockDeviceOps,
  Errno,
  isKernelError,
  Kernel,
  type OpenFile,
  OpenFlag,
  PAGE_SIZE,
  type PinnedFile,
  run,
  WRITE_AGAIN,
} from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { injectAllocationFaults, memfs } from '@tidemark/testkit';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ext3 } from '../src/index.js';
import { debugfs, e2fsck, hasPeers, makeFolder, makeImage, MIB } from './support/image.js';

let folder = '';
let nr = 0;
beforeAll(() => {
  folder = makeFolder('pinned');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

interface Box {
  readonly image: string;
  readonly kernel: Kernel;
  readonly device: BlockDevice;
}

/** A filesystem with nothing in it, mounted. */
async function box(blockSize: number, memory = '8MiB', wrap: ((ops: BlockDeviceOps) => BlockDeviceOps) | null = null): Promise<Box> {
  const image = path.join(folder, `${nr++}.img`);
  await makeImage(image, 16 * MIB, { blockSize, journalSize: 1024 * blockSize });
  const kernel = await Kernel.boot({ memory, plugins: [host, swap, ext3, memfs] });
  const opened = await kernel.openBlockDevice(image);
  const device = wrap === null ? opened : kernel.attach(wrap(opened.ops));
  await kernel.mount('ext3:disk', '/', { device });
  return { image, kernel, device };
}

async function endAndCheck({ kernel, image }: Box): Promise<void> {
  expect(await kernel.shutdown()).toMatchObject({ leakedFrames: 0, problems: [] });
  if (!hasPeers) return;
  const { status, text } = e2fsck(image);
  expect(status, text).toBe(0);
}

async function open(kernel: Kernel, name: string): Promise<OpenFile> {
  const file = await run(kernel.vfs.open(kernel.vfs.caller(), name, OpenFlag.READ_WRITE, 0));
  if (typeof file === 'number') throw new Error(`open ${name}: ${file}`);
  return file;
}

async function pin(kernel: Kernel, file: OpenFile, spec = { user: 'test', nrUnits: 8 }): Promise<PinnedFile> {
  return kernel.swapHooksOf(file, 'file').swapActivate(kernel.task, file, spec);
}

const codeOf = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: { code?: string }) => error.code,
  );

/** Bytes that tell where they belong. */
function pattern(length: number, salt: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >>> 8) * 7 + salt) & 0xff);
}

/** Has two files grow in turns, a few blocks at a time, so that neither lies in one piece. */
async function fragmented(kernel: Kernel, names: readonly string[], sizeBytes: number, chunkBytes: number): Promise<void> {
  const handles = await Promise.all(names.map((name) => kernel.fs.promises.open(name, 'w')));
  const contents = names.map((_, i) => pattern(sizeBytes, i));
  for (let at = 0; at < sizeBytes; at += chunkBytes)
    for (const [i, handle] of handles.entries()) {
      await handle.write(contents[i].subarray(at, at + chunkBytes), 0, Math.min(chunkBytes, sizeBytes - at), at);
      await handle.sync();
    }
  for (const handle of handles) await handle.close();
}

describe.each([1024, 2048, 4096])('pinned files on blocks of %i bytes', (blockSize) => {
  it('a pin reads what was written before, cached and dirty or not, and everybody reads what it writes', async () => {
    const world = await box(blockSize);
    const { kernel } = world;
    await fragmented(kernel, ['/a', '/b'], 300_000, 16_384 + blockSize);
    const handle = await kernel.fs.promises.open('/a', 'r+');
    await handle.write(pattern(5000, 9), 0, 5000, 100_000); // stays dirty
    const expected = pattern(300_000, 0);
    expected.set(pattern(5000, 9), 100_000);
    const file = await open(kernel, '/a');
    const pinned = await pin(kernel, file);
    expect(pinned.sizePages).toBe(73);
    expect(pinned.standingFrames).toBeGreaterThan(0);
    const { memory } = kernel;
    const frames = await memory.allocStanding(kernel.task, 'test', 8);
    const pfns = Uint32Array.from({ length: 8 }, (_, i) => frames.pfn + i);
    for (let index = 0; index < 73; index += 8) {
      const count = Math.min(8, 73 - index);
      expect(await pinned.swapIn(kernel.task, index, pfns, 0, count)).toBe(0);
      expect(
        Buffer.compare(frames.bytes.subarray(0, count * PAGE_SIZE), expected.subarray(index * PAGE_SIZE, (index + count) * PAGE_SIZE)),
      ).toBe(0);
    }
    expect(await pinned.swapOut(kernel.task, 70, pfns, 0, 4)).toBe(-Errno.EINVAL); // behind its end
    for (let round = 0; round < 3; round++) {
      frames.bytes.set(pattern(8 * PAGE_SIZE, 50 + round));
      expect(await pinned.swapOut(kernel.task, 20, pfns, 0, 8)).toBe(0);
      expected.set(frames.bytes.subarray(0, 8 * PAGE_SIZE), 20 * PAGE_SIZE);
      expect(Buffer.compare(await kernel.fs.promises.readFile('/a'), expected)).toBe(0);
    }
    expect(await pinned.flush(kernel.task)).toBe(0);
    await pinned.release();
    await pinned.release(); // twice is fine
    expect(Buffer.compare(await kernel.fs.promises.readFile('/a'), expected)).toBe(0);
    expect(Buffer.compare(await kernel.fs.promises.readFile('/b'), pattern(300_000, 1))).toBe(0);
    await handle.close();
    file.release();
    frames.free();
    await endAndCheck(world);
    if (hasPeers) expect(Buffer.compare(Buffer.from(debugfs(world.image, 'cat /a'), 'latin1'), expected)).toBe(0);
  });

  it('bytes through a pin, of any alignment the device has, as a model has them', async () => {
    const world = await box(blockSize);
    const { kernel } = world;
    await fragmented(kernel, ['/a', '/b'], 40 * PAGE_SIZE, 8192 + blockSize);
    const file = await open(kernel, '/a');
    const pinned = await pin(kernel, file);
    const model = pattern(40 * PAGE_SIZE, 0);
    const unit = pinned.granularityBytes as number;
    const frames = await kernel.memory.allocStanding(kernel.task, 'test', 16);
    const nrUnits = (16 * PAGE_SIZE) / unit;
    const piece = fc.tuple(fc.nat({ max: nrUnits - 1 }), fc.integer({ min: 1, max: 12 }));
    const call = fc.record({
      isWrite: fc.boolean(),
      at: fc.nat({ max: (40 * PAGE_SIZE) / unit - 1 }),
      pieces: fc.array(piece, { minLength: 1, maxLength: 6 }),
      salt: fc.nat({ max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(call, async ({ isWrite, at, pieces, salt }) => {
        frames.bytes.set(pattern(frames.bytes.length, salt));
        const cut = pieces.map(([from, count]) => [from * unit, Math.min(count, nrUnits - from) * unit] as const);
        const addresses = Float64Array.from(cut, ([from]) => frames.address + from);
        const lengths = Uint32Array.from(cut, ([, length]) => length);
        const total = lengths.reduce((sum, length) => sum + length, 0);
        const overlaps = cut.some(([from, length], i) =>
          cut.some(([other, otherLength], k) => k !== i && from < other + otherLength && other < from + length),
        );
        fc.pre(isWrite || !overlaps);
        const status = await pinned.transfer?.(kernel.task, isWrite, at * unit, addresses, lengths, cut.length);
        if (at * unit + total > model.length) {
          expect(status).toBe(-Errno.EINVAL);
          return;
        }
        expect(status).toBe(0);
        let offset = at * unit;
        for (const [from, length] of cut) {
          if (isWrite) model.set(frames.bytes.subarray(from, from + length), offset);
          else expect(Buffer.compare(frames.bytes.subarray(from, from + length), model.subarray(offset, offset + length))).toBe(0);
          offset += length;
        }
      }),
      { numRuns: 150 * Number(process.env.TIDEMARK_RUNS ?? 1) },
    );
    expect(Buffer.compare(await kernel.fs.promises.readFile('/a'), model)).toBe(0);
    await pinned.release();
    file.release();
    frames.free();
    await endAndCheck(world);
  });
});

describe('what a pin refuses', () => {
  it('a hole, with its offset; what is no file of its own kind; a second user', async () => {
    const world = await box(1024);
    const { kernel } = world;
    const { promises } = kernel.fs;
    const handle = await promises.open('/holey', 'w');
    await handle.write(new Uint8Array(70_000).fill(1), 0, 70_000, 0);
    await handle.write(new Uint8Array(9000).fill(1), 0, 9000, 72_704); // 71 × 1024: blocks 69 and 70 are not there
    await handle.close();
    const free = kernel.memory.allocator.nrFree;
    const holey = await open(kernel, '/holey');
    const error: unknown = await pin(kernel, holey).catch((thrown: unknown) => thrown);
    expect(isKernelError(error) && error.code).toBe('EINVAL');
    expect((error as { details: { offsetBytes: number } }).details.offsetBytes).toBe(69 * 1024);
    expect(holey.inode).toMatchObject({ nrPins: 0, pinnedBy: null });
    await promises.writeFile('/small', 'short');
    const small = await open(kernel, '/small');
    expect(await codeOf(pin(kernel, small))).toBe('EINVAL');
    const readOnly = await run(kernel.vfs.open(kernel.vfs.caller(), '/holey', OpenFlag.READ_ONLY, 0));
    expect(await codeOf(pin(kernel, readOnly as OpenFile))).toBe('EBADF');
    await promises.writeFile('/whole', new Uint8Array(50_000).fill(3));
    const whole = await open(kernel, '/whole');
    const first = await pin(kernel, whole);
    const second: unknown = await pin(kernel, whole, { user: 'other', nrUnits: 1 }).catch((thrown: unknown) => thrown);
    expect((second as Error).message).toContain('is in use by test, wanted by other');
    const held = await kernel.swapHooksOf(whole, 'x').swapActivate(kernel.task, whole, { user: 'server', nrUnits: 1, isHeld: true });
    await first.release();
    expect(whole.inode).toMatchObject({ nrPins: 1, pinnedBy: null });
    await held.release();
    expect(whole.inode.nrPins).toBe(0);
    await promises.mkdir('/mem');
    await kernel.mount('memfs:1MiB', '/mem');
    await promises.writeFile('/mem/x', new Uint8Array(50_000));
    expect(await codeOf(pin(kernel, await open(kernel, '/mem/x')))).toBe('EOPNOTSUPP');
    expect(free - kernel.memory.allocator.nrFree).toBeLessThan(100); // caches, and nothing of the pins
    await endAndCheck(world);
  });

  it('whoever changes it, until it is released; a name may go, its blocks stay', async () => {
    const world = await box(4096);
    const { kernel } = world;
    const { promises } = kernel.fs;
    const content = pattern(20 * PAGE_SIZE, 4);
    await promises.writeFile('/f', content);
    const handle = await promises.open('/f', 'r+');
    const file = await open(kernel, '/f');
    const pinned = await pin(kernel, file);
    const { data } = kernel.vfs;
    const allocate = (mode: number, from: number, length: number) => run(data.allocate(kernel.vfs.caller(), file, mode, from, length));
    expect(await codeOf(handle.truncate(100))).toBe('ETXTBSY');
    expect(await codeOf(handle.truncate(200_000))).toBe('ETXTBSY');
    expect(await codeOf(promises.truncate('/f', 5))).toBe('ETXTBSY');
    expect(await codeOf(promises.open('/f', 'w'))).toBe('ETXTBSY');
    expect(await codeOf(handle.write(content, 0, 10, 0))).toBe('ETXTBSY');
    expect(await allocate(AllocateMode.PUNCH_HOLE, 0, PAGE_SIZE)).toBe(-Errno.ETXTBSY);
    expect(await allocate(AllocateMode.ZERO_RANGE, 0, PAGE_SIZE)).toBe(-Errno.ETXTBSY);
    await handle.chmod(0o600); // attributes are another matter
    expect(await codeOf(kernel.unmount('/'))).toBe('EBUSY');
    expect(await codeOf(kernel.unmount('/', { force: true }))).toBe('EBUSY');
    await handle.close();
    file.release();
    await promises.unlink('/f');
    // Others take every block that is free: none of the file's is among them.
    let nrWritten = 0;
    try {
      for (;;) await promises.appendFile('/filler', new Uint8Array(65_536).fill(++nrWritten));
    } catch (error) {
      expect((error as { code: string }).code).toBe('ENOSPC');
    }
    const frames = await kernel.memory.allocStanding(kernel.task, 'test', 1);
    for (let index = 0; index < 20; index++) {
      expect(await pinned.swapIn(kernel.task, index, Uint32Array.of(frames.pfn), 0, 1)).toBe(0);
      expect(Buffer.compare(frames.bytes.subarray(0, PAGE_SIZE), content.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE))).toBe(0);
    }
    frames.free();
    const before = (await promises.statfs('/')).bfree;
    await pinned.release();
    await promises.unlink('/filler');
    await promises.writeFile('/g', 'x');
    expect((await promises.statfs('/')).bfree).toBeGreaterThan(before + 20);
    await endAndCheck(world);
  });

  it('a map that does not fit: nothing stays behind', async () => {
    const world = await box(1024, '1MiB');
    const { kernel } = world;
    const handle = await kernel.fs.promises.open('/f', 'w');
    for (let at = 0; at < 4 * MIB; at += 65_536) await handle.write(new Uint8Array(65_536).fill(1), 0, 65_536, at);
    await handle.sync();
    await handle.close();
    const file = await open(kernel, '/f');
    const injector = injectAllocationFaults(kernel, { mode: 'from', nth: 1 });
    expect(await codeOf(pin(kernel, file))).toBe('ENOMEM');
    injector.remove();
    expect(file.inode).toMatchObject({ nrPins: 0, pinnedBy: null });
    const pinned = await pin(kernel, file);
    await pinned.release();
    await handle.close();
    file.release();
    await endAndCheck(world);
  });
});

describe('swap in a file', () => {
  it('by its path: pages go out and come back with every allocation failing behind the activation', async () => {
    const world = await box(4096, '2MiB');
    const { kernel } = world;
    const handle = await kernel.fs.promises.open('/swapfile', 'w');
    for (let at = 0; at < 8 * MIB; at += 65_536) await handle.write(new Uint8Array(65_536), 0, 65_536, at);
    await handle.close();
    const area = await kernel.swapOn('/swapfile', { format: true, label: 'in a file' });
    expect(area).toMatchObject({ name: '/swapfile', nrSlots: 2047, label: 'in a file' });
    expect(kernel.graph().edges).toContainEqual(['swap:/swapfile', `ext3:${world.device.name} data`]);
    expect(await codeOf(kernel.swapOn('/swapfile'))).toBe('EBUSY');
    const buffer = await PagedBuffer.create(kernel, { sizeBytes: 6 * MIB });
    const page = new Uint8Array(PAGE_SIZE);
    for (let i = 0; i < 6 * 256; i++) await buffer.write(i * PAGE_SIZE, page.fill(i));
    const injector = injectAllocationFaults(kernel, { mode: 'deny-reserve', nth: 1 });
    for (let i = 0; i < 6 * 256; i++) {
      await buffer.read(i * PAGE_SIZE, page);
      if (page.some((byte) => byte !== (i & 0xff))) throw new Error(`page ${i} is not what it was`);
    }
    injector.remove();
    expect(kernel.vmstat().pswpout).toBeGreaterThan(1000);
    expect(kernel.vmstat().reserve_unfunded).toBe(0);
    buffer.close();
    await kernel.swapOff('/swapfile');
    await kernel.fs.promises.truncate('/swapfile', 10);
    await endAndCheck(world);
  });

  it('by a handle, left on at shutdown', async () => {
    const world = await box(1024, '4MiB');
    const { kernel } = world;
    await kernel.fs.promises.writeFile('/s', new Uint8Array(MIB));
    const handle = await kernel.fs.promises.open('/s', 'r+');
    const { name } = await kernel.swapOn(handle, { format: true });
    expect(name).toMatch(/^inode \d+ of ext3:/);
    await handle.close();
    await endAndCheck(world);
  });

  it('a hole, a header that is none, and a path that is not there are refused', async () => {
    const world = await box(4096);
    const { kernel } = world;
    await kernel.fs.promises.writeFile('/none', new Uint8Array(MIB));
    expect(await codeOf(kernel.swapOn('/none'))).toBe('EINVAL');
    expect(await codeOf(kernel.swapOn('/absent'))).toBe('ENOENT');
    expect(await codeOf(kernel.swapOn('relative'))).toBe('EINVAL');
    expect(await codeOf(kernel.swapOn({} as never))).toBe('EINVAL');
    await kernel.fs.promises.truncate('/none', 2 * MIB);
    expect(await codeOf(kernel.swapOn('/none', { format: true }))).toBe('EINVAL');
    await endAndCheck(world);
  });
});

it('a device that may have lost what it acknowledged says so once, and every pin and the journal hear of it', async () => {
  let nrLosses = 0;
  const world = await box(4096, '8MiB', (ops) => {
    const { submit } = ops;
    return Object.assign(Object.create(ops) as BlockDeviceOps, {
      submit: (bio: Parameters<typeof submit>[0]) => {
        if (bio.op === 2 && nrLosses > 0) {
          nrLosses--;
          bio.end(WRITE_AGAIN);
        } else ops.submit(bio);
      },
    });
  });
  const { kernel } = world;
  await kernel.fs.promises.writeFile('/a', new Uint8Array(50_000));
  await kernel.fs.promises.writeFile('/b', new Uint8Array(50_000));
  const [a, b] = await Promise.all(['/a', '/b'].map((name) => open(kernel, name)));
  const [pinnedA, pinnedB] = [await pin(kernel, a), await pin(kernel, b)];
  nrLosses = 1;
  expect(await pinnedA.flush(kernel.task)).toBe(WRITE_AGAIN);
  expect(await pinnedA.flush(kernel.task)).toBe(0);
  expect(await pinnedB.flush(kernel.task)).toBe(WRITE_AGAIN);
  expect(await pinnedB.flush(kernel.task)).toBe(0);
  await pinnedA.release();
  await pinnedB.release();
  await kernel.fs.promises.writeFile('/c', 'lost?');
  expect(await codeOf(kernel.fs.promises.open('/c', 'r+').then((handle) => handle.sync()))).toBe('EIO'); // a commit went wrong
  await kernel.shutdown();
});

it('no filesystem knows what its pinned files are for', () => {
  for (const name of ['fs-ext3', 'fs-nfs']) {
    const sources = path.join(import.meta.dirname, '../..', name, 'src');
    for (const file of fs.readdirSync(sources, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      const text = fs
        .readFileSync(path.join(sources, file), 'utf8')
        .replaceAll(/\b(swap(Out|In|Activate|HooksOf|Halves)|SwapHooks)\b/g, ''); // the contract of pins, and a hash's
      expect(text, `${name}/src/${file}`).not.toMatch(/swap/i);
    }
  }
});
