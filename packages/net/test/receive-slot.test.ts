import { Arena, type StandingMemory } from '@tidemark/core';
import { ReceiveSlot } from '@tidemark/net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

function slotOf(nrFrames: number): ReceiveSlot {
  const arena = new Arena(nrFrames);
  const memory: StandingMemory = { owner: 'test', pfn: 0, nrFrames, address: 0, bytes: arena.view(0, nrFrames * 4096), free: () => {} };
  return new ReceiveSlot(memory);
}

/** The stream's byte at `position`. */
const byteAt = (position: number): number => (position * 7 + (position >> 8)) & 0xff;

describe('receive slot', () => {
  it('begins at the front again when everything was consumed', () => {
    const slot = slotOf(2);
    slot.received(5000);
    slot.consume(5000);
    slot.plan();
    expect(slot.takeUp()).toBe(true);
    expect(slot.target()).toBe(slot.bytes); // the very object: no new view for a read
  });

  it('moves a cut header to the front when little room is left behind it', () => {
    const slot = slotOf(2);
    slot.bytes.fill(1, 8000, 8010);
    slot.received(8010);
    slot.consume(8000);
    slot.plan();
    expect(slot.takeUp()).toBe(true);
    expect([slot.start, slot.end, slot.bytes[0], slot.target().length]).toEqual([0, 10, 1, 8182]);
  });

  it('leaves held bytes alone, and says so', () => {
    const slot = slotOf(2);
    slot.received(8192);
    slot.consume(8100);
    slot.hold();
    slot.plan();
    expect(slot.takeUp()).toBe(false);
    slot.release();
    expect(slot.takeUp()).toBe(true);
    expect(slot.length).toBe(92);
  });

  it('goes on behind held bytes while half of it is free there', () => {
    const slot = slotOf(2);
    slot.received(3000);
    slot.consume(3000);
    slot.hold();
    slot.plan();
    expect(slot.takeUp()).toBe(true);
    expect(slot.target().length).toBe(8192 - 3000);
  });

  it('refuses to be given to a new socket while held, and more releases than holds', () => {
    const slot = slotOf(2);
    slot.hold();
    expect(() => slot.reset()).toThrow(/held/);
    slot.release();
    expect(() => slot.release()).toThrow(/more often/);
    expect(() => slot.consume(1)).toThrow(/more was consumed/);
  });

  it('delivers the stream in order and never touches held bytes, whatever is consumed, held and read', () => {
    const step = fc.record({
      read: fc.integer({ min: 1, max: 8192 }),
      consume: fc.integer({ min: 0, max: 8192 }),
      hold: fc.boolean(),
      release: fc.integer({ min: 0, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const slot = slotOf(2);
        let received = 0; // stream position of the next byte to arrive
        let consumed = 0; // stream position of `slot.start`
        let reading = true;
        const held: { at: number; length: number; position: number }[] = [];
        for (const { read, consume, hold, release } of steps) {
          if (reading) {
            const target = slot.target();
            const length = Math.min(read, target.length);
            expect(length).toBeGreaterThan(0); // an empty buffer would stop the host for good
            for (let i = 0; i < length; i++) target[i] = byteAt(received + i);
            received += length;
            slot.received(length);
          }
          for (let i = slot.start; i < slot.end; i++) {
            if (slot.bytes[i] !== byteAt(consumed + i - slot.start)) throw new Error(`byte ${i} of the slot is not the stream's`);
          }
          const length = Math.min(consume, slot.length);
          if (hold && length > 0) {
            held.push({ at: slot.start, length, position: consumed });
            slot.hold();
          }
          slot.consume(length);
          consumed += length;
          if (reading) slot.plan();
          for (let n = Math.min(release, held.length); n > 0; n--) {
            held.shift();
            slot.release();
          }
          reading = slot.takeUp();
          expect(received - consumed).toBe(slot.length);
          for (const piece of held) {
            for (let i = 0; i < piece.length; i++) {
              if (slot.bytes[piece.at + i] !== byteAt(piece.position + i)) throw new Error('a held byte was overwritten');
            }
          }
        }
        while (held.pop() !== undefined) slot.release();
        slot.consume(slot.length);
        expect(reading || slot.takeUp()).toBe(true); // nothing in the way: it always goes on
      }),
      { numRuns: 500 },
    );
  });
});
