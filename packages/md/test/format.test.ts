/** Superblocks and bitmaps to the byte: against the layout as it is written down, against damage of every field, and against mdadm. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { isKernelError, Kernel, PAGE_SIZE } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import {
  assembleArray,
  type BitmapSuperblock,
  createArray,
  decodeBitmapSuperblock,
  decodeSuperblock,
  encodeBitmapSuperblock,
  encodeSuperblock,
  md,
  raid1Of,
  Role,
  type Superblock,
} from '@tidemark/md';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Io } from './support/array-world.js';

const DEVICE_BYTES = 64 * 2 ** 20;
const UUID = Uint8Array.from({ length: 16 }, (_, i) => i);

const SAMPLE: Superblock = {
  setUuid: UUID,
  name: 'box:0',
  createdMs: 1_700_000_000_123,
  updatedMs: 1_700_000_001_456,
  sizeSectors: 129_024,
  raidDisks: 2,
  dataOffset: 2048,
  dataSectors: 129_024,
  bitmapOffset: 8,
  recoveryOffset: null,
  isRecoveryByBitmap: false,
  devNumber: 1,
  deviceUuid: UUID.map((byte) => byte + 0x20),
  nrCorrectedReads: 0,
  deviceFlags: 0,
  badBlockLog: { shift: 0, sectors: 8, offsetSectors: 16 },
  hasBadBlocks: false,
  events: 17n,
  resyncOffset: null,
  roles: new Uint16Array(128).fill(Role.SPARE).fill(0, 0, 1).fill(1, 1, 2),
};

const BITMAP: BitmapSuperblock = {
  uuid: UUID,
  events: 17n,
  eventsCleared: 16n,
  syncSectors: 129_024,
  state: 0,
  chunkBytes: 65_536,
  daemonSeconds: 5,
  writeBehind: 0,
  reservedSectors: 0,
};

function encoded(superblock: Superblock): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  encodeSuperblock(page, superblock);
  return page;
}

/** The checksum again, from its description: 32-bit words added up, the carries added in. */
function checksum(page: Uint8Array): number {
  const view = new DataView(page.buffer, page.byteOffset);
  let sum = 0n;
  for (let at = 0; at < 256 + 2 * view.getUint32(220, true); at += 4) sum += at === 216 ? 0n : BigInt(view.getUint32(at, true));
  return Number(((sum & 0xffff_ffffn) + (sum >> 32n)) & 0xffff_ffffn);
}

/** A page with some bytes changed, and the checksum right again. */
function changed(page: Uint8Array, offset: number, bytes: readonly number[]): Uint8Array {
  const copy = page.slice();
  copy.set(bytes, offset);
  if (new DataView(copy.buffer).getUint32(220, true) <= 1920) new DataView(copy.buffer).setUint32(216, checksum(copy), true);
  return copy;
}

const le32 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff];

