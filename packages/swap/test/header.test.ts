/** The swap header: byte for byte util-linux's, and nothing wrong is accepted. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isKernelError, PAGE_SIZE } from '@tidemark/core';
import {
  encodeSwapHeader,
  formatSwap,
  formatUuid,
  MAX_BAD_PAGES,
  parseSwapHeader,
  parseUuid,
  readSwapHeader,
  type SwapHeaderFields,
} from '@tidemark/swap';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { errorOf, MIB, SwapWorld } from './support/swap-world.js';

const UUID = '01234567-89ab-cdef-0123-456789abcdef';
/** The full path of one of util-linux's tools, or null. */
const tool = (name: string): string | null =>
  ['/usr/sbin', '/sbin', '/usr/bin', '/bin'].map((dir) => `${dir}/${name}`).find(existsSync) ?? null;
const mkswap = tool('mkswap');
const swaplabel = tool('swaplabel');
const blkid = tool('blkid');
const folder = mkdtempSync(join(tmpdir(), 'tidemark-header-'));
afterAll(() => rmSync(folder, { recursive: true }));

const label = fc.string({ unit: fc.constantFrom(...'abcXYZ 0189-_.äß€'), maxLength: 8 }).filter((text) => Buffer.byteLength(text) <= 15);
const fields: fc.Arbitrary<SwapHeaderFields> = fc
  .tuple(fc.integer({ min: 9, max: 0xffff_ffff }), fc.uint8Array({ minLength: 16, maxLength: 16 }), label, fc.nat(MAX_BAD_PAGES))
  .chain(([lastPage, uuid, text, nrBad]) =>
    fc.uniqueArray(fc.integer({ min: 1, max: lastPage }), { maxLength: Math.min(nrBad, lastPage - 1) }).map((badPages) => ({
      lastPage,
      uuid,
      label: text,
      badPages,
    })),
  );

/** Swaps the bytes of every 32-bit field, as a machine of the other byte order writes them. */
function swapFields(page: Uint8Array, nrBad: number): void {
  for (const at of [1024, 1028, 1032, ...Array.from({ length: nrBad }, (_, i) => 1536 + 4 * i)]) page.subarray(at, at + 4).reverse();
}

function valid(): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  encodeSwapHeader(page, { lastPage: 255, uuid: parseUuid(UUID), label: 'testlabel' });
  return page;
}

describe('the swap header', () => {
  it('reads as what was written, in either byte order, and leaves the boot bits alone', () => {
    fc.assert(
      fc.property(fields, fc.boolean(), fc.nat(255), (wanted, isSwapped, boot) => {
        const page = new Uint8Array(PAGE_SIZE).fill(boot);
        encodeSwapHeader(page, wanted);
        if (isSwapped) swapFields(page, wanted.badPages?.length ?? 0);
        expect(page.subarray(0, 1024).every((byte) => byte === boot)).toBe(true);
        expect(parseSwapHeader(page, wanted.lastPage + 1, 'disk')).toEqual({
          lastPage: wanted.lastPage,
          uuid: formatUuid(wanted.uuid),
          label: wanted.label,
          badPages: wanted.badPages,
          isSwapped,
        });
      }),
    );
  });

  const put =
    (offset: number, ...values: number[]) =>
    (page: Uint8Array) => {
      const view = new DataView(page.buffer);
      for (const [i, value] of values.entries()) view.setUint32(offset + 4 * i, value, true);
    };
  const text = (value: string) => (page: Uint8Array) => page.set(Buffer.from(value, 'latin1'), PAGE_SIZE - 10);
  const all =
    (...changes: ((page: Uint8Array) => unknown)[]) =>
    (page: Uint8Array) => {
      for (const change of changes) change(page);
    };
  it.each([
    ['no signature', (page: Uint8Array) => page.fill(0, PAGE_SIZE - 10), 4086],
    ['one byte of the signature', (page: Uint8Array) => page.fill(0x33, PAGE_SIZE - 1), 4086],
    ['the signature of version 0', text('SWAP-SPACE'), 4086],
    ['a suspended machine', text('S1SUSPEND\0'), 4086],
    ['version 0', put(1024, 0), 1024],
    ['version 2', put(1024, 2), 1024],
    ['last page 0', put(1028, 0), 1028],
    ['last page past the end', put(1028, 256), 1028],
    ['last page far past the end', put(1028, 0xffff_ffff), 1028],
    ['638 bad pages', put(1032, 638), 1032],
    ['4 billion bad pages', put(1032, 0xffff_ffff), 1032],
    ['bad page 0', put(1032, 1), 1536],
    ['a bad page past the last', all(put(1032, 2), put(1536, 5, 256)), 1540],
    ['a bad page twice', all(put(1032, 2), put(1536, 5, 5)), 1540],
    ['nothing but bad pages', all(put(1028, 3), put(1032, 3), put(1536, 1, 2, 3)), 1032],
  ])('with %s is refused, field and offset named', (_what, change, offset) => {
    const page = valid();
    change(page);
    try {
      parseSwapHeader(page, 256, 'disk');
      expect.unreachable();
    } catch (error) {
      expect(isKernelError(error) && error.code).toBe('EINVAL');
      expect((error as Error).message).toMatch(/^EINVAL: disk is no swap area: /);
      expect(isKernelError(error) && error.details).toMatchObject({ offsetBytes: offset });
    }
  });

  it('of random bytes is refused or sound, and never anything else', () => {
    const patch = fc.array(fc.tuple(fc.constantFrom(1024, 1028, 1032, 1036, 1052, 1536, 1540, 4086), fc.nat(15), fc.nat(255)), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(patch, fc.nat(300), (changes, sizePages) => {
        const page = valid();
        for (const [at, plus, value] of changes) if (at + plus < PAGE_SIZE) page[at + plus] = value;
        try {
          const header = parseSwapHeader(page, sizePages, 'disk');
          expect(header.lastPage >= 1 && header.lastPage < sizePages).toBe(true);
          expect(header.badPages.length).toBeLessThan(header.lastPage);
          expect(/\p{C}/u.test(header.label)).toBe(false);
        } catch (error) {
          if (!isKernelError(error)) throw error;
          expect(error.code).toBe('EINVAL');
        }
      }),
    );
  });

  it.each([
    ['a label of 16 bytes', { label: '0123456789abcdef' }],
    ['a label of 8 characters and 16 bytes', { label: 'ääääääää' }],
    ['a label with a NUL', { label: 'a\0b' }],
    ['a label that is no text', { label: 'a\ud800' }],
    ['a short uuid', { uuid: new Uint8Array(15) }],
    ['bad page 0', { badPages: [0] }],
    ['a bad page past the last', { badPages: [256] }],
    ['a bad page twice', { badPages: [3, 3] }],
    ['half a bad page', { badPages: [1.5] }],
    ['last page 0', { lastPage: 0 }],
    ['a last page of more than 32 bits', { lastPage: 2 ** 32 }],
    ['nothing but bad pages', { lastPage: 2, badPages: [1, 2] }],
  ])('cannot be made with %s, and nothing is written', (_what, wrong) => {
    const page = new Uint8Array(PAGE_SIZE).fill(7);
    expect(() => encodeSwapHeader(page, { lastPage: 255, uuid: parseUuid(UUID), ...wrong })).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    expect(page.every((byte) => byte === 7)).toBe(true);
  });
});

