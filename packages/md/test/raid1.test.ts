/** An array in use: every byte reads back, members hold the same, and what fails costs redundancy, never data. */
import { BioOp, Errno, PAGE_SIZE, WRITE_AGAIN } from '@tidemark/core';
import { assembleArray, createArray, decodeSuperblock, raid1Of, SUPERBLOCK_OFFSET_BYTES } from '@tidemark/md';
import type { Scenario } from '@tidemark/testkit';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { array, bootBox, bytesOf, disk, disks, Io, KIB, sameData } from './support/array-world.js';

const command = 'npx vitest run packages/md/test/raid1.test.ts';
const BITMAP = { chunkBytes: 4 * KIB };
/** Where data begin on disks this small. */
const DATA_BYTES = 24 * 512;

function scenario(name: string, run: Scenario['run']): Scenario {
  return { name, run };
}

async function once(run: Scenario['run'], seed = 2): Promise<void> {
  const outcome = await simulate(scenario('once', run), { seed });
  if (outcome.verdict !== 'completes') throw outcome.error ?? new Error(JSON.stringify(outcome.reports, null, 1));
}

const page = (tag: number): Uint8Array => new Uint8Array(PAGE_SIZE).map((_, i) => (tag * 31 + i * 7) & 0xff);

describe('an array', () => {
  it('is resynced when it is new, writes to all members, and reads back', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { members, device, raid } = await array(box, 2, { bitmap: BITMAP });
      await raid.waitForSync();
      expect(raid.info()).toMatchObject({ isDegraded: false, resyncFromBytes: null, state: 'clean' });
      const io = await Io.on(box.kernel, device);
      for (let i = 0; i < 8; i++) expect(await io.write(i * 3 * PAGE_SIZE, page(i))).toBe(0);
      for (let i = 0; i < 8; i++) expect((await io.read(i * 3 * PAGE_SIZE, PAGE_SIZE)).bytes).toEqual(page(i));
      expect(await io.flush()).toBe(0);
      const [a, b] = members.map(({ ops }) => ops.image);
      expect(sameData(a, b, DATA_BYTES, device.sizeBytes)).toBe(true);
      expect(bytesOf(a, DATA_BYTES + 3 * PAGE_SIZE, PAGE_SIZE)).toEqual(page(1));
      io.free();
    }));

  it('is active while it is written to, clean 200 ms later, and its bitmap empty after three intervals', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { members, device, raid } = await array(box, 2, { bitmap: { ...BITMAP, daemonSeconds: 1 }, assumeEqual: true });
      const superblock = (i: number) => decodeSuperblock(bytesOf(members[i].ops.image, SUPERBLOCK_OFFSET_BYTES, PAGE_SIZE), 256 * KIB, 'x');
      const io = await Io.on(box.kernel, device);
      await io.write(0, page(1));
      expect(raid.info().state).toBe('active');
      expect([superblock(0).resyncOffset, superblock(1).resyncOffset]).toEqual([0, 0]);
      expect(raid.info().bitmap?.nrDirty).toBe(1);
      const { events } = superblock(0);
      await world.sleep(300);
      expect(raid.info().state).toBe('clean');
      expect([superblock(0).resyncOffset, superblock(1).resyncOffset]).toEqual([null, null]);
      expect(superblock(1).events).toBe(events + 1n);
      expect(raid.info().bitmap?.nrDirty).toBe(1);
      await world.sleep(4000);
      expect(raid.info().bitmap?.nrDirty).toBe(0);
      expect(bytesOf(members[0].ops.image, 8192 + 256, 64)).toEqual(new Uint8Array(64));
      io.free();
    }));

  it('goes on without a member that fails, and the other says so before the write ends', () =>
    once(async (world) => {
      const box = await bootBox(world);
      let isBroken = false;
      const [a, b] = [disk(box, 'a'), disk(box, 'b', { fault: ({ op }) => (isBroken && op !== 0 ? -Errno.EIO : 0) })];
      const device = await createArray(box.kernel, [a.device, b.device], { bitmap: BITMAP, assumeEqual: true });
      const raid = raid1Of(box.kernel, device);
      const io = await Io.on(box.kernel, device);
      await io.write(0, page(1));
      isBroken = true;
      expect(await io.write(PAGE_SIZE, page(2))).toBe(0);
      expect(raid.info().members.map(({ state }) => state)).toEqual(['in-sync', 'faulty']);
      const left = decodeSuperblock(bytesOf(a.ops.image, SUPERBLOCK_OFFSET_BYTES, PAGE_SIZE), 256 * KIB, 'a');
      expect(left.roles[1]).toBe(0xfffe);
      expect(raid.info().bitmap).toMatchObject({ nrNeeded: 1 });
      // The last one does not fail, whatever it does.
      await expect(raid.fail('a')).rejects.toMatchObject({ code: 'EBUSY' });
      await world.sleep(60_000);
      expect(raid.info().bitmap?.nrDirty).toBe(2); // what the other may have lost of the first is not known
      io.free();
    }));

  it('takes a member back by the bitmap, and a fresh one as a whole', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { members, device, raid } = await array(box, 2, { bitmap: BITMAP, assumeEqual: true });
      const io = await Io.on(box.kernel, device);
      for (let i = 0; i < 4; i++) await io.write(i * PAGE_SIZE, page(i));
      await raid.fail('b');
      await raid.remove('b');
      await io.write(10 * PAGE_SIZE, page(10));
      expect(await raid.add(members[1].device)).toBe('re-added');
      const done = await raid.waitForSync();
      expect(done).toMatchObject({ action: 'recovery' });
      expect(done?.doneBytes).toBeLessThan(device.sizeBytes / 4);
      expect(raid.info().isDegraded).toBe(false);
      expect(sameData(members[0].ops.image, members[1].ops.image, DATA_BYTES, device.sizeBytes)).toBe(true);
      await raid.fail('a');
      await raid.remove('a');
      await io.write(20 * PAGE_SIZE, page(20));
      const fresh = disk(box, 'c');
      expect(await raid.add(fresh.device)).toBe('recovering');
      expect((await raid.waitForSync())?.doneBytes).toBe(device.sizeBytes);
      expect(sameData(members[1].ops.image, fresh.ops.image, DATA_BYTES, device.sizeBytes)).toBe(true);
      expect((await raid.scrub('check')).nrMismatchSectors).toBe(0);
      io.free();
    }));

  it('has a spare take the place of a member that fails', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { members, device, raid } = await array(box, 3, { raidDisks: 2, assumeEqual: true });
      const io = await Io.on(box.kernel, device);
      await io.write(0, page(3));
      await raid.fail('a');
      await raid.waitForSync();
      expect(raid.info()).toMatchObject({ isDegraded: false });
      expect(raid.info().members.map(({ state }) => state)).toEqual(['faulty', 'in-sync', 'in-sync']);
      expect(sameData(members[1].ops.image, members[2].ops.image, DATA_BYTES, device.sizeBytes)).toBe(true);
      io.free();
    }));

  it('reads what one member cannot from another, and writes it anew', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const bad = new Set([DATA_BYTES + 2 * PAGE_SIZE]);
      const fault = ({ op, offsetBytes, lengthBytes }: { op: number; offsetBytes: number; lengthBytes: number }) => {
        const hits = [...bad].filter((at) => at < offsetBytes + lengthBytes && offsetBytes <= at);
        if (op === 1) for (const at of hits) bad.delete(at);
        return op === 0 && hits.length > 0 ? -Errno.EIO : 0;
      };
      const [a, b] = [disk(box, 'a', { fault }), disk(box, 'b')];
      const device = await createArray(box.kernel, [a.device, b.device], { assumeEqual: true });
      const io = await Io.on(box.kernel, device);
      for (let i = 0; i < 4; i++) await io.write(i * PAGE_SIZE, page(i));
      bad.add(DATA_BYTES + 2 * PAGE_SIZE);
      expect((await io.read(0, 4 * PAGE_SIZE)).bytes.subarray(2 * PAGE_SIZE, 3 * PAGE_SIZE)).toEqual(page(2));
      expect(raid1Of(box.kernel, device).info().members[0]).toMatchObject({ state: 'in-sync', nrCorrectedReads: 1 });
      expect(bad.size).toBe(0);
      io.free();
    }));

  it('scrubs: check counts what differs, repair makes it equal', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const [a, b] = disks(box, 2);
      const spoil = await Io.on(box.kernel, b.device);
      const device = await createArray(box.kernel, [a.device, b.device], { assumeEqual: true });
      const raid = raid1Of(box.kernel, device);
      await spoil.write(DATA_BYTES + 5 * PAGE_SIZE, page(9));
      expect((await raid.scrub('check')).nrMismatchSectors).toBe(8);
      expect((await raid.scrub('repair')).nrMismatchSectors).toBe(8);
      expect((await raid.scrub('check')).nrMismatchSectors).toBe(0);
      expect(sameData(a.ops.image, b.ops.image, DATA_BYTES, device.sizeBytes)).toBe(true);
      spoil.free();
    }));

  it('starts degraded only if told to, never with a member that missed writes, and never two halves', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { members, device, raid } = await array(box, 2, { assumeEqual: true });
      const io = await Io.on(box.kernel, device);
      await io.write(0, page(1));
      await raid.fail('b');
      await io.write(0, page(2));
      io.free();
      await device.close();
      const [a, b] = members.map((member) => member.device);
      await expect(assembleArray(box.kernel, [b])).rejects.toMatchObject({ code: 'ENXIO' });
      const again = await assembleArray(box.kernel, [a, b], { degraded: true });
      expect(
        raid1Of(box.kernel, again)
          .info()
          .refused.map(({ name }) => name),
      ).toEqual(['b']);
      const reader = await Io.on(box.kernel, again);
      expect((await reader.read(0, PAGE_SIZE)).bytes).toEqual(page(2));
      reader.free();
      await again.close();
      const other = await assembleArray(box.kernel, [b], { degraded: true });
      await other.close();
      await expect(assembleArray(box.kernel, [a, b], { degraded: true })).rejects.toMatchObject({ code: 'EINVAL' });
    }));

  it('resyncs no faster than it is told to, tells how far it is, and goes on where it was stopped', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const members = disks(box, 2).map((member) => member.device);
      const slow = { start: { syncBytesPerSecond: 50_000 } };
      const device = await createArray(box.kernel, members, slow);
      const raid = raid1Of(box.kernel, device);
      await world.sleep(2_000);
      const { sync } = raid.info();
      expect(sync).toMatchObject({ action: 'resync', sizeBytes: device.sizeBytes });
      expect(sync?.positionBytes).toBeGreaterThan(50_000);
      expect(sync?.positionBytes).toBeLessThanOrEqual(150_000);
      await device.close();
      const again = raid1Of(box.kernel, await assembleArray(box.kernel, members, { syncBytesPerSecond: 50_000 }));
      expect(again.info().resyncFromBytes).toBeGreaterThanOrEqual(sync?.positionBytes ?? 0);
      const begunMs = world.nowMs;
      const done = await again.waitForSync();
      expect(done?.doneBytes).toBeLessThan(device.sizeBytes - 50_000);
      expect(world.nowMs - begunMs).toBeGreaterThan(((done?.doneBytes ?? 0) / 50_000 - 1.1) * 1000);
      expect(again.info().resyncFromBytes).toBe(null);
    }));

  it('makes the bits of writes that come together durable by one flush', () =>
    once(async (world) => {
      const box = await bootBox(world, { memory: 4096 * PAGE_SIZE });
      let nrFlushes = 0;
      const count = ({ op }: { op: number }): 0 => {
        if (op === BioOp.FLUSH) nrFlushes++;
        return 0;
      };
      const { device, raid } = await array(box, 2, { assumeEqual: true });
      const file = disk(box, 'file', { can: { fua: false }, fault: count });
      await raid.addBitmap({ file: file.device }, BITMAP);
      const first = await Io.on(box.kernel, device);
      await first.write(0, page(1)); // the array is active
      nrFlushes = 0;
      const all = await Promise.all(Array.from({ length: 16 }, () => Io.on(box.kernel, device, 1)));
      await Promise.all(all.map((io, i) => io.write((i + 1) * 2 * PAGE_SIZE, page(i))));
      expect(nrFlushes).toBe(1);
      expect(raid.info().bitmap?.nrDirty).toBe(17);
      for (const io of [first, ...all]) io.free();
    }));

  it('lets a member go that lost what it had acknowledged, and takes it back by the bitmap; from the last one its user is told', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { members, device, raid } = await array(box, 2, { bitmap: BITMAP, assumeEqual: true });
      const io = await Io.on(box.kernel, device);
      for (let i = 0; i < 6; i++) await io.write(i * PAGE_SIZE, page(i));
      members[1].ops.loseUnflushed(true);
      expect(await io.flush()).toBe(0);
      expect(raid.info().members[1].state).toBe('faulty');
      await raid.remove('b');
      expect(await raid.add(members[1].device)).toBe('re-added');
      await raid.waitForSync();
      expect(sameData(members[0].ops.image, members[1].ops.image, DATA_BYTES, device.sizeBytes)).toBe(true);
      await raid.fail('b');
      await io.write(0, page(7));
      members[0].ops.loseUnflushed(true);
      await world.sleep(500); // a flush of the array's own is told first
      expect(await io.flush()).toBe(WRITE_AGAIN);
      await io.write(0, page(7));
      expect(await io.flush()).toBe(0);
      expect(raid.info()).toMatchObject({ isDegraded: true, state: 'active' });
      io.free();
    }));

  it('says of a recovery only what is durable, whatever its superblock is written for', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { members, raid, device } = await array(box, 2, { raidDisks: 3, assumeEqual: true }, { sizeBytes: 1024 * KIB });
      const io = await Io.on(box.kernel, device);
      for (let at = 0; at + 65_536 <= device.sizeBytes; at += 65_536) await io.write(at, new Uint8Array(65_536).fill(1 + (at >> 16)));
      await world.sleep(1000);
      const fresh = disk(box, 'c', { sizeBytes: 1024 * KIB, bytesPerMs: 20_000 });
      await raid.add(fresh.device);
      let nrSaid = 0;
      let isOver = false;
      const source = members[0].ops.image;
      world.afterEachEvent(() => {
        if (isOver || !world.random.chance(0.1)) return;
        for (const image of fresh.ops.crashes(2)) {
          const { recoveryOffset } = decodeSuperblock(bytesOf(image, SUPERBLOCK_OFFSET_BYTES, PAGE_SIZE), 1024 * KIB, 'c');
          if (recoveryOffset === null || recoveryOffset === 0) continue;
          nrSaid++;
          expect(sameData(source, image, DATA_BYTES, recoveryOffset * 512)).toBe(true);
        }
      });
      for (let n = 0; n < 8; n++) {
        await world.sleep(3);
        if (n === 4) await raid.fail('b');
        else await io.write(n * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(1)); // what is there already: it only makes the array active
      }
      await raid.waitForSync();
      isOver = true;
      expect(nrSaid).toBeGreaterThan(20);
      io.free();
    }));

  it('is written to where it is being resynced, and its members are equal afterwards', async () => {
    await explore(
      scenario('writes during resync', async (world) => {
        const box = await bootBox(world);
        const { device, raid } = await array(box, 2, {}, { sizeBytes: 64 * KIB });
        const io = await Io.on(box.kernel, device);
        for (let n = 0; raid.info().sync !== null; n++) {
          const at = (raid.info().sync?.positionBytes ?? 0) + PAGE_SIZE * world.random.below(2);
          if (at < device.sizeBytes) expect(await io.write(at, page(n))).toBe(0);
          else await world.sleep(0.1);
          world.progress();
        }
        await raid.waitForSync();
        expect((await raid.scrub('check')).nrMismatchSectors).toBe(0);
        io.free();
      }),
      { nrSeeds: 20, command },
    );
  });

  it('leaves nothing behind, under random schedules', async () => {
    await explore(
      scenario('load', async (world) => {
        const box = await bootBox(world);
        const { members, device, raid } = await array(box, 3, { bitmap: BITMAP });
        const io = await Promise.all([Io.on(box.kernel, device), Io.on(box.kernel, device)]);
        const model = new Map<number, Uint8Array>();
        await world.together(
          ...io.map((each, nr) => async (step: () => Promise<void>) => {
            const random = world.randomOf(`task ${nr}`);
            for (let n = 0; n < 30; n++) {
              const index = random.below(20) * 2 + nr;
              const bytes = page(nr * 1000 + n);
              expect(await each.write(index * PAGE_SIZE, bytes)).toBe(0);
              model.set(index, bytes);
              world.progress();
              await step();
              expect(Buffer.compare((await each.read(index * PAGE_SIZE, PAGE_SIZE)).bytes, bytes)).toBe(0);
            }
          }),
          async (step) => {
            await step();
            await raid.fail('b');
            await raid.remove('b');
            await raid.add(members[1].device);
          },
        );
        await raid.waitForSync();
        for (const [index, bytes] of model) expect(Buffer.compare((await io[0].read(index * PAGE_SIZE, PAGE_SIZE)).bytes, bytes)).toBe(0);
        for (const each of io) each.free();
        expect(raid.info().isDegraded).toBe(false);
        const images = members.map(({ ops }) => ops.image);
        expect(sameData(images[0], images[1], DATA_BYTES, device.sizeBytes)).toBe(true);
        expect(sameData(images[0], images[2], DATA_BYTES, device.sizeBytes)).toBe(true);
      }),
      { nrSeeds: 20, command },
    );
  });
});