describe('a superblock', () => {
  it('is laid out as version 1.2 is', () => {
    const page = encoded(SAMPLE);
    const view = new DataView(page.buffer);
    expect(view.getUint32(0, true)).toBe(0xa92b4efc);
    expect(view.getUint32(8, true)).toBe(1);
    expect([...page.subarray(16, 32)]).toEqual([...UUID]);
    expect(String.fromCharCode(...page.subarray(32, 38))).toBe('box:0\0');
    expect(view.getBigUint64(64, true) & 0xff_ffff_ffffn).toBe(1_700_000_000n);
    expect(view.getBigUint64(64, true) >> 40n).toBe(123_000n);
    expect([view.getInt32(72, true), view.getUint32(92, true), view.getInt32(96, true)]).toEqual([1, 2, 8]);
    expect([view.getBigUint64(80, true), view.getBigUint64(128, true), view.getBigUint64(144, true)]).toEqual([129_024n, 2048n, 8n]);
    expect(view.getBigUint64(208, true)).toBe(0xffff_ffff_ffff_ffffn);
    expect([view.getUint16(256, true), view.getUint16(258, true), view.getUint16(260, true)]).toEqual([0, 1, 0xffff]);
    expect(view.getUint32(216, true)).toBe(checksum(page));
  });

  it('comes back as it was written', () => {
    fc.assert(
      fc.property(
        fc.record({
          events: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
          resyncOffset: fc.option(fc.nat(129_024)),
          recoveryOffset: fc.option(fc.nat(129_024)),
          isRecoveryByBitmap: fc.boolean(),
          devNumber: fc.nat(127),
          nrCorrectedReads: fc.nat(),
          bitmapOffset: fc.option(fc.constant(8)),
        }),
        (fields) => {
          const superblock = { ...SAMPLE, ...fields, isRecoveryByBitmap: fields.recoveryOffset !== null && fields.isRecoveryByBitmap };
          expect(decodeSuperblock(encoded(superblock), DEVICE_BYTES, 'x')).toEqual(superblock);
        },
      ),
    );
  });

  it('is refused when a field is wrong, naming it; an unknown feature, level or version is not supported', () => {
    const page = encoded(SAMPLE);
    const rows: [number, number[], string, string][] = [
      [0, [0], 'EINVAL', 'no md superblock'],
      [4, le32(0), 'EOPNOTSUPP', 'version 0'],
      [8, le32(5), 'EOPNOTSUPP', 'feature map 0x5'],
      [8, le32(0x8001), 'EOPNOTSUPP', 'feature map'],
      [12, le32(1), 'EUCLEAN', 'offset 12'],
      [72, le32(5), 'EOPNOTSUPP', 'level 5'],
      [76, le32(1), 'EUCLEAN', 'layout'],
      [80, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 'EUCLEAN', 'offset 80'],
      [80, [0, 0, 0, 0], 'EUCLEAN', 'offset 80'],
      [92, le32(0), 'EUCLEAN', 'offset 92'],
      [92, le32(4000), 'EUCLEAN', 'offset 92'],
      [96, le32(-8), 'EUCLEAN', 'offset 96'],
      [96, le32(4000), 'EUCLEAN', 'offset 96'],
      [104, [1], 'EUCLEAN', 'offset 104'],
      [128, le32(4), 'EUCLEAN', 'offset 128'],
      [136, le32(1), 'EUCLEAN', 'offset 136'],
      [136, le32(999_999), 'EUCLEAN', 'offset 136'],
      [144, le32(16), 'EUCLEAN', 'offset 144'],
      [160, le32(128), 'EUCLEAN', 'offset 160'],
      [186, [9, 0], 'EUCLEAN', 'bad block log'],
      [188, le32(8), 'EUCLEAN', 'offset 188'],
      [188, le32(100_000), 'EUCLEAN', 'offset 188'],
      [220, le32(1921), 'EUCLEAN', 'offset 220'],
      [230, [1], 'EUCLEAN', 'offset 230'],
      [258, [0, 0], 'EUCLEAN', 'two devices in slot 0'],
      [258, [7, 0], 'EUCLEAN', 'role 7'],
    ];
    for (const [offset, bytes, code, what] of rows) {
      expect(() => decodeSuperblock(changed(page, offset, bytes), DEVICE_BYTES, 'x'), `${offset}: ${bytes}`).toThrowError(
        expect.objectContaining({ code, message: expect.stringContaining(what) as string }) as Error,
      );
    }
    const flipped = page.slice();
    flipped[200] ^= 1;
    expect(() => decodeSuperblock(flipped, DEVICE_BYTES, 'x')).toThrowError(/checksum/);
  });

  it('of any bytes is read, or refused with an error of the kernel', () => {
    const page = encoded(SAMPLE);
    fc.assert(
      fc.property(fc.nat(511), fc.uint8Array({ minLength: 1, maxLength: 8 }), (offset, bytes) => {
        try {
          decodeSuperblock(changed(page, offset, [...bytes]), DEVICE_BYTES, 'x');
        } catch (error) {
          expect(isKernelError(error)).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a bitmap', () => {
  it('has its fields where they belong, and comes back', () => {
    const page = new Uint8Array(PAGE_SIZE).fill(0xff);
    encodeBitmapSuperblock(page, BITMAP);
    expect(String.fromCharCode(...page.subarray(0, 4))).toBe('bitm');
    expect(new DataView(page.buffer).getUint32(52, true)).toBe(65_536);
    expect(page[256]).toBe(0xff);
    expect(decodeBitmapSuperblock(page, PAGE_SIZE, 'x')).toEqual(BITMAP);
  });

  it('is refused when a field is wrong', () => {
    const page = new Uint8Array(PAGE_SIZE);
    encodeBitmapSuperblock(page, BITMAP);
    const rows: [number, number[], string][] = [
      [0, [0], 'EINVAL'],
      [4, le32(3), 'EOPNOTSUPP'],
      [4, le32(5), 'EOPNOTSUPP'],
      [4, le32(6), 'EOPNOTSUPP'],
      [40, le32(0), 'EUCLEAN'],
      [40, le32(2 ** 31 - 1), 'EUCLEAN'],
      [48, le32(1), 'EUCLEAN'],
      [52, le32(256), 'EUCLEAN'],
      [52, le32(65_535), 'EUCLEAN'],
      [52, le32(0), 'EUCLEAN'],
      [56, le32(0), 'EUCLEAN'],
      [60, le32(16_384), 'EUCLEAN'],
      [68, le32(1), 'EUCLEAN'],
    ];
    for (const [offset, bytes, code] of rows) {
      const bad = page.slice();
      bad.set(bytes, offset);
      expect(() => decodeBitmapSuperblock(bad, PAGE_SIZE, 'x'), `${offset}: ${bytes}`).toThrowError(
        expect.objectContaining({ code }) as Error,
      );
    }
  });
});

const hasMdadm = (() => {
  try {
    execFileSync('mdadm', ['--version'], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
})();

describe.runIf(hasMdadm)('mdadm, of what we wrote', () => {
  let folder: string;
  let kernel: Kernel;

  beforeEach(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-md-'));
    kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, md] });
  });

  afterEach(async () => {
    await kernel.shutdown();
    fs.rmSync(folder, { recursive: true });
  });

  const examine = (...args: string[]): string => execFileSync('mdadm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const field = (text: string, name: string): string => new RegExp(`${name} : (.*)`).exec(text)?.[1].trim() ?? `no ${name}`;

  /** What mdadm says of the bitmap of a member: from a regular file it takes the bitmap alone. */
  function examineBitmap(member: string): string {
    const file = path.join(folder, 'bitmap');
    fs.writeFileSync(file, fs.readFileSync(member).subarray(8192, 8192 + 65_536));
    return examine('--examine-bitmap', file);
  }

  async function files(nr: number): Promise<string[]> {
    const names = Array.from({ length: nr }, (_, i) => path.join(folder, `disk${i}`));
    for (const name of names) fs.writeFileSync(name, '');
    for (const name of names) fs.truncateSync(name, DEVICE_BYTES);
    return names;
  }

  it('finds the members whole, and agrees on every field', async () => {
    const names = await files(2);
    const devices = await Promise.all(names.map((name) => kernel.openBlockDevice(`file:${name}`)));
    const array = await createArray(kernel, devices, { name: 'box:7', bitmap: { chunkBytes: 65_536 }, assumeEqual: true, uuid: UUID });
    await array.close();
    for (const [i, name] of names.entries()) {
      const text = examine('--examine', name);
      expect(field(text, 'Version')).toBe('1.2');
      expect(field(text, 'Array UUID')).toBe('00010203:04050607:08090a0b:0c0d0e0f');
      expect(field(text, 'Name')).toContain('box:7');
      expect(field(text, 'Raid Level')).toBe('raid1');
      expect(field(text, 'State')).toBe('clean');
      expect(field(text, 'Checksum')).toMatch(/- correct$/);
      expect(field(text, 'Internal Bitmap')).toBe('8 sectors from superblock');
      expect(field(text, 'Device Role')).toBe(`Active device ${i}`);
      expect(field(text, 'Array State')).toMatch(/^AA /);
      const bitmap = examineBitmap(name);
      expect(field(bitmap, 'UUID')).toBe('00010203:04050607:08090a0b:0c0d0e0f');
      expect(field(bitmap, 'Chunksize')).toMatch(/^64 KB/);
      expect(field(bitmap, 'State')).toBe('OK');
      expect(field(bitmap, 'Bitmap')).toMatch(/^1008 bits \(chunks\), 0 dirty/);
      expect(Number(field(bitmap, 'Events'))).toBeGreaterThanOrEqual(Number(field(text, 'Events')));
    }
  });

  it('reads a bitmap in a file', async () => {
    const names = await files(3);
    const devices = await Promise.all(names.map((name) => kernel.openBlockDevice(`file:${name}`)));
    const array = await createArray(kernel, devices.slice(0, 2), { assumeEqual: true });
    await raid1Of(kernel, array).addBitmap({ file: devices[2] }, { chunkBytes: 1_048_576, daemonSeconds: 7 });
    const io = await Io.on(kernel, array);
    await io.write(3 * 1_048_576 - 2048, new Uint8Array(PAGE_SIZE).fill(7));
    io.free();
    const text = examine('--examine-bitmap', names[2]);
    expect(field(text, 'Daemon')).toMatch(/^7s flush period/);
    expect(field(text, 'Bitmap')).toMatch(/^63 bits \(chunks\), 2 dirty/);
  });

  it('counts the dirty bits of an array that was not stopped, degraded as it is', async () => {
    const names = await files(2);
    const devices = await Promise.all(names.map((name) => kernel.openBlockDevice(`file:${name}`)));
    const array = await createArray(kernel, devices, { bitmap: { chunkBytes: 65_536 }, assumeEqual: true });
    const io = await Io.on(kernel, array);
    for (const chunk of [0, 1, 5, 900]) expect(await io.write(chunk * 65_536, new Uint8Array(PAGE_SIZE).fill(7))).toBe(0);
    await raid1Of(kernel, array).fail(devices[1]);
    const copy = path.join(folder, 'copy');
    fs.copyFileSync(names[0], copy);
    io.free();
    const text = examine('--examine', copy);
    expect(field(text, 'State')).toBe('active');
    expect(field(text, 'Array State')).toMatch(/^A\. /);
    expect(field(examineBitmap(copy), 'Bitmap')).toMatch(/^1008 bits \(chunks\), 4 dirty/);
    // The power went there: the copy starts degraded, with its four chunks known.
    const again = await Kernel.boot({ memory: '4MiB', plugins: [host, md] });
    const device = await again.openBlockDevice(`file:${copy}`);
    const raid = raid1Of(again, await assembleArray(again, [device], { degraded: true }));
    expect(raid.info()).toMatchObject({ isDegraded: true, bitmap: { nrDirty: 4, nrNeeded: 4 } });
    expect((await again.shutdown()).problems).toEqual([]);
  });
});
