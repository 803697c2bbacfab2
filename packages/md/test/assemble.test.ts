/** Who becomes a member; what is opened, refused, declared and given back. */
import { Bio, BioOp, Kernel, PAGE_SIZE, planStack, planSizes } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import {
  createArray,
  decodeSuperblock,
  describeRaid1,
  encodeSuperblock,
  md,
  raid1Of,
  Role,
  type Superblock,
  SUPERBLOCK_OFFSET_BYTES,
} from '@tidemark/md';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Candidate, selectMembers } from '../src/array/select.js';
import { Io } from './support/array-world.js';

const UUID = new Uint8Array(16).fill(9);

function superblock(devNumber: number, events: number, roles: number[], more: Partial<Superblock> = {}): Superblock {
  return {
    setUuid: UUID,
    name: 'x:0',
    createdMs: 0,
    updatedMs: 0,
    sizeSectors: 1024,
    raidDisks: 2,
    dataOffset: 24,
    dataSectors: 1024,
    bitmapOffset: null,
    recoveryOffset: null,
    isRecoveryByBitmap: false,
    devNumber,
    deviceUuid: new Uint8Array(16).fill(devNumber),
    nrCorrectedReads: 0,
    deviceFlags: 0,
    badBlockLog: null,
    hasBadBlocks: false,
    events: BigInt(events),
    resyncOffset: null,
    roles: Uint16Array.from(roles),
    ...more,
  };
}

const candidates = (...superblocks: Superblock[]): Candidate[] => superblocks.map((each, i) => ({ name: `disk${i}`, superblock: each }));
const S = Role.SPARE;
const F = Role.FAULTY;