describe('swap headers of util-linux', () => {
  it.skipIf(mkswap === null)('are byte for byte ours (mkswap)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 10, max: 3000 }), fc.uint8Array({ minLength: 16, maxLength: 16 }), label, (pages, uuid, text) => {
        const path = join(folder, 'area');
        writeFileSync(path, new Uint8Array(pages * PAGE_SIZE), { mode: 0o600 });
        execFileSync(mkswap as string, ['-p', '4096', '-U', formatUuid(uuid), ...(text === '' ? [] : ['-L', text]), path], {
          stdio: 'ignore',
        });
        const theirs = readFileSync(path).subarray(0, PAGE_SIZE);
        const ours = new Uint8Array(PAGE_SIZE);
        encodeSwapHeader(ours, { lastPage: pages - 1, uuid, label: text });
        expect(Buffer.compare(theirs.subarray(1024), ours.subarray(1024))).toBe(0);
        expect(parseSwapHeader(theirs, pages, 'theirs')).toMatchObject({ label: text, uuid: formatUuid(uuid), lastPage: pages - 1 });
      }),
      { numRuns: 12 },
    );
  });

  it.skipIf(swaplabel === null || blkid === null)('are what swaplabel and blkid take ours for', async () => {
    const world = await SwapWorld.boot('1MiB');
    const { ops, device } = world.device({ sizeBytes: MIB });
    await world.run(formatSwap(world.kernel, device, { label: 'tide mark', uuid: UUID }));
    const path = join(folder, 'ours');
    writeFileSync(path, ops.peek(0, MIB), { mode: 0o600 });
    const shown = execFileSync(swaplabel as string, [path], { encoding: 'utf8' });
    expect(shown).toMatch(/LABEL:\s*tide mark/);
    expect(shown).toContain(UUID);
    const probed = execFileSync(blkid as string, ['-p', '-o', 'export', path], { encoding: 'utf8' });
    expect(probed).toContain('TYPE=swap');
    expect(probed).toContain(`UUID=${UUID}`);
    await world.shutdown();
  });
});

describe('formatting', () => {
  it('is durable, keeps the boot bits, and refuses a suspended machine unless forced', async () => {
    const world = await SwapWorld.boot('1MiB');
    const { ops, device } = world.device({ sizeBytes: MIB, trusted: false });
    ops.poke(0, new Uint8Array(1024).fill(0x42));
    const header = await world.run(formatSwap(world.kernel, device, { label: 'x' }));
    ops.loseUnflushed();
    expect(ops.peek(0, 1024).every((byte) => byte === 0x42)).toBe(true);
    expect(await world.run(readSwapHeader(world.kernel, device))).toEqual(header);
    expect(header.uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const page = ops.peek(0, PAGE_SIZE);
    page.set(Buffer.from('LINHIB0001'), PAGE_SIZE - 10);
    ops.poke(0, page);
    const error = await errorOf(() => world.run(formatSwap(world.kernel, device)));
    expect([error.code, error.message.includes('LINHIB0001')]).toEqual(['EBUSY', true]);
    await world.run(formatSwap(world.kernel, device, { force: true }));
    expect((await world.run(readSwapHeader(world.kernel, device))).label).toBe('');
    for (const uuid of ['', 'xyz', `${UUID}0`, UUID.slice(1)])
      expect((await errorOf(() => world.run(formatSwap(world.kernel, device, { uuid })))).code).toBe('EINVAL');
    expect((await world.shutdown()).leakedFrames).toBe(0);
  });
});
