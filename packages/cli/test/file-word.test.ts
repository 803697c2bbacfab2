import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dataRuns } from '../src/files/copier.js';
import { lastName, parseFile, parseTreeFile } from '../src/files/file-word.js';
import { printable } from '../src/files/printable.js';
import { formatUuid, uuidOption } from '../src/files/uuid.js';
import { UsageError } from '../src/outcome.js';

describe('FILE', () => {
  it.each<[string, string | null, string]>([
    ['ext3:disk.img::/etc/passwd', 'ext3:disk.img', '/etc/passwd'],
    ['ext3:disk.img::/', 'ext3:disk.img', '/'],
    ['ext3:disk.img', 'ext3:disk.img', '/'],
    ['ext3:nbd://h:10809/d::/x', 'ext3:nbd://h:10809/d', '/x'],
    ['ext3:nbd://[::1]:10809/d::/x', 'ext3:nbd://[::1]:10809/d', '/x'],
    ['ext3:a::/b::/c', 'ext3:a::/b', '/c'],
    ['memfs:1MiB::/a:b', 'memfs:1MiB', '/a:b'],
    ['disk.img', null, 'disk.img'],
    ['/srv/a:b', null, '/srv/a:b'],
    ['./ext3:disk.img', null, './ext3:disk.img'],
    ['./disk.img::/x', null, './disk.img::/x'],
    ['../a::/x', null, '../a::/x'],
    ['/a::/x', null, '/a::/x'],
  ])('%s', (word, tree, path) => expect(parseFile(word)).toEqual({ tree, path }));

  it.each(['', 'a\0b', 'disk.img::/x'])('refuses %j', (word) => expect(() => parseFile(word)).toThrow(UsageError));
  it.each(['disk.img', '/etc/passwd', './ext3:disk.img'])('in a tree only: refuses %j', (word) =>
    expect(() => parseTreeFile(word)).toThrow(/is a path of the host/),
  );

  it('reads back any path without "::/" in any tree', () => {
    const path = fc.string().filter((text) => !`/${text}`.includes('::/') && !text.includes('\0'));
    const tree = fc.string().filter((text) => !text.includes('\0') && !text.endsWith(':'));
    fc.assert(
      fc.property(tree, path, (device, rest) => {
        expect(parseFile(`ext3:${device}::/${rest}`)).toEqual({ tree: `ext3:${device}`, path: `/${rest}` });
      }),
    );
  });

  it.each([
    ['/a/b', 'b'],
    ['/a/b//', 'b'],
    ['a', 'a'],
    ['/', ''],
    ['', ''],
    ['/a/.', ''],
    ['..', ''],
    ['/a/..b', '..b'],
  ])('the last name of %j is %j', (path, name) => expect(lastName(path)).toBe(name));
});

it('blocks of zeroes are left out of a chunk, and nothing else', () => {
  const block = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 255 }));
  fc.assert(
    fc.property(fc.array(block, { maxLength: 12 }), fc.nat({ max: 4095 }), (blocks, cut) => {
      const chunk = Buffer.concat(blocks.map((byte, i) => Buffer.alloc(4096).fill(byte, (i * 997) % 4096, ((i * 997) % 4096) + 1)));
      const part = chunk.subarray(0, Math.max(0, chunk.length - cut));
      const runs = [...dataRuns(part)];
      const copy = Buffer.alloc(part.length);
      for (const [from, to] of runs) part.copy(copy, from, from, to);
      expect(copy.equals(part)).toBe(true);
      for (let at = 0; at < part.length; at += 4096) {
        const isWritten = runs.some(([from, to]) => from <= at && at < to);
        expect(isWritten).toBe(part.subarray(at, at + 4096).some((byte) => byte !== 0));
      }
    }),
  );
});

it('printed names hold no control characters', () => {
  const points = fc.array(fc.nat({ max: 0x10ffff }), { maxLength: 20 });
  fc.assert(fc.property(points, (codes) => !/\p{Cc}/u.test(printable(String.fromCodePoint(...codes)))));
  expect(printable('a\x1b[1m\n\u0085b')).toBe('a\\x1b[1m\\x0a\\x85b');
});

it('uuids go there and back', () => {
  const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(fc.property(bytes, (uuid) => void expect(uuidOption('--uuid')(formatUuid(uuid))).toEqual(uuid)));
  for (const word of ['', '1234', `${'0'.repeat(32)}0`, 'g'.repeat(32)]) expect(() => uuidOption('--uuid')(word)).toThrow(UsageError);
});
