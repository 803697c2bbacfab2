import {
  andThen,
  Bitmap,
  Errno,
  type ErrnoName,
  errnoName,
  errnoOf,
  errorFrom,
  formatSize,
  invariant,
  isKernelError,
  isPromise,
  KernelError,
  parseSize,
  TracePoints,
} from '@tidemark/core';
import fc from 'fast-check';
import os from 'node:os';
import { describe, expect, it } from 'vitest';

describe('errno', () => {
  it('has the numbers of the host, which are those of Linux here', () => {
    if (process.platform !== 'linux') return;
    const host = os.constants.errno as Record<string, number>;
    let nrKnown = 0;
    for (const [name, number] of Object.entries(Errno)) {
      if (!(name in host)) continue;
      expect([name, number]).toEqual([name, host[name]]);
      nrKnown++;
    }
    expect(nrKnown).toBeGreaterThan(25);
  });

  it('names each number, with either sign, and gives it back', () => {
    for (const name of Object.keys(Errno) as ErrnoName[]) {
      expect(errnoName(Errno[name])).toBe(name);
      expect(errnoName(-Errno[name])).toBe(name);
      const error = errorFrom(-Errno[name], 'doing this to that', { offset: 7 });
      expect(error.code).toBe(name);
      expect(error.errno).toBe(-Errno[name]);
      expect(error.message).toBe(`${name}: doing this to that`);
      expect(error.details.offset).toBe(7);
      expect(errnoOf(error)).toBe(-Errno[name]);
    }
    expect(errnoName(9999)).toBe('EIO');
  });

  it('is a negative number for whatever was thrown', () => {
    fc.assert(fc.property(fc.anything(), (thrown) => errnoOf(thrown) === -Errno.EIO));
    expect(errnoOf({ code: 'ENOSPC' })).toBe(-Errno.ENOSPC);
    expect(errnoOf({ code: 'toString' })).toBe(-Errno.EIO);
    expect(errnoOf(new Error('no code'))).toBe(-Errno.EIO);
  });

  it('recognises a KernelError of another copy of the package, and nothing else', () => {
    const foreign = Object.assign(new Error('x'), { [Symbol.for('tidemark.KernelError')]: true });
    expect(isKernelError(foreign)).toBe(true);
    expect(isKernelError(new KernelError('EIO', 'x'))).toBe(true);
    for (const other of [null, undefined, 1, 'EIO', new Error('x'), {}]) expect(isKernelError(other)).toBe(false);
  });

  it('keeps the cause', () => {
    const cause = new Error('below');
    expect(new KernelError('EIO', 'above', { cause }).cause).toBe(cause);
    expect('cause' in new KernelError('EIO', 'above')).toBe(false);
  });

  it('has invariants that throw', () => {
    expect(() => invariant(false, 'this holds')).toThrow('this holds');
    invariant(true, 'this holds');
  });
});

describe('size', () => {
  it('reads what it should', () => {
    for (const [text, bytes] of [
      ['1', 1],
      ['4096', 4096],
      ['8MiB', 2 ** 23],
      ['8M', 2 ** 23],
      [' 1K ', 1024],
      ['2TiB', 2 ** 41],
      [7, 7],
    ] as const) {
      expect(parseSize(text)).toBe(bytes);
    }
  });

  it('reads back every size it could have been given', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4095 }),
        fc.constantFrom(['', 1], ['K', 2 ** 10], ['MiB', 2 ** 20], ['G', 2 ** 30], ['TiB', 2 ** 40]),
        (n, [unit, bytes]) => {
          expect(parseSize(`${n}${unit}`)).toBe(n * (bytes as number));
        },
      ),
    );
  });

  it('refuses everything else with EINVAL that quotes it', () => {
    const bad = [
      '',
      '0',
      '-1',
      '1.5M',
      '8 MiB',
      '8mb',
      'MiB',
      '1e3',
      '0x10',
      '99999999T',
      0,
      -1,
      1.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 53,
    ];
    for (const size of bad) {
      expect(() => parseSize(size, 'memory')).toThrow(
        expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining('memory') }),
      );
    }
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          const bytes = parseSize(text);
          expect(Number.isSafeInteger(bytes) && bytes > 0).toBe(true);
        } catch (error) {
          expect(isKernelError(error)).toBe(true);
        }
      }),
    );
  });

  it('is shown so that people can read it', () => {
    expect(formatSize(12)).toBe('12 B');
    expect(formatSize(8 * 2 ** 20)).toBe('8 MiB');
    expect(formatSize(1.5 * 2 ** 30)).toBe('1.5 GiB');
    expect(formatSize(2 ** 52)).toBe('4096 TiB');
  });
});

