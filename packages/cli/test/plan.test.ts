/**
 * `tidemark reserves plan`: the dry run against the real stack, over real sockets and files. What is planned as the smallest memory holds the
 * working set, one frame less is refused.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Kernel, PAGE_SIZE, planLeast, planStack } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { ext3 } from '@tidemark/fs-ext3';
import { nbd } from '@tidemark/nbd/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startNbdStack, startStack, withStack } from '../src/stack.js';
import { describeStack } from '../src/stack-description.js';
import { run, start } from './command.js';

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-plan-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const boot = (nrFrames: number) => Kernel.boot({ memory: nrFrames * PAGE_SIZE, plugins: [host, swap, nbd, ext3] });

/** Holds as much of a working set of zeroes and 64 other pages as a user would, in `nrFrames`, and reads the 64 back. */
async function useNbdStack(nrFrames: number, workingSetBytes: number): Promise<void> {
  const kernel = await boot(nrFrames);
  try {
    await startNbdStack(kernel, fs.mkdtempSync(path.join(folder, 'x')), workingSetBytes);
    const buffer = await PagedBuffer.create(kernel, { sizeBytes: workingSetBytes });
    const plan = planStack(describeStack('nbd', workingSetBytes), nrFrames);
    const { nodes, ...live } = kernel.reserves.explain();
    const shape = (list: readonly { level: number; standing: number; limit: number; terms: unknown }[]) =>
      list.map(({ level, standing, limit, terms }) => ({ level, standing, limit, terms }));
    expect(shape(nodes)).toEqual(shape(plan.nodes));
    const { standing, reserved, min, low, high } = plan;
    expect(live).toMatchObject({ standing, reserved, min, low, high });
    const bytes = Uint8Array.from({ length: Math.min(workingSetBytes, 64 * PAGE_SIZE) }, (_, i) => i % 251);
    const at = workingSetBytes - bytes.length;
    await buffer.write(at, bytes);
    const got = new Uint8Array(bytes.length);
    await buffer.read(at, got);
    expect(Buffer.compare(got, bytes)).toBe(0);
    buffer.close();
  } finally {
    await kernel.shutdown();
  }
}

describe('the smallest memory', () => {
  it('of swap over nbd is enough for any working set, and one frame less is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.integer({ min: 1, max: 2 ** 24 }), fc.integer({ min: 1, max: 2 ** 33 })), async (workingSetBytes) => {
        const { total } = planLeast(describeStack('nbd', workingSetBytes));
        await useNbdStack(total, workingSetBytes);
        await expect(useNbdStack(total - 1, workingSetBytes)).rejects.toMatchObject({ code: 'ENOMEM' });
      }),
      { numRuns: 12 },
    );
  }, 60_000);

  // What a mount keeps in slabs goes by whole frames, so that a frame less may do as well: the plan is enough, and says what stands to the frame.
  it.each([1, 2_000_000])('of swap in a file of ext3 over nbd is enough for %i bytes', { timeout: 60_000 }, async (workingSetBytes) => {
    const description = describeStack('ext3', workingSetBytes);
    const { total, nodes, ...plan } = planLeast(description);
    const kernel = await boot(total);
    try {
      await startStack(kernel, 'ext3', folder, workingSetBytes);
      const buffer = await PagedBuffer.create(kernel, { sizeBytes: workingSetBytes });
      const { nodes: live, ...sums } = kernel.reserves.explain();
      const shape = (list: typeof nodes) => list.map(({ level, standing, limit, terms }) => ({ level, standing, limit, terms }));
      expect(shape(live)).toEqual(shape(nodes));
      const { standing, reserved, min, low, high } = plan;
      expect(sums).toMatchObject({ standing, reserved, min, low, high });
      const page = new Uint8Array(PAGE_SIZE);
      const nrPages = Math.floor(workingSetBytes / PAGE_SIZE);
      for (let i = 0; i < nrPages; i++) await buffer.write(i * PAGE_SIZE, page.fill(i));
      for (let i = 0; i < nrPages; i++) {
        await buffer.read(i * PAGE_SIZE, page);
        if (page.some((byte) => byte !== (i & 0xff))) throw new Error(`page ${i} is not what it was`);
      }
      expect(kernel.vmstat()).toMatchObject({ reserve_unfunded: 0, reserve_overspent: 0 });
      buffer.close();
    } finally {
      expect((await kernel.shutdown()).problems).toEqual([]);
    }
  });

  it.each(['swap:mem:64MiB', 'mem:1MiB', 'FILE', 'swap:FILE'])('of %s boots it', async (word) => {
    const file = path.join(folder, 'swap.img');
    const workingSetBytes = 2 ** 24;
    const stack = word.replace('FILE', file);
    const description = describeStack(stack, workingSetBytes);
    fs.writeFileSync(file, Buffer.alloc(0));
    fs.truncateSync(file, (workingSetBytes / PAGE_SIZE + 257) * PAGE_SIZE);
    if (word === 'swap:FILE') expect((await run('swap', 'init', file)).code).toBe(0);
    const { total, nodes } = planLeast({ ...description, held: [] });
    const kernel = await boot(total);
    await withStack(kernel, stack, workingSetBytes, () => expect(kernel.reserves.explain().nodes).toMatchObject(nodes));
    const refused = async (): Promise<void> => withStack(await boot(total - 1), stack, workingSetBytes, () => {});
    await expect(refused()).rejects.toMatchObject({ code: 'ENOMEM' });
  });
});

