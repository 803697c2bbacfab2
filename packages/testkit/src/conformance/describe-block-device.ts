/** The suite for block devices: every case that what the device says of itself calls for. */
import { BioOp, type BlockDevice, Errno, PAGE_SIZE } from '@tidemark/core';
import { injectAllocationFaults } from '../faults/allocation-faults.js';
import type { Random } from '../time/random.js';
import { type BlockDeviceSubject, type BlockStage, BlockTheatre, type BlockUser } from './block-stage.js';
import { CaseList, type ConformanceCase, register, type TestRunner } from './case.js';
import type { HostedSuiteOptions } from './describe-file-system.js';
import { must, pattern, same, sameBytes } from './expect.js';
import type { BlockDeviceRule } from './rules.js';

/** Bytes of a device that are used: its beginning. */
const USED_MAX = 64 * PAGE_SIZE;

/** Cases for a block device, each named by the rule it checks. */
export function blockDeviceCases(subject: BlockDeviceSubject, options: HostedSuiteOptions): ConformanceCase[] {
  const { seed = 1, effort = 1 } = options;
  const list = new CaseList(subject.name);
  const theatre = new BlockTheatre(subject, options.afterReactions);
  const add = (rule: BlockDeviceRule, what: string, play: (stage: BlockStage) => Promise<void>, at = seed): void =>
    list.add(rule, what, () => theatre.run({ seed: at }, play));
  add('reads-what-was-written', 'first, last and neighbouring blocks, one after the other', async ({ device, user }) => {
    const block = device.blockSizeBytes;
    const last = Math.floor(device.sizeBytes / block) * block - block;
    for (const [i, at] of [0, block, 7 * block, last].entries()) {
      await wrote(user, at, pattern(block, i, at));
      sameBytes(await readAt(user, at, block), pattern(block, i, at), `block at ${at}`);
    }
    await wrote(user, 0, pattern(user.lengthMax, 9));
    sameBytes(await readAt(user, 0, user.lengthMax), pattern(user.lengthMax, 9), 'the longest request');
  });
  add('writes-touch-only-their-range', 'one block among others', async ({ device, user }) => {
    const block = device.blockSizeBytes;
    const length = Math.min(8 * block, user.lengthMax);
    const expected = pattern(length, 1);
    await wrote(user, 0, expected);
    for (let at = block; at + block <= length; at += 3 * block) {
      await wrote(user, at, pattern(block, 50, at));
      expected.set(pattern(block, 50, at), at);
    }
    sameBytes(await readAt(user, 0, length), expected, 'the range and its neighbours');
  });
  add('segments-go-in-order', 'memory in pieces of several lengths', async ({ device, user }) => {
    const block = device.blockSizeBytes;
    const cuts = [512, PAGE_SIZE, PAGE_SIZE + 1024, 2 * PAGE_SIZE + 512].filter((cut) => cut < user.lengthMax);
    const length = Math.min(3 * PAGE_SIZE, user.lengthMax);
    const bytes = pattern(length, 3);
    same(await user.write(block * 2, bytes, cuts), 0, 'write in pieces');
    sameBytes(await readAt(user, block * 2, length), bytes, 'read whole');
    const { status, bytes: read } = await user.read(block * 2, length, [512, PAGE_SIZE * 2]);
    same(status, 0, 'read in pieces');
    sameBytes(read, bytes, 'read in other pieces');
  });
  add('ends-each-request-once', 'memory is left alone afterwards', async ({ user, world }) => {
    await wrote(user, 0, pattern(PAGE_SIZE, 1));
    await readAt(user, 0, PAGE_SIZE);
    const marked = user.memory.bytes.fill(0x77);
    await world.sleep(60_000);
    must(
      marked.every((byte) => byte === 0x77),
      'memory of a request was changed after it had ended',
    );
  });
  for (let nr = 0; nr < 2 * effort; nr++)
    add('requests-do-not-mix', `random requests side by side, schedule ${seed + nr}`, sideBySide, seed + nr);
  add('refuses-what-it-cannot-do', 'outside, unaligned, not claimed', refusals);
  add('zeroes-are-zeroes', 'zeroes and discards among data', zeroes);
  add('needs-no-memory', 'reads, writes and flushes with every allocation failing', async ({ kernel, user, device }) => {
    await wrote(user, 0, pattern(user.lengthMax, 1));
    const injector = injectAllocationFaults(kernel, { mode: 'from', nth: 1 });
    try {
      for (let i = 0; i < 8; i++) {
        const bytes = pattern(PAGE_SIZE, 20 + i);
        await Promise.all([wrote(user, i * PAGE_SIZE, bytes), readAt(user, 40 * PAGE_SIZE, PAGE_SIZE)]);
        if (device.can.flush) same(await user.plain(BioOp.FLUSH), 0, 'flush');
        sameBytes(await readAt(user, i * PAGE_SIZE, PAGE_SIZE), bytes, 'read back');
      }
      same(injector.nrInjected, 0, 'frames asked for');
    } finally {
      injector.remove();
    }
  });
  add('declares-what-it-takes', 'its node, its account, and what is left when it is closed', async ({ kernel, device, user }) => {
    await kernel.writeoutNodeOf(device);
    for (let i = 0; i < 20; i++) await wrote(user, (i % 12) * PAGE_SIZE, pattern(PAGE_SIZE, i));
    for (const { name, highWater, limit, overspends } of kernel.reserves.explain().nodes)
      must(highWater <= limit && overspends === 0, `${name} had ${highWater} of ${limit} frames, and overspent ${overspends} times`);
    must(
      kernel.graph().nodes.some(({ name }) => name === device.name),
      'it has no node in the writeout graph',
    );
    await device.close();
    must(!kernel.graph().nodes.some(({ name }) => name === device.name), 'its node is left when it is closed');
  });
  add('closing-ends-what-is-in-flight', 'with requests under way, and one behind', async ({ device, user }) => {
    const ends: number[] = [];
    const requests = Array.from({ length: user.nrFree - 1 }, (_, i) =>
      user.read(i * PAGE_SIZE, PAGE_SIZE).then(({ status }) => ends.push(status)),
    );
    await device.close();
    await Promise.all(requests);
    must(
      ends.every((status) => status === 0 || status === -Errno.EIO),
      `requests ended with ${ends.join(', ')}`,
    );
    if (subject.supports.late) must(ends.includes(-Errno.EIO), 'no request was in flight: it claims to be late');
    same((await user.read(0, PAGE_SIZE)).status, -Errno.EIO, 'a read after the end');
  });
  if (subject.supports.crash) addCrashCases(list, theatre, seed, effort);
  return list.cases;
}

