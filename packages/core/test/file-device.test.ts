import { AbortSource, Arena, type Bio, BioOp, BlockDevice, Errno, PAGE_SIZE, TaskContext } from '@tidemark/core';
import { FileDriver, type FileIoMode, openFileDevice } from '@tidemark/core/host';
import fc from 'fast-check';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeBio, settle } from './support.js';

const task = TaskContext.root('test');
const MODES: FileIoMode[] = ['sync', 'threaded'];
let folder: string;
let image: string;
const opened: BlockDevice[] = [];

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-file-'));
  image = path.join(folder, 'disk.img');
});

afterEach(async () => {
  vi.restoreAllMocks();
  for (const device of opened.splice(0)) await device.close();
  fs.rmSync(folder, { recursive: true });
});

const arena = new Arena(1024);

async function open(options: Parameters<typeof openFileDevice>[2], file = image): Promise<BlockDevice> {
  const device = new BlockDevice(await openFileDevice(arena, file, options));
  opened.push(device);
  return device;
}

async function run(device: BlockDevice, bio: Bio): Promise<number> {
  return await device.submitAndWait(task, bio);
}

/** An error as `node:fs` throws it. */
function hostError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: injected`), { code, errno: -os.constants.errno[code as 'EIO'] });
}

/** Makes one call of `node:fs` fail, in either mode. */
function failing(mode: FileIoMode, call: 'fdatasync' | 'writev', code: string): void {
  if (call === 'fdatasync' && mode === 'sync')
    vi.spyOn(fs, 'fdatasyncSync').mockImplementationOnce(() => {
      throw hostError(code);
    });
  else if (call === 'fdatasync') vi.spyOn(fs, 'fdatasync').mockImplementationOnce((_fd, done) => done(hostError(code)));
  else if (mode === 'sync')
    vi.spyOn(fs, 'writeSync').mockImplementationOnce(() => {
      throw hostError(code);
    });
  else
    vi.spyOn(fs, 'writev').mockImplementationOnce(((_fd: number, _views: unknown, _at: number, done: (e: Error) => void) =>
      done(hostError(code))) as never);
}

describe.each(MODES)('a file device, %s', (io) => {
  const SIZE = 2 ** 18 + 512;
  const request = fc.record({
    op: fc.constantFrom(BioOp.READ, BioOp.WRITE, BioOp.WRITE, BioOp.WRITE_ZEROES, BioOp.FLUSH),
    block: fc.nat(SIZE / 512 - 1),
    nrBlocks: fc.oneof(fc.integer({ min: 1, max: 32 }), fc.constant(512)),
    nrSegments: fc.integer({ min: 1, max: 8 }),
    fua: fc.boolean(),
  });

  it('keeps what is written, through short transfers too, and the file holds the same', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { maxLength: 20, size: 'max' }), fc.boolean(), async (requests, isShort) => {
        const file = path.join(folder, `${Math.random()}.img`);
        const device = await open({ io, create: true, sizeBytes: SIZE }, file);
        if (isShort) shorten(io);
        const model = Buffer.alloc(SIZE);
        let stamp = 1;
        for (const { op, block, nrBlocks, nrSegments, fua } of requests) {
          const offset = block * 512;
          const length = Math.min(nrBlocks * 512, SIZE - offset);
          const each = Math.max(512, Math.floor(length / nrSegments / 512) * 512);
          const segments: [number, number][] = [];
          for (let done = 0, i = 0; done < length; i++) {
            const bytes = i === nrSegments - 1 ? length - done : Math.min(each, length - done);
            segments.push([(1 + i * 100) * PAGE_SIZE, bytes]);
            done += bytes;
          }
          const isTransfer = op <= BioOp.WRITE;
          const bio = isTransfer ? makeBio(op, offset, segments) : makeBio(op, offset, [], op === BioOp.FLUSH ? 0 : length);
          bio.fua = fua && op === BioOp.WRITE;
          if (isTransfer) for (const [address, bytes] of segments) arena.view(address, bytes).fill(op === BioOp.WRITE ? stamp++ : 0xee);
          expect(await run(device, bio)).toBe(0);
          const memory = Buffer.concat(isTransfer ? segments.map(([address, bytes]) => arena.view(address, bytes)) : []);
          if (op === BioOp.WRITE) model.set(memory, offset);
          else if (op === BioOp.READ) expect(memory.equals(model.subarray(offset, offset + length))).toBe(true);
          else if (op === BioOp.WRITE_ZEROES) model.fill(0, offset, offset + length);
        }
        await device.close();
        vi.restoreAllMocks();
        expect(fs.readFileSync(file).equals(model)).toBe(true);
        fs.unlinkSync(file);
      }),
      { numRuns: 25 },
    );
  });

  it('fails every flush after one that failed, but no read or plain write', async () => {
    const device = await open({ io, create: true, sizeBytes: 8192 });
    expect(await run(device, makeBio(BioOp.FLUSH, 0))).toBe(0);
    failing(io, 'fdatasync', 'EIO');
    expect(await run(device, makeBio(BioOp.FLUSH, 0))).toBe(-Errno.EIO);
    expect(await run(device, makeBio(BioOp.FLUSH, 0))).toBe(-Errno.EIO);
    const write = makeBio(BioOp.WRITE, 0, [[0, PAGE_SIZE]]);
    expect(await run(device, write)).toBe(0);
    const forced = makeBio(BioOp.WRITE, 0, [[0, PAGE_SIZE]]);
    forced.fua = true;
    expect(await run(device, forced)).toBe(-Errno.EIO);
    expect(await run(device, makeBio(BioOp.READ, 0, [[0, PAGE_SIZE]]))).toBe(0);
  });

  it('ends a forced write only after an fdatasync', async () => {
    const device = await open({ io, create: true, sizeBytes: 8192 });
    const sync = io === 'sync' ? vi.spyOn(fs, 'fdatasyncSync') : vi.spyOn(fs, 'fdatasync');
    await run(device, makeBio(BioOp.WRITE, 0, [[0, PAGE_SIZE]]));
    expect(sync).toHaveBeenCalledTimes(0);
    const forced = makeBio(BioOp.WRITE, 0, [[0, PAGE_SIZE]]);
    forced.fua = true;
    await run(device, forced);
    const zeroes = makeBio(BioOp.WRITE_ZEROES, 0, [], PAGE_SIZE);
    zeroes.fua = true;
    await run(device, zeroes);
    expect(sync).toHaveBeenCalledTimes(2);
  });

  it.each([
    ['ENOSPC', 'ENOSPC'],
    ['EDQUOT', 'ENOSPC'],
    ['EIO', 'EIO'],
    ['EPERM', 'EPERM'],
  ] as const)('ends a write that the host fails with %s with %s', async (code, name) => {
    const device = await open({ io, create: true, sizeBytes: 8192 });
    failing(io, 'writev', code);
    expect(await run(device, makeBio(BioOp.WRITE, 0, [[0, PAGE_SIZE]]))).toBe(-Errno[name]);
    expect(await run(device, makeBio(BioOp.WRITE, 0, [[0, PAGE_SIZE]]))).toBe(0);
  });

  it('ends a read with EIO when the file was cut under it', async () => {
    const device = await open({ io, create: true, sizeBytes: 8192 });
    fs.truncateSync(image, 4608);
    expect(await run(device, makeBio(BioOp.READ, 4096, [[0, PAGE_SIZE]]))).toBe(-Errno.EIO);
    expect(await run(device, makeBio(BioOp.READ, 0, [[0, PAGE_SIZE]]))).toBe(0);
  });

  it('takes any number of requests at once and ends all of them before it is closed', async () => {
    const device = await open({ io, create: true, sizeBytes: 2 ** 20 });
    const ended: number[] = [];
    for (let i = 0; i < 100; i++) {
      const bio = makeBio(
        i % 3 === 0 ? BioOp.WRITE_ZEROES : BioOp.WRITE,
        i * PAGE_SIZE,
        i % 3 === 0 ? [] : [[(i + 1) * PAGE_SIZE, PAGE_SIZE]],
        PAGE_SIZE,
      );
      bio.onEnd = ({ status }) => ended.push(status);
      device.submit(bio);
    }
    if (io === 'sync') expect(ended.length).toBe(66); // all but the write-zeroes
    await device.close();
    expect(ended.length).toBe(100);
    for (const status of ended) expect([0, -Errno.EIO]).toContain(status);
  });

  it('closes the file only when the thread pool is done with it', async () => {
    if (io === 'sync') return;
    const device = await open({ io, create: true, sizeBytes: 2 ** 20 });
    let nrRunning = 0;
    let nrAtClose = -1;
    const { writev, closeSync } = fs;
    vi.spyOn(fs, 'writev').mockImplementation(((fd: number, views: Uint8Array[], at: number, done: (e: unknown, n: number) => void) => {
      nrRunning++;
      writev(fd, views, at, (error, n) =>
        setTimeout(() => {
          nrRunning--;
          done(error, n);
        }, 5),
      );
    }) as never);
    vi.spyOn(fs, 'closeSync').mockImplementation((fd) => {
      nrAtClose = nrRunning;
      closeSync(fd);
    });
    const bios = Array.from({ length: 80 }, (_, i) => makeBio(BioOp.WRITE, i * PAGE_SIZE, [[(i + 1) * PAGE_SIZE, PAGE_SIZE]]));
    const ended = bios.map((bio) => run(device, bio));
    await settle();
    expect(nrRunning).toBe(32);
    await device.close();
    expect(nrAtClose).toBe(0);
    const statuses = await Promise.all(ended);
    expect(statuses.filter((status) => status === 0).length).toBe(32); // what the pool had; the rest never began
    expect(statuses.filter((status) => status === -Errno.EIO).length).toBe(48);
  });

  it('never has more than 32 requests in the thread pool', async () => {
    if (io === 'sync') return;
    const device = await open({ io, create: true, sizeBytes: 2 ** 20 });
    let nrRunning = 0;
    let nrMost = 0;
    const real = fs.readv;
    vi.spyOn(fs, 'readv').mockImplementation(((fd: number, views: Uint8Array[], at: number, done: (e: unknown, n: number) => void) => {
      nrMost = Math.max(nrMost, ++nrRunning);
      real(fd, views, at, (error, n) => {
        nrRunning--;
        done(error, n);
      });
    }) as never);
    const bios = Array.from({ length: 200 }, (_, i) => makeBio(BioOp.READ, i * PAGE_SIZE, [[(i + 1) * PAGE_SIZE, PAGE_SIZE]]));
    await Promise.all(bios.map((bio) => run(device, bio)));
    expect(nrMost).toBe(32);
  });
});

/** Makes every transfer of the host short, now and then by all but one byte. */
function shorten(io: FileIoMode): void {
  const cut = (views: readonly Uint8Array[]): Uint8Array[] => [views[0].subarray(0, 1 + Math.floor(Math.random() * views[0].length))];
  const { readSync, writeSync, readvSync, writevSync, readv, writev } = fs;
  if (io === 'sync') {
    vi.spyOn(fs, 'readSync').mockImplementation(((fd: number, view: Uint8Array, _from: number, _length: number, at: number) =>
      readvSync(fd, cut([view]), at)) as never);
    vi.spyOn(fs, 'writeSync').mockImplementation(((fd: number, view: Uint8Array, _from: number, _length: number, at: number) =>
      writevSync(fd, cut([view]), at)) as never);
    vi.spyOn(fs, 'readvSync').mockImplementation(((fd: number, views: Uint8Array[], at: number) =>
      readSync(fd, cut(views)[0], { position: at })) as never);
    vi.spyOn(fs, 'writevSync').mockImplementation(((fd: number, views: Uint8Array[], at: number) => {
      const [view] = cut(views);
      return writeSync(fd, view, 0, view.length, at);
    }) as never);
  } else {
    vi.spyOn(fs, 'readv').mockImplementation(((fd: number, views: Uint8Array[], at: number, done: never) =>
      readv(fd, cut(views), at, done)) as never);
    vi.spyOn(fs, 'writev').mockImplementation(((fd: number, views: Uint8Array[], at: number, done: never) =>
      writev(fd, cut(views), at, done)) as never);
  }
}

describe('opening a file device', () => {
  const refuses = (file: string, options: Parameters<typeof openFileDevice>[2], code: string): Promise<void> =>
    expect(openFileDevice(arena, file, options)).rejects.toThrow(expect.objectContaining({ code, message: expect.stringContaining(file) }));

  it('says what is wrong with the file, by name', async () => {
    await refuses(image, {}, 'ENOENT');
    await refuses(folder, {}, 'EISDIR');
    await refuses(folder, { readOnly: true }, 'EISDIR');
    await refuses(path.join(image, 'x'), {}, 'ENOENT');
    fs.writeFileSync(image, '');
    await refuses(image, {}, 'EINVAL');
    fs.writeFileSync(image, 'x'.repeat(513));
    await refuses(image, {}, 'EINVAL');
    await refuses(path.join(image, 'x'), {}, 'ENOTDIR');
    await refuses('/dev/null', {}, 'EINVAL');
    await refuses('a\0b', {}, 'EINVAL');
    await refuses(image, { readOnly: true, sizeBytes: 1024 }, 'EINVAL');
    await refuses(image, { sizeBytes: 1000 }, 'EINVAL');
    await refuses(image, { io: 'psychic' as FileIoMode }, 'EINVAL');
    await expect(openFileDevice(arena, '', {})).rejects.toThrow(expect.objectContaining({ code: 'EINVAL' }));
    if (process.getuid?.() !== 0) {
      fs.writeFileSync(image, 'x'.repeat(512), { mode: 0o400 });
      fs.chmodSync(image, 0o400);
      await refuses(image, {}, 'EACCES');
    }
  });

  it('does not hang on a pipe', async () => {
    if (process.platform === 'win32') return;
    const child = spawn('mkfifo', [image]);
    await once(child, 'close');
    await refuses(image, { readOnly: true }, 'EINVAL');
    await refuses(image, {}, 'EINVAL');
  });

  it('makes a file, extends one, cuts none, and leaves nothing behind when it fails', async () => {
    await refuses(image, { create: true }, 'EINVAL');
    expect(fs.existsSync(image)).toBe(false);
    const device = await open({ create: true, sizeBytes: '1MiB' });
    expect([device.sizeBytes, fs.statSync(image).size, fs.statSync(image).mode & 0o777]).toEqual([2 ** 20, 2 ** 20, 0o600]);
    await device.close();
    const same = await open({ create: true, sizeBytes: 4096 });
    expect(same.sizeBytes).toBe(2 ** 20);
    await same.close();
    const longer = await open({ sizeBytes: '2MiB' });
    expect([longer.sizeBytes, fs.statSync(image).size]).toEqual([2 ** 21, 2 ** 21]);
    await longer.close();
    expect(fs.readdirSync(folder)).toEqual(['disk.img']);
  });

  it('lets one writer in at a time, under any name, and any number of readers', async () => {
    const device = await open({ create: true, sizeBytes: 4096 });
    const alias = path.join(folder, 'alias.img');
    fs.linkSync(image, alias);
    await refuses(image, {}, 'EBUSY');
    await refuses(alias, { io: 'threaded' }, 'EBUSY');
    const reader = await open({ readOnly: true }, alias);
    expect([reader.readOnly, reader.sizeBytes]).toEqual([true, 4096]);
    await device.close();
    const next = await open({}, alias);
    await next.close();
  });

  it('keeps other processes out too, until they are gone', async () => {
    if (process.platform !== 'linux') return;
    fs.writeFileSync(image, 'x'.repeat(512));
    const { dev, ino } = fs.statSync(image, { bigint: true });
    const name = `\\0tidemark-file-${dev}:${ino}`;
    const child = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen('${name}'.padEnd(108, '\\0'), () => console.log('held'))`,
    ]);
    await once(child.stdout, 'data');
    await refuses(image, {}, 'EBUSY');
    child.kill('SIGKILL');
    await once(child, 'close');
    await (await open({})).close();
    expect(fs.readdirSync(folder)).toEqual(['disk.img']);
  });

  it('does not hold the process by its lock', async () => {
    const before = process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length;
    const device = await open({ create: true, sizeBytes: 4096 });
    expect(process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length).toBe(before);
    await device.close();
  });

  it('refuses writes when read-only', async () => {
    fs.writeFileSync(image, 'x'.repeat(512));
    const device = await open({ readOnly: true });
    expect(await run(device, makeBio(BioOp.WRITE, 0, [[0, 512]]))).toBe(-Errno.EROFS);
    expect(await run(device, makeBio(BioOp.READ, 0, [[0, 512]]))).toBe(0);
    expect(arena.view(0, 512).every((byte) => byte === 120)).toBe(true);
  });

  it('reads into the second chunk of a large arena', async () => {
    fs.writeFileSync(image, 'y'.repeat(4096));
    const large = new Arena(2 ** 18 + 2);
    const device = new BlockDevice(await openFileDevice(large, image, { readOnly: true }));
    opened.push(device);
    const address = (2 ** 18 + 1) * PAGE_SIZE;
    expect(await run(device, makeBio(BioOp.READ, 0, [[address, PAGE_SIZE]]))).toBe(0);
    expect(large.view(address, PAGE_SIZE).every((byte) => byte === 121)).toBe(true);
  });

  it('does not discard: Node can punch no holes', async () => {
    const device = await open({ create: true, sizeBytes: 4096 });
    expect(await run(device, makeBio(BioOp.DISCARD, 0, [], 4096))).toBe(-Errno.EOPNOTSUPP);
  });

  it('carries a request to its end when its task is aborted', async () => {
    const device = await open({ create: true, sizeBytes: 4096, io: 'threaded' });
    const source = new AbortSource();
    const wait = device.submitAndWait(task.withSignal(source.signal), makeBio(BioOp.READ, 0, [[0, 4096]]));
    source.abort();
    expect(await wait).toBe(0);
  });
});

