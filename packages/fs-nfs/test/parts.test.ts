/** Parts of the server by themselves: the seal of handles, kept replies, open files, the record stream against a model. */
import { Kernel, OpenFile, type Inode, type StandingMemory } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';
import { ReceiveSlot } from '@tidemark/net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RecordStream } from '../src/rpc/record-stream.js';
import { HandleCodec } from '../src/server/file-handle.js';
import { OpenFiles } from '../src/server/open-files.js';
import { ReplyCache, Seen } from '../src/server/reply-cache.js';
import { siphash } from '../src/server/siphash.js';

describe('seals', () => {
  it('SipHash-2-4 gives the values of its reference', () => {
    const key = Uint32Array.of(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c);
    const message = new DataView(Uint8Array.from({ length: 64 }, (_, i) => i).buffer);
    const hash = new Uint32Array(2);
    const of = (length: number): string => {
      siphash(key, message, length, hash);
      return hash[1].toString(16).padStart(8, '0') + hash[0].toString(16).padStart(8, '0');
    };
    expect(of(0)).toBe('726fdb47dd0e0e31');
    expect(of(1)).toBe('74f839c593dc67fd');
    expect(of(8)).toBe('93f5f5799a932462');
    expect(of(15)).toBe('a129ca6149be45e5');
  });

  it('a handle says what was put in, to the codec of the same key only', () => {
    const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
    const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
    const mine = new HandleCodec(new Uint8Array(16).fill(3));
    const other = new HandleCodec(new Uint8Array(16).fill(4));
    fc.assert(
      fc.property(u32, u32, safe, safe, (exportId, fsid, generation, ino) => {
        const handle = mine.encode(exportId, fsid, generation, ino).slice();
        expect(mine.decode(handle)).toEqual({ exportId, fsid, generation, ino });
        expect(other.decode(handle)).toBeNull();
      }),
    );
  });
});

describe('the record stream', () => {
  it('gives each record as it was, whatever its fragments and the reads', () => {
    const slotBytes = 8192;
    const record = fc.record({
      bytes: fc.uint8Array({ maxLength: 3000 }),
      cuts: fc.array(fc.nat({ max: 600 }), { maxLength: 8 }),
      isSkipped: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(record, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1 }), (records, reads) => {
        const parts: number[] = [];
        for (const { bytes, cuts } of records) {
          let at = 0;
          for (const [i, size] of [...cuts, bytes.length].entries()) {
            const part = bytes.subarray(at, at + size);
            at += part.length;
            const isLast = i === cuts.length;
            parts.push(isLast ? 0x80 : 0, 0, part.length >> 8, part.length & 255, ...part);
          }
        }
        const wire = Uint8Array.from(parts);
        const memory = { bytes: new Uint8Array(slotBytes), address: 0 } as StandingMemory;
        const slot = new ReceiveSlot(memory);
        slot.reset();
        const stream = new RecordStream(slot, 4096);
        const got: (readonly number[])[] = [];
        const take = (): void => {
          for (; got.length < records.length; ) {
            if (records[got.length].isSkipped) {
              if (!stream.skip()) return;
              got.push([]);
            } else {
              const there = stream.gather(4096);
              if (!stream.isComplete) return;
              got.push([...slot.bytes.subarray(slot.start, slot.start + there)]);
              stream.skip();
            }
          }
        };
        for (let at = 0, i = 0; at < wire.length; i++) {
          const target = slot.target();
          const piece = wire.subarray(at, at + Math.min(reads[i % reads.length], target.length));
          target.set(piece);
          slot.received(piece.length);
          at += piece.length;
          take();
          slot.plan();
          expect(slot.takeUp()).toBe(true);
        }
        expect(got).toEqual(records.map(({ bytes, isSkipped }) => (isSkipped ? [] : [...bytes])));
      }),
      { numRuns: 300 },
    );
  });
});

describe('kept replies', () => {
  it('are as a map with a bound and an age', () => {
    const command = fc.record({ key: fc.nat({ max: 6 }), does: fc.constantFrom('look', 'end', 'wait') });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        let nowMs = 0;
        const nrEntries = 4;
        const cache = new ReplyCache({ bytes: new Uint8Array(4096) } as StandingMemory, nrEntries, () => nowMs);
        const open = new Map<string, number>();
        const done = new Map<string, number>(); // key → when
        for (const { key, does } of commands) {
          const name = `call ${key}`;
          if (does === 'wait') nowMs += 50_000;
          else if (does === 'end') {
            const entry = open.get(name);
            if (entry === undefined) continue;
            cache.end(entry, Uint8Array.of(key, 1, 2));
            open.delete(name);
            done.set(name, nowMs);
          } else if (open.has(name)) expect(cache.isInProgress(name)).toBe(true);
          else {
            expect(cache.isInProgress(name)).toBe(false);
            const seen = cache.look(name);
            if (seen === Seen.DONE) {
              expect(nowMs - (done.get(name) as number)).toBeLessThan(120_000);
              expect([...cache.replyOf(cache.entry)]).toEqual([key, 1, 2]);
            } else if (seen === Seen.NEW) {
              open.set(name, cache.entry);
              done.delete(name);
            } else expect(open.size).toBe(nrEntries);
          }
        }
      }),
    );
  });
});

describe('open files', () => {
  it('those with writes that are to come keep their places; the others give them up, and a loss is told', async () => {
    const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, memfs] });
    await kernel.mount('memfs:1MiB', '/');
    const { vfs } = kernel;
    const inodes: Inode[] = [];
    for (let i = 0; i < 4; i++) {
      await kernel.fs.promises.writeFile(`/f${i}`, 'x');
      const inode = await vfs.stat(vfs.caller(), `/f${i}`);
      if (typeof inode === 'number') throw new Error(`no file: ${inode}`);
      inodes.push(inode);
    }
    let nrLost = 0;
    const files = new OpenFiles(vfs.openFiles, 2, () => void nrLost++);
    const use = (i: number) => files.get(inodes[i]);
    const a = use(0);
    const b = use(1);
    a.nrWrites = b.nrWrites = 1;
    expect([a.isKept, b.isKept, use(0) === a]).toEqual([true, true, true]);
    const c = use(2); // both places are in use
    expect(c.isKept).toBe(false);
    files.put(c);
    expect(vfs.openFiles.has(c.file)).toBe(false);
    files.put(a);
    files.put(a);
    files.put(b);
    // What a has written was lost, as far as its opener has not heard.
    Object.defineProperty(a.file, 'takeError', { value: () => -5 });
    Object.defineProperty(inodes[1], 'pages', { value: { nrDirty: 1 }, configurable: true });
    const d = use(3);
    expect([d.isKept, nrLost, vfs.openFiles.has(a.file), vfs.openFiles.has(b.file)]).toEqual([true, 1, false, true]);
    expect(use(2).isKept).toBe(false); // d is in use, and of b something is dirty
    Reflect.deleteProperty(inodes[1], 'pages');
    inodes[1].pages = null;
    for (const open of [...vfs.openFiles] as OpenFile[]) open.release();
    await kernel.shutdown();
  });
});