describe('values that may not be there yet', () => {
  it('go on at once if they are, later if not', async () => {
    expect(isPromise(1)).toBe(false);
    expect(isPromise(null as unknown)).toBe(false);
    expect(isPromise(Promise.resolve(1))).toBe(true);
    expect(andThen(1, (n) => n + 1)).toBe(2);
    const later = andThen(Promise.resolve(1), (n) => n + 1);
    expect(isPromise(later)).toBe(true);
    expect(await later).toBe(2);
  });
});

describe('Bitmap', () => {
  it('behaves as a set of bits, and touches nothing outside its words', () => {
    const command = fc.record({ op: fc.constantFrom('set', 'clear', 'zero', 'one', 'count'), a: fc.nat(299), b: fc.nat(300) });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.nat(3),
        fc.array(command, { maxLength: 60, size: 'max' }),
        (nrBits, firstWord, commands) => {
          const words = new Uint32Array(firstWord + Math.ceil(nrBits / 32) + 2).fill(0xdeadbeef);
          words.fill(0, firstWord, firstWord + Math.ceil(nrBits / 32));
          const bitmap = new Bitmap(words, firstWord, nrBits);
          const model = new Set<number>();
          const find = (from: number, to: number, want: boolean): number => {
            for (let i = from; i < to; i++) if (model.has(i) === want) return i;
            return -1;
          };
          for (const { op, a, b } of commands) {
            const bit = a % nrBits;
            const to = b % (nrBits + 1);
            if (op === 'set') {
              bitmap.set(bit);
              model.add(bit);
            } else if (op === 'clear') {
              bitmap.clear(bit);
              model.delete(bit);
            } else if (op === 'zero') expect(bitmap.findNextZero(bit, to)).toBe(find(bit, to, false));
            else if (op === 'one') expect(bitmap.findNextSet(bit, to)).toBe(find(bit, to, true));
            else expect(bitmap.count(bit, to)).toBe([...model].filter((i) => i >= bit && i < to).length);
            expect(bitmap.test(bit)).toBe(model.has(bit));
          }
          expect(bitmap.count()).toBe(model.size);
          expect(bitmap.findNextSet()).toBe(find(0, nrBits, true));
          expect(bitmap.findNextZero()).toBe(find(0, nrBits, false));
          for (let i = 0; i < firstWord; i++) expect(words[i]).toBe(0xdeadbeef);
          for (let i = firstWord + Math.ceil(nrBits / 32); i < words.length; i++) expect(words[i]).toBe(0xdeadbeef);
        },
      ),
    );
  });

  it('counts and finds right at every pair of borders', () => {
    for (const isSet of [() => true, () => false, (i: number) => i % 3 === 0]) {
      const bitmap = Bitmap.create(97);
      for (let i = 0; i < 97; i++) if (isSet(i)) bitmap.set(i);
      for (let from = 0; from <= 97; from++) {
        for (let to = from; to <= 97; to++) {
          const within = Array.from({ length: to - from }, (_, i) => from + i);
          const want = [within.filter(isSet).length, within.find(isSet) ?? -1, within.find((i) => !isSet(i)) ?? -1];
          const got = [bitmap.count(from, to), bitmap.findNextSet(from, to), bitmap.findNextZero(from, to)];
          if (got.join() !== want.join()) expect([from, to, got]).toEqual([from, to, want]);
        }
      }
    }
  });

  it('can have words of its own', () => {
    const bitmap = Bitmap.create(65);
    bitmap.set(64);
    expect(bitmap.findNextSet()).toBe(64);
    expect(bitmap.words.length).toBe(3);
  });
});

describe('TracePoints', () => {
  it('are enabled while somebody listens', () => {
    const trace = new TracePoints();
    const seen: number[] = [];
    const listener = ({ nrFree }: { nrFree: number }) => void seen.push(nrFree);
    trace.emit('kswapd', { state: 'wake', nrFree: 1 });
    expect(trace.enabled).toBe(false);
    trace.on('kswapd', listener);
    expect(trace.enabled).toBe(true);
    trace.emit('kswapd', { state: 'wake', nrFree: 2 });
    trace.off('kswapd', () => {});
    expect(trace.enabled).toBe(true);
    trace.off('kswapd', listener);
    expect(trace.enabled).toBe(false);
    trace.emit('kswapd', { state: 'wake', nrFree: 3 });
    expect(seen).toEqual([2]);
  });
});