async function wrote(user: BlockUser, offsetBytes: number, bytes: Uint8Array): Promise<void> {
  same(await user.write(offsetBytes, bytes), 0, `write of ${bytes.length} bytes at ${offsetBytes}`);
}

async function readAt(user: BlockUser, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
  const { status, bytes } = await user.read(offsetBytes, lengthBytes);
  same(status, 0, `read of ${lengthBytes} bytes at ${offsetBytes}`);
  return bytes;
}

function usedBytes({ sizeBytes, blockSizeBytes }: BlockDevice): number {
  const used = Math.min(USED_MAX, sizeBytes);
  return used - (used % blockSizeBytes);
}

/** A range of whole blocks. */
function rangeOf(random: Random, device: BlockDevice, from: number, to: number, lengthMax: number): { at: number; length: number } {
  const block = device.blockSizeBytes;
  const nrBlocks = (to - from) / block;
  const first = random.below(nrBlocks);
  const length = 1 + random.below(Math.min(nrBlocks - first, Math.floor(lengthMax / block)));
  return { at: from + first * block, length: length * block };
}

/** Four tasks, each on a part of its own, against arrays of bytes. */
async function sideBySide({ world, device, user }: BlockStage): Promise<void> {
  const used = usedBytes(device);
  const part = Math.floor(used / 4 / device.blockSizeBytes) * device.blockSizeBytes;
  const models: Uint8Array[] = [];
  for (let nr = 0; nr < 4; nr++) {
    const model = pattern(part, 100 + nr);
    models.push(model);
    for (let at = 0; at < part; at += user.lengthMax) await wrote(user, nr * part + at, model.subarray(at, at + user.lengthMax));
  }
  await world.together(
    ...models.map((model, nr) => async (step: () => Promise<void>) => {
      const random = world.randomOf(`part ${nr}`);
      for (let i = 0; i < 30; i++) {
        const { at, length } = rangeOf(random, device, 0, part, user.lengthMax);
        if (random.chance(0.5)) {
          const bytes = pattern(length, i * 4 + nr, at);
          await wrote(user, nr * part + at, bytes);
          model.set(bytes, at);
        } else sameBytes(await readAt(user, nr * part + at, length), model.subarray(at, at + length), `part ${nr} at ${at}`);
        if (random.chance(0.1) && device.can.flush) same(await user.plain(BioOp.FLUSH), 0, 'flush');
        await step();
      }
    }),
  );
}

