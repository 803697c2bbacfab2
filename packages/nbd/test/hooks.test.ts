import {
  type BlockDevice,
  type Kernel,
  resolveEach,
  SWAP_HOOKS,
  type SwapHooks,
  WRITE_AGAIN,
  WRITEOUT_HOOK,
  type WriteoutHook,
} from '@tidemark/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ScriptedServer } from './scripted-server.js';
import { bootWorld, expectClean, patterned, type World } from './support.js';

let world: World;
let kernel: Kernel;
let server: ScriptedServer;
let device: BlockDevice;
let swap: SwapHooks;
let writeout: WriteoutHook;
const pfns = new Uint32Array(16);

beforeEach(async () => {
  world = await bootWorld();
  kernel = world.kernel;
  server = await ScriptedServer.start({ sizeBytes: 2 ** 20, blockSizes: { min: 512, preferred: 4096, max: 65536 } });
  device = await kernel.openBlockDevice(server.uri);
  swap = resolveEach(kernel.container, SWAP_HOOKS).find((hooks) => hooks.claims(device)) as SwapHooks;
  writeout = resolveEach(kernel.container, WRITEOUT_HOOK).find((hook) => hook.claims(device)) as WriteoutHook;
});

afterEach(async () => {
  await device.close();
  await server.stop();
  await expectClean(world);
});

/** Sixteen scattered frames, each with its own pattern, in `pfns`. */
async function withFrames(use: () => Promise<void>): Promise<void> {
  const memory = await kernel.memory.allocStanding(kernel.task, 'test frames', 16);
  for (let i = 0; i < 16; i++) {
    pfns[i] = memory.pfn + ((i * 5) % 16);
    kernel.memory.arena.copyIn(pfns[i], 0, patterned(4096, i), 0, 4096);
  }
  await use();
  memory.free();
}

const page = (index: number): Buffer => server.bytes.subarray(index * 4096, (index + 1) * 4096);

describe('the hooks of the package', () => {
  it('claim its devices and no others', async () => {
    const ram = await kernel.openBlockDevice('mem:1MiB');
    expect([swap.name, writeout.name]).toEqual(['nbd', 'nbd']);
    expect([swap.claims(ram), writeout.claims(ram), swap.claims({})]).toEqual([false, false, false]);
    expect(kernel.swapHooksOf(device, device.name)).toBe(swap);
    expect(kernel.writeoutHookOf(device, device.name)).toBe(writeout);
  });

  it('swap pages out and in through a pinned file', async () => {
    const pinned = await swap.swapActivate(kernel.task, device, { user: 'test', nrUnits: 8 });
    expect(pinned).toMatchObject({ name: server.uri, sizePages: 256, trusted: false });
    expect(device.holder).toBe('test');
    await withFrames(async () => {
      expect(await pinned.swapOut(kernel.task, 7, pfns, 0, 16)).toBe(0);
      for (let i = 0; i < 16; i++) expect(page(7 + i).equals(patterned(4096, i))).toBe(true);
      for (let i = 0; i < 16; i++) kernel.memory.arena.zero(pfns[i]);
      expect(await pinned.swapIn(kernel.task, 10, pfns, 3, 13)).toBe(0);
      const read = new Uint8Array(4096);
      for (let i = 3; i < 16; i++) {
        kernel.memory.arena.copyOut(pfns[i], 0, read, 0, 4096);
        expect(Buffer.from(read).equals(patterned(4096, i))).toBe(true);
      }
      expect(await pinned.flush(kernel.task)).toBe(0);
      expect(server.requests.at(-1)?.command).toBe(3);
    });
    await expect(swap.swapActivate(kernel.task, device, { user: 'other', nrUnits: 1 })).rejects.toMatchObject({ code: 'EBUSY' });
    await pinned.release();
    expect(device.holder).toBeNull();
  });

  it('tell the user of a pinned file to write again when a connection was lost before a flush', async () => {
    const pinned = await swap.swapActivate(kernel.task, device, { user: 'test', nrUnits: 8 });
    await withFrames(async () => {
      expect(await pinned.swapOut(kernel.task, 0, pfns, 0, 4)).toBe(0);
      server.cut();
      expect(await pinned.swapOut(kernel.task, 4, pfns, 4, 4)).toBe(0);
      expect(await pinned.flush(kernel.task)).toBe(WRITE_AGAIN);
      expect(await pinned.swapOut(kernel.task, 0, pfns, 0, 8)).toBe(0);
      expect(await pinned.flush(kernel.task)).toBe(0);
    });
    await pinned.release();
  });

  it('take no frame once the file is pinned', async () => {
    const pinned = await swap.swapActivate(kernel.task, device, { user: 'test', nrUnits: 8 });
    await withFrames(async () => {
      const framesBefore = kernel.meminfo().memFree;
      const out = pinned.swapOut(kernel.task, 0, pfns, 0, 16);
      expect(kernel.meminfo().memFree).toBe(framesBefore);
      expect(await out).toBe(0);
      expect(await pinned.flush(kernel.task)).toBe(0);
      expect(kernel.meminfo().memFree).toBe(framesBefore);
    });
    await pinned.release();
  });

  it('write pages out, and say what that takes', async () => {
    const { slotFrames, clientUnits } = kernel.memory.sizes;
    const { standing, unit, nrUnits } = writeout.footprint(device);
    expect([standing.reduce((sum, { frames }) => sum + frames, 0), unit, nrUnits]).toEqual([slotFrames + 1, [], clientUnits]);
    await withFrames(async () => {
      expect(await writeout.writeout(kernel.task, device, 3 * 4096, pfns, 2, 5)).toBe(0);
      for (let i = 0; i < 5; i++) expect(page(3 + i).equals(patterned(4096, 2 + i))).toBe(true);
      expect(await writeout.sync(kernel.task, device)).toBe(0);
      expect(server.requests.at(-1)?.command).toBe(3);
    });
  });
});