describe('the driver of file:PATH', () => {
  const driver = new FileDriver(arena);

  it('takes paths, with and without a scheme, and options', async () => {
    fs.writeFileSync(image, 'x'.repeat(512));
    for (const url of [
      image,
      `file:${image}`,
      `FILE:${image}`,
      `file://${image}`,
      `file:${image}?io=threaded`,
      `file:${image}?size=1K&create=0`,
    ]) {
      const ops = await driver.open(url, {});
      expect([url, ops.name, ops.trusted]).toEqual([url, `file:${image}`, true]);
      await ops.close();
    }
    expect(fs.statSync(image).size).toBe(1024);
    const odd = path.join(folder, 'a?b%20.img');
    const ops = await driver.open(odd, { create: true, sizeBytes: 512 });
    await ops.close();
    expect(fs.existsSync(odd)).toBe(true);
    const made = await driver.open(`file:${folder}/new.img?create=1&size=4KiB`, {});
    expect(made.sizeBytes).toBe(4096);
    await made.close();
  });

  it('refuses what it does not understand, quoting it', async () => {
    for (const url of [
      `file://host${image}`,
      `file:${image}?io=fast`,
      `file:${image}?x=1`,
      `file:${image}?create=yes`,
      'file:',
      'file:?create=1',
    ]) {
      await expect(driver.open(url, {})).rejects.toThrow(expect.objectContaining({ code: 'EINVAL' }));
    }
    await expect(driver.open(`file:${image}?size=7x`, {})).rejects.toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});