describe('of devices that offer themselves', () => {
  const verdictsOf = (...superblocks: Superblock[]): string[] =>
    selectMembers(candidates(...superblocks)).verdicts.map((verdict) => ('slot' in verdict ? `${verdict.as} ${verdict.slot}` : verdict.as));

  it('those are taken that the freshest knows, and that are one event behind at most', () => {
    expect(verdictsOf(superblock(0, 9, [0, 1]), superblock(1, 9, [0, 1]))).toEqual(['in-sync 0', 'in-sync 1']);
    expect(verdictsOf(superblock(0, 9, [0, 1]), superblock(1, 8, [0, 1]))).toEqual(['in-sync 0', 'in-sync 1']);
    expect(verdictsOf(superblock(0, 9, [0, 1]), superblock(1, 7, [0, 1]))).toEqual(['in-sync 0', 'refused']);
    expect(verdictsOf(superblock(0, 9, [0, F]), superblock(1, 8, [0, 1]))).toEqual(['in-sync 0', 'refused']);
    expect(verdictsOf(superblock(0, 9, [0, 1, S]), superblock(1, 9, [0, 1, S]), superblock(2, 9, [0, 1, S]))).toEqual([
      'in-sync 0',
      'in-sync 1',
      'spare',
    ]);
    expect(verdictsOf(superblock(0, 9, [0, 1]), superblock(1, 9, [0, 1], { recoveryOffset: 8 }))).toEqual(['in-sync 0', 'recovering 1']);
    // A spare that was given a slot, and was not told.
    expect(verdictsOf(superblock(0, 9, [0, 1]), superblock(1, 8, [0, S]))).toEqual(['in-sync 0', 'refused']);
  });

  it('one of another geometry, and one that is there twice, are refused; two arrays, and two halves, are an error', () => {
    expect(verdictsOf(superblock(0, 9, [0, 1]), superblock(1, 9, [0, 1], { sizeSectors: 512, dataSectors: 512 }))).toEqual([
      'in-sync 0',
      'refused',
    ]);
    expect(verdictsOf(superblock(0, 9, [0, 1]), superblock(1, 9, [0, 1], { raidDisks: 3 }))).toEqual(['in-sync 0', 'refused']);
    expect(verdictsOf(superblock(0, 9, [0, 1]), superblock(0, 8, [0, 1]))).not.toContain('in-sync 1');
    expect(() => verdictsOf(superblock(0, 9, [0, 1]), superblock(1, 9, [0, 1], { setUuid: new Uint8Array(16) }))).toThrowError(
      /belongs to array/,
    );
    expect(() => verdictsOf(superblock(0, 9, [0, F]), superblock(1, 12, [F, 1]))).toThrowError(/used without each other/);
    expect(() => selectMembers([])).toThrowError(/one device/);
  });

  it('no slot is taken twice, and nobody who missed writes is in sync', () => {
    const arbitrary = fc.array(
      fc.record({
        devNumber: fc.nat(3),
        events: fc.integer({ min: 5, max: 9 }),
        roles: fc.array(fc.constantFrom(0, 1, S, F), { minLength: 4, maxLength: 4 }),
      }),
      { minLength: 1, maxLength: 4 },
    );
    fc.assert(
      fc.property(arbitrary, (rows) => {
        const usable = rows.filter(
          ({ roles }) => new Set(roles.filter((role) => role < 2)).size === roles.filter((role) => role < 2).length,
        );
        if (usable.length === 0) return;
        const all = candidates(...usable.map(({ devNumber, events, roles }) => superblock(devNumber, events, roles)));
        let selection: ReturnType<typeof selectMembers>;
        try {
          selection = selectMembers(all);
        } catch {
          return;
        }
        const slots = selection.verdicts.flatMap((verdict) => ('slot' in verdict ? [verdict.slot] : []));
        expect(new Set(slots).size).toBe(slots.length);
        for (const [i, verdict] of selection.verdicts.entries())
          if ('slot' in verdict) expect(all[i].superblock.events).toBeGreaterThanOrEqual(selection.freshest.events - 1n);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('an array of files', () => {
  let folder: string;
  let kernel: Kernel;

  beforeEach(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-md-'));
    for (const name of ['a', 'b', 'c']) fs.writeFileSync(path.join(folder, name), new Uint8Array(2 ** 20));
    kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, md] });
  });

  afterEach(async () => {
    expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    fs.rmSync(folder, { recursive: true });
  });

  const url = (...names: string[]): string => `md:${names.map((name) => `file:${path.join(folder, name)}`).join()}`;
  const open = (name: string) => kernel.openBlockDevice(`file:${path.join(folder, name)}`);

  it('is opened by its URL, keeps what it was given, and closes its members with it', async () => {
    const devices = [await open('a'), await open('b')];
    const made = await createArray(kernel, devices, { name: 'box:1', bitmap: { chunkBytes: 4096 } });
    await raid1Of(kernel, made).waitForSync();
    const first = await Io.on(kernel, made);
    expect(await first.write(40_960, new Uint8Array(PAGE_SIZE).fill(7))).toBe(0);
    first.free();
    await made.close();
    for (const device of devices) await device.close();
    const array = await kernel.openBlockDevice(url('a', 'b'));
    expect(array.name).toBe('md:box:1');
    expect(raid1Of(kernel, array).info()).toMatchObject({
      isDegraded: false,
      resyncFromBytes: null,
      state: 'clean',
      bitmap: { nrDirty: 0 },
    });
    const io = await Io.on(kernel, array);
    expect((await io.read(40_960, PAGE_SIZE)).bytes).toEqual(new Uint8Array(PAGE_SIZE).fill(7));
    io.free();
    await array.close();
    await expect(kernel.openBlockDevice('md:')).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(kernel.openBlockDevice(url('c'))).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('is read, and not touched, when it is opened read-only', async () => {
    const made = await createArray(kernel, [await open('a'), await open('b')]);
    await made.close();
    const before = fs.readFileSync(path.join(folder, 'a'));
    const second = await Kernel.boot({ memory: '4MiB', plugins: [host, md] });
    for (const name of ['a', 'b']) fs.copyFileSync(path.join(folder, name), path.join(folder, `${name}2`));
    const array = await second.openBlockDevice(url('a2', 'b2'), { readOnly: true });
    const bio = new Bio(1).start(BioOp.WRITE, 0);
    bio.addSegment(0, 512);
    expect(await array.submitAndWait(second.task, bio)).toBe(-30);
    await expect(raid1Of(second, array).scrub('check')).rejects.toMatchObject({ code: 'EROFS' });
    expect((await second.shutdown()).problems).toEqual([]);
    expect(Buffer.compare(fs.readFileSync(path.join(folder, 'a2')), before)).toBe(0);
  });

  it('never takes a member of another array unless it is forced, nor one that is too small', async () => {
    const [a, b, c] = [await open('a'), await open('b'), await open('c')];
    const other = await createArray(kernel, [c], { name: 'other' });
    await other.close();
    const array = await createArray(kernel, [a], { raidDisks: 2 });
    const raid = raid1Of(kernel, array);
    await expect(raid.add(c)).rejects.toMatchObject({ code: 'EBUSY' });
    const small = await kernel.openBlockDevice('mem:512KiB');
    await expect(raid.add(small)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect([c.holder, small.holder]).toEqual([null, null]);
    expect(await raid.add(c, { force: true })).toBe('recovering');
    await raid.waitForSync();
    expect(await raid.add(b)).toBe('spare');
    expect(raid.info().members.map(({ state }) => state)).toEqual(['in-sync', 'in-sync', 'spare']);
    await raid.remove(b);
    expect(b.holder).toBe(null);
  });

  it('takes bios of many small segments, and refuses a block in more pieces than it can pass on', async () => {
    const array = await createArray(kernel, [await open('a'), await open('b')], { assumeEqual: true });
    const memory = await kernel.memory.allocStanding(kernel.task, 'test', 64);
    memory.bytes.forEach((_, i) => {
      memory.bytes[i] = (i * 13) & 0xff;
    });
    const run = async (op: 0 | 1, pieces: number, pieceBytes: number): Promise<number> => {
      const bio = new Bio(pieces).start(op, 8192, kernel.task);
      for (let i = 0; i < pieces; i++) bio.addSegment(memory.address + i * 2 * pieceBytes, pieceBytes); // with gaps, so that none is merged
      return array.submitAndWait(kernel.task, bio);
    };
    expect(await run(1, 256, 512)).toBe(0);
    const wanted = memory.bytes.slice();
    memory.bytes.fill(0);
    expect(await run(0, 256, 512)).toBe(0);
    for (let i = 0; i < 256; i++)
      expect(memory.bytes.subarray(i * 1024, i * 1024 + 512)).toEqual(wanted.subarray(i * 1024, i * 1024 + 512));
    expect(await run(1, 512, 4)).toBe(-22);
    memory.free();
  });

  it('declares what it takes, live and in a dry run', async () => {
    const standing = (): number => kernel.reserves.explain().standing;
    const devices = [await open('a'), await open('b')];
    const before = standing();
    const array = await createArray(kernel, devices, { bitmap: { chunkBytes: 4096 }, assumeEqual: true });
    const { nodes } = kernel.reserves.explain();
    const own = nodes.filter(({ name }) => name.includes('md:'));
    expect(own.map(({ kind, level }) => [kind, level])).toEqual([
      ['md-bitmap', 1],
      ['block-device', 2],
    ]);
    expect(own.reduce((sum, node) => sum + node.standing, 0)).toBe(standing() - before);
    const nrFrames = kernel.memory.nrFrames;
    expect(own[1].nrUnits).toBe(planSizes(nrFrames).clientUnits);
    const raw = ['a', 'b'].map((name) => ({
      name,
      kind: 'block-device',
      needs: [],
      footprint: () => ({ standing: [], unit: [], nrUnits: 1 }),
    }));
    const { nrChunks } = raid1Of(kernel, array).info().bitmap ?? { nrChunks: 0 };
    const plan = planStack({ nodes: [...describeRaid1('md:x', ['a', 'b'], { file: null, nrChunks }), ...raw], held: [] }, nrFrames);
    expect(plan.standing).toBe(standing() - before);
  });

  it('with a superblock that is damaged in any byte is refused, or starts as it was', async () => {
    const made = await createArray(kernel, [await open('a'), await open('b')], { assumeEqual: true, bitmap: true });
    await made.close();
    const page = fs.readFileSync(path.join(folder, 'a')).subarray(SUPERBLOCK_OFFSET_BYTES, SUPERBLOCK_OFFSET_BYTES + PAGE_SIZE);
    const whole = decodeSuperblock(page, 2 ** 20, 'a');
    for (let at = 0; at < 512; at++) {
      const bad = Uint8Array.from(page);
      bad[at] ^= 0x41;
      expect(() => decodeSuperblock(bad, 2 ** 20, 'a'), `byte ${at}`).toThrowError();
    }
    const again = new Uint8Array(PAGE_SIZE);
    encodeSuperblock(again, whole);
    expect(Buffer.compare(again, page)).toBe(0);
  });
});
