import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHUNK_BYTES, Source } from '../src/demo/source.js';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-source-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** A file of `sizeBytes`, all of its bytes different from their neighbours. */
function fileOf(sizeBytes: number): string {
  const file = path.join(folder, `input-${sizeBytes}`);
  fs.writeFileSync(file, Buffer.from(Array.from({ length: sizeBytes }, (_, i) => (i * 31 + (i >> 8)) & 255)));
  return file;
}

/** The whole source, chunk by chunk in `order`, copied. */
function contentOf(source: Source, order: Iterable<number>): Buffer {
  const all = Buffer.alloc(source.sizeBytes);
  for (const index of order) all.set(source.chunk(index), index * CHUNK_BYTES);
  return all;
}

describe('the demo’s source', () => {
  it('gives every chunk again, alone and in any order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 1, max: 5 * CHUNK_BYTES }), (seed, sizeBytes) => {
        const source = Source.open(fileOf(1000), sizeBytes, seed);
        const forward = contentOf(source, Array(source.nrChunks).keys());
        const shuffled = contentOf(source, source.shuffledChunks());
        source.close();
        expect(Buffer.compare(forward, shuffled)).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  it.each([1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 5 * CHUNK_BYTES])(
    'starts with the input, of %i bytes',
    (inputBytes) => {
      const file = fileOf(inputBytes);
      const source = Source.open(file, 3 * CHUNK_BYTES + 77, 1);
      const without = Source.open(fileOf(0), 3 * CHUNK_BYTES + 77, 1);
      const content = contentOf(source, Array(source.nrChunks).keys());
      const derived = contentOf(without, Array(source.nrChunks).keys());
      const input = fs.readFileSync(file).subarray(0, content.length);
      expect(source.inputBytes).toBe(input.length);
      expect(Buffer.compare(content.subarray(0, input.length), input)).toBe(0);
      expect(Buffer.compare(content.subarray(input.length), derived.subarray(input.length))).toBe(0);
      source.close();
      without.close();
    },
  );

  it('derives other bytes for another seed and another chunk, and no page of zeroes', () => {
    const seen = new Set<string>();
    for (const seed of [0, 1, 2 ** 32 - 1]) {
      const source = Source.open(fileOf(0), 4 * CHUNK_BYTES, seed);
      const content = contentOf(source, Array(4).keys());
      for (let at = 0; at < content.length; at += 4096) seen.add(content.toString('latin1', at, at + 4096));
      source.close();
    }
    expect(seen.size).toBe(3 * 4 * 16);
    expect(seen.has('\0'.repeat(4096))).toBe(false);
  });

  it('shuffles: every chunk once, not in order, the same for the same seed', () => {
    const orderOf = (seed: number, chunks: number) => {
      const source = Source.open(fileOf(0), chunks * CHUNK_BYTES, seed);
      const order = [...source.shuffledChunks()];
      source.close();
      return order;
    };
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 300 }), (seed, chunks) => {
        expect(orderOf(seed, chunks).sort((a, b) => a - b)).toEqual([...Array(chunks).keys()]);
      }),
      { numRuns: 20 },
    );
    const long = 40_000; // more draws than one stream of the generator holds
    expect([...orderOf(1, long)].sort((a, b) => a - b)).toEqual([...Array(long).keys()]);
    expect(orderOf(1, 300)).toEqual(orderOf(1, 300));
    expect(orderOf(1, 300)).not.toEqual(orderOf(2, 300));
    expect(orderOf(1, 300)).not.toEqual([...Array(300).keys()]);
  });

  it('says so when the input is no file, is missing, or becomes shorter', () => {
    expect(() => Source.open(folder, CHUNK_BYTES, 1)).toThrow(expect.objectContaining({ code: 'EISDIR' }));
    expect(() => Source.open(path.join(folder, 'none'), CHUNK_BYTES, 1)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    const file = fileOf(500);
    const source = Source.open(file, CHUNK_BYTES, 1);
    fs.truncateSync(file, 100);
    expect(() => source.chunk(0)).toThrow(expect.objectContaining({ code: 'EIO' }));
    source.close();
  });
});