describe('reserves plan', () => {
  it('starts nothing: no file is made, no socket, no device looked at', async () => {
    const { code, stdout } = await start(['reserves', 'plan', 'swap:nbd://nowhere.invalid/x'], { TMPDIR: '/nowhere' }).ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(/^smallest memory: \d+ KiB \(\d+ frames\)$/m);
    expect((await run('reserves', 'plan', path.join(folder, 'missing.img'))).code).toBe(0);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('prints one object with documented keys, and the demo runs in what it says', async () => {
    const words = ['--working-set', '8MiB', '--json'];
    const plan = JSON.parse((await run('reserves', 'plan', 'nbd', ...words)).stdout);
    expect(plan).toMatchObject({ fits: true, memoryBytes: plan.smallestMemoryBytes, required: plan.total, nodes: expect.any(Array) });
    expect(Object.keys(plan).sort()).toEqual([
      'atomic',
      'fits',
      'held',
      'high',
      'largest',
      'low',
      'memoryBytes',
      'min',
      'nodes',
      'required',
      'reserved',
      'smallestMemoryBytes',
      'standing',
      'total',
    ]);
    const enough = await run('demo', '--memory', String(plan.smallestMemoryBytes), ...words);
    expect(enough.code).toBe(0);
  });

  it('is right for ext3, too: the demo runs on it in what it says', { timeout: 120_000 }, async () => {
    const words = ['--working-set', '4MiB', '--json'];
    const { smallestMemoryBytes } = JSON.parse((await run('reserves', 'plan', 'ext3', ...words)).stdout);
    const { code, stdout, stderr } = await run('demo', '--stack', 'ext3', '--memory', String(smallestMemoryBytes), ...words);
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ stack: 'ext3', verified: true, workingSetBytes: 4 * 2 ** 20, unfundedAllocations: 0 });
  });

  it('says whether a given memory is enough, by its exit code too', async () => {
    const fits = await run('reserves', 'plan', 'nbd', '--memory', '8MiB');
    expect(fits.code).toBe(0);
    expect(fits.stdout).toMatch(/^it fits, with \d+ frames to spare$/m);
    const short = await run('reserves', 'plan', 'nbd', '--memory', '512KiB');
    expect(short.code).toBe(1);
    expect(short.stdout).toMatch(/^it does not fit: \d+ frames short$/m);
    expect(short.stderr).toMatch(/^tidemark: nbd does not fit: \d+ frames short\n$/);
    const object = await run('reserves', 'plan', 'nbd', '--memory', '512KiB', '--json');
    expect(object.code).toBe(1);
    expect(JSON.parse(object.stdout)).toMatchObject({ fits: false, memoryBytes: 512 * 1024 });
  });

  it('names what takes most', async () => {
    const { stdout } = await run('reserves', 'plan', 'nbd', '--working-set', '1GiB');
    expect(stdout).toMatch(/^largest need: 257 frames for cells of swap:nbd:/m);
  });
});