async function refusals({ device, user }: BlockStage): Promise<void> {
  const block = device.blockSizeBytes;
  const end = Math.floor(device.sizeBytes / block) * block;
  const page = pattern(block, 1);
  same((await user.read(end, block)).status, -Errno.EINVAL, 'read behind the end');
  same(await user.write(end, page), device.readOnly ? -Errno.EROFS : -Errno.ENOSPC, 'write behind the end');
  if (block > 1) same((await user.read(1, block)).status, -Errno.EINVAL, 'read of what is not aligned');
  if (device.readOnly) same(await user.write(0, page), -Errno.EROFS, 'write to a read-only device');
  if (!device.can.discard) same(await user.plain(BioOp.DISCARD, 0, block), -Errno.EOPNOTSUPP, 'discard');
  if (!device.can.writeZeroes) same(await user.plain(BioOp.WRITE_ZEROES, 0, block), -Errno.EOPNOTSUPP, 'write zeroes');
  if (!device.can.fua && !device.readOnly) same(await user.write(0, page, [], true), -Errno.EOPNOTSUPP, 'force unit access');
}

async function zeroes({ device, user }: BlockStage): Promise<void> {
  const block = device.blockSizeBytes;
  const length = Math.min(12 * block, user.lengthMax);
  const expected = pattern(length, 4);
  await wrote(user, 0, expected);
  const at = Math.min(block, length - block);
  const middle = Math.max(block, length - 4 * block);
  if (device.can.writeZeroes) {
    same(await user.plain(BioOp.WRITE_ZEROES, at, Math.min(3 * block, length - at)), 0, 'write zeroes');
    expected.fill(0, at, at + Math.min(3 * block, length - at));
  }
  const discarded = device.can.discard ? Math.min(2 * block, length - middle) : 0;
  if (discarded > 0) same(await user.plain(BioOp.DISCARD, middle, discarded), 0, 'discard');
  const found = await readAt(user, 0, length);
  if (discarded > 0) found.set(expected.subarray(middle, middle + discarded), middle); // anything may be there
  sameBytes(found, expected, 'zeroes, and what lies beside');
}

/** Writes at random, flushes now and then; the power goes; what was flushed must be there, block by block. */
function addCrashCases(list: CaseList, theatre: BlockTheatre, seed: number, effort: number): void {
  for (const kind of ['flush', 'fua', 'trusted'] as const) {
    const rule = (
      { flush: 'flushed-content-survives-a-crash', fua: 'fua-is-durable-when-it-ends', trusted: 'trusted-means-durable' } as const
    )[kind];
    list.add(rule, `${6 * effort} crashes`, async () => {
      for (let nr = 0; nr < 6 * effort; nr++) await crashOnce(theatre, seed + nr, kind);
    });
  }
}

async function crashOnce(theatre: BlockTheatre, seed: number, kind: 'flush' | 'fua' | 'trusted'): Promise<void> {
  let images: ReturnType<BlockStage['crash']> | null = null;
  const durable: Uint8Array[] = [];
  /** Versions written to a block since it was made durable. */
  const since: Uint8Array[][] = [];
  let block = 0;
  await theatre.run({ seed }, async ({ world, device, user, crash }) => {
    const isAsked = kind === 'flush' ? device.can.flush : kind === 'fua' ? device.can.fua : device.trusted;
    if (!isAsked) return;
    const random = world.randomOf('crash');
    block = device.blockSizeBytes;
    const nrBlocks = Math.min(16, usedBytes(device) / block);
    for (let i = 0; i < nrBlocks; i++) {
      durable.push(pattern(block, 200 + i));
      since.push([]);
      await wrote(user, i * block, durable[i]);
    }
    if (kind !== 'trusted' && device.can.flush) same(await user.plain(BioOp.FLUSH), 0, 'flush');
    for (let step = 0; step < 12; step++) {
      const i = random.below(nrBlocks);
      const bytes = pattern(block, 300 + step);
      same(await user.write(i * block, bytes, [], kind === 'fua'), 0, 'write');
      if (kind === 'flush') since[i].push(bytes);
      else durable[i] = bytes;
      if (kind !== 'flush' || !random.chance(0.25)) continue;
      same(await user.plain(BioOp.FLUSH), 0, 'flush');
      for (const [n, versions] of since.entries()) if (versions.length > 0) durable[n] = versions.splice(0).at(-1) as Uint8Array;
    }
    images = crash();
  });
  if (images === null) return;
  await theatre.run({ seed, images }, async ({ user }) => {
    for (const [i, bytes] of durable.entries()) {
      const found = await readAt(user, i * block, block);
      // Of what came later each sector may be there or not.
      for (let at = 0; at < block; at += 512) {
        const allowed = [bytes, ...since[i]].map((version) => version.subarray(at, at + 512));
        if (!allowed.some((sector) => sector.every((byte, n) => byte === found[at + n])))
          sameBytes(found.subarray(at, at + 512), allowed[0], `sector at ${i * block + at}`);
      }
    }
  });
}

/** Gives the cases of a block device to a test runner. */
export function describeBlockDevice(subject: BlockDeviceSubject, runner: TestRunner, options: HostedSuiteOptions): void {
  register(`${subject.name} keeps the rules of a block device`, blockDeviceCases(subject, options), runner);
}
