/** The kernel: plugins, tokens, hooks, shutdown. */
import {
  BLOCK_DRIVER,
  type BlockDevice,
  type BlockDriver,
  createDeviceHooks,
  definePlugin,
  FrameClass,
  isKernelError,
  Kernel,
  KERNEL,
  MEMORY,
  orderPlugins,
  PAGE_SIZE,
  type Plugin,
  resolveEach,
  SHRINKER,
  SWAP_HOOKS,
  TaskContext,
  WRITEOUT_HOOK,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkKernel, checkNothingHeld } from './support/check-kernel.js';
import { MemoryDevice } from './support/memory-device.js';
import { firstDifference, pattern } from './support/pattern.js';
import { VirtualTime, virtualHost } from './support/virtual-time.js';

const MIB = 2 ** 20;
const CLEAN = { leakedFrames: 0, leakedTimers: 0, problems: [] };

async function boot(plugins: Plugin[] = [], memory: number | string = '1MiB'): Promise<{ time: VirtualTime; kernel: Kernel }> {
  const time = new VirtualTime();
  return { time, kernel: await Kernel.boot({ memory, plugins: [virtualHost(time), ...plugins] }) };
}

async function errorOf(work: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await work();
  } catch (error) {
    if (isKernelError(error)) return error;
    throw error;
  }
  throw new Error('it should have failed');
}

const plugin = (name: string, requires: Plugin[] = [], register: Plugin['register'] = () => {}): Plugin =>
  definePlugin({ name, requires, register });

describe('plugins', () => {
  it('are registered once each, after what they require', () => {
    // A random acyclic "requires": each plugin needs some of those with a lower number.
    const graph = fc.array(fc.array(fc.nat(20)), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(graph, fc.array(fc.nat(11), { minLength: 1 }), (needs, asked) => {
        const plugins: Plugin[] = [];
        for (const [n, wanted] of needs.entries())
          plugins.push(
            plugin(
              `p${n}`,
              wanted.filter((other) => other < n).map((other) => plugins[other]),
            ),
          );
        const given = asked.map((n) => plugins[n % plugins.length]);
        const ordered = orderPlugins(given);
        expect(new Set(ordered).size).toBe(ordered.length);
        for (const each of given) expect(ordered).toContain(each);
        for (const each of ordered)
          for (const required of each.requires ?? []) expect(ordered.indexOf(required)).toBeLessThan(ordered.indexOf(each));
      }),
    );
  });

  it('that are none, of one name, or in a circle are refused', async () => {
    expect((await errorOf(() => definePlugin({ name: '', register: () => {} }))).code).toBe('EINVAL');
    expect((await errorOf(() => definePlugin({ name: 'x' } as unknown as Plugin))).code).toBe('EINVAL');
    expect((await errorOf(() => orderPlugins([plugin('a'), plugin('a')]))).code).toBe('EEXIST');
    expect((await errorOf(() => orderPlugins([plugin('a', [plugin('a')])]))).code).toBe('EEXIST');
    const circle: { name: string; requires: Plugin[]; register: () => void } = { name: 'c', requires: [], register: () => {} };
    circle.requires.push(plugin('d', [circle]));
    const error = await errorOf(() => orderPlugins([circle]));
    expect([error.code, error.message.includes('requires itself')]).toEqual(['EDEADLK', true]);
  });

  it('without a clock there is no kernel, and the error says what to add', async () => {
    const error = await errorOf(() => Kernel.boot({ memory: '1MiB', plugins: [] }));
    expect([error.code, error.message]).toEqual(['EINVAL', expect.stringMatching(/clock.*host/)]);
  });

  it('are given too little memory with a minimum, and no size with a reason', async () => {
    for (const memory of ['4KiB', 4096, 100_000]) expect((await errorOf(() => boot([], memory))).code).toBe('ENOMEM');
    for (const memory of ['', 'lots', -1, 0.5, Number.NaN, '8MB!']) expect((await errorOf(() => boot([], memory))).code).toBe('EINVAL');
  });
});

describe('block devices by URL', () => {
  it('of a scheme nobody knows are refused, with those that are known', async () => {
    const { kernel } = await boot();
    for (const url of ['ftp://x', 'MEMORY:1', '', ':', '/dev/null']) {
      const error = await errorOf(() => kernel.openBlockDevice(url));
      expect([error.code, error.message.includes('mem')]).toEqual(['EINVAL', true]);
    }
    expect((await kernel.openBlockDevice('MEM:1MiB')).sizeBytes).toBe(MIB);
    expect(await kernel.shutdown()).toEqual(CLEAN);
  });

  it('go to the driver of the scheme, with the options', async () => {
    const seen: unknown[] = [];
    const mine = plugin('mine', [], (container) => {
      container.register<BlockDriver>(BLOCK_DRIVER, {
        useFactory: (c) => ({
          schemes: ['mine'],
          open: async (url, options) => {
            seen.push([url, options]);
            return new MemoryDevice({ arena: c.resolve(MEMORY).arena, sizeBytes: MIB, name: url });
          },
        }),
      });
    });
    const { kernel } = await boot([mine]);
    const device = await kernel.openBlockDevice('mine:a', { readOnly: true });
    expect(seen).toEqual([['mine:a', { readOnly: true }]]);
    expect(device.name).toBe('mine:a');
    await kernel.shutdown();
    expect((device.ops as MemoryDevice).isClosed).toBe(true);
  });
});

describe('the two hooks', () => {
  const task = TaskContext.root('test');

  it('of raw devices are found in the container, and move pages', async () => {
    const { kernel } = await boot();
    const device = await kernel.openBlockDevice('mem:1MiB');
    const swapHooks = resolveEach(kernel.container, SWAP_HOOKS).find((hooks) => hooks.claims(device));
    const writeout = resolveEach(kernel.container, WRITEOUT_HOOK).find((hook) => hook.claims(device));
    expect([swapHooks?.name, writeout?.name]).toEqual(['raw', 'raw']);
    expect(swapHooks?.claims({})).toBe(false);
    const pages = await kernel.memory.allocStanding(task, 'test', 4);
    const pfns = Uint32Array.from([2, 0, 3, 1], (n) => pages.pfn + n);
    pages.bytes.set(pattern(4 * PAGE_SIZE, 1));
    const pinned = await swapHooks?.swapActivate(task, device, { user: 'test', nrUnits: 4 });
    expect([pinned?.sizePages, pinned?.trusted, device.holder]).toEqual([256, true, 'test']);
    expect(await pinned?.swapOut(task, 7, pfns, 0, 4)).toBe(0);
    expect(await pinned?.flush(task)).toBe(0);
    pages.bytes.fill(0);
    expect(await pinned?.swapIn(task, 7, pfns, 0, 4)).toBe(0);
    expect(firstDifference(pages.bytes, pattern(4 * PAGE_SIZE, 1))).toBe(-1);
    await pinned?.release();
    expect(device.holder).toBe(null);
    pages.bytes.set(pattern(4 * PAGE_SIZE, 2));
    expect(await writeout?.writeout(task, device, 0, pfns, 1, 2)).toBe(0);
    expect(await writeout?.sync(task, device)).toBe(0);
    const seen = new Uint8Array(2 * PAGE_SIZE);
    await kernel.cacheDevice(device).read(0, seen);
    const want = pattern(4 * PAGE_SIZE, 2);
    expect(firstDifference(seen.subarray(0, PAGE_SIZE), want.subarray(0, PAGE_SIZE))).toBe(-1);
    expect(firstDifference(seen.subarray(PAGE_SIZE), want.subarray(3 * PAGE_SIZE))).toBe(-1);
    pages.free();
    expect(await kernel.shutdown()).toEqual(CLEAN);
    checkNothingHeld(kernel);
  });

  it('of a package come before those of raw devices; a device nobody claims is refused', async () => {
    const hooked = plugin('hooked', [], (container) => {
      const both = (memory: Kernel['memory']) =>
        createDeviceHooks(memory, {
          name: 'hooked',
          owns: (device: BlockDevice) => device.name.startsWith('mine'),
          footprint: () => ({ standing: [], unit: [], nrUnits: 1 }),
        });
      container.register(SWAP_HOOKS, { useFactory: (c) => both(c.resolve(MEMORY)).swapHooks });
      container.register(WRITEOUT_HOOK, { useFactory: (c) => both(c.resolve(MEMORY)).writeoutHook });
    });
    const { kernel } = await boot([hooked]);
    const make = (name: string, viaSocket: boolean): BlockDevice =>
      kernel.attach(new MemoryDevice({ arena: kernel.memory.arena, sizeBytes: MIB, name, viaSocket }));
    expect(kernel.swapHooksOf(make('mine', false), 'x').name).toBe('hooked');
    expect(kernel.writeoutHookOf(make('mine too', true), 'x').name).toBe('hooked');
    expect(kernel.swapHooksOf(make('yours', false), 'x').name).toBe('raw');
    const error = await errorOf(() => kernel.swapHooksOf(make('far', true), 'far'));
    expect([error.code, error.message]).toEqual(['EOPNOTSUPP', expect.stringContaining('hooked, filters, loop, raw, files')]);
    await kernel.shutdown();
  });
});

describe('shrinkers', () => {
  it('are asked under pressure, and what they free counts', async () => {
    const cache: number[] = [];
    let memory: Kernel['memory'] | null = null;
    const shrinking = plugin('shrinking', [], (container) => {
      container.register(SHRINKER, {
        useValue: {
          name: 'test',
          count: () => cache.length,
          scan: (nrFrames: number) => {
            const gone = cache.splice(0, nrFrames);
            for (const pfn of gone) memory?.allocator.freePage(pfn);
            return gone.length;
          },
        },
      });
    });
    const { time, kernel } = await boot([shrinking]);
    memory = kernel.memory;
    const { allocator } = memory;
    const task = TaskContext.root('test');
    for (let pfn = allocator.allocPage(task, FrameClass.SLAB); pfn >= 0; pfn = allocator.allocPage(task, FrameClass.SLAB)) cache.push(pfn);
    const page = await time.run(Promise.resolve(allocator.allocPageSlow(task, FrameClass.TRANSIENT)));
    expect(page).toBeGreaterThanOrEqual(0);
    await time.advance(1000);
    expect(allocator.nrFree).toBeGreaterThan(allocator.high);
    await kernel.shutdown();
  });
});

describe('shutdown', () => {
  it('calls the hooks newest first, reports what failed, and goes on', async () => {
    const { time, kernel } = await boot();
    const called: string[] = [];
    const hook = (name: string, fails = false) =>
      kernel.onShutdown(name, async (deadlineMs) => {
        called.push(`${name} ${deadlineMs}`);
        if (fails) throw new Error('oh');
      });
    hook('one');
    hook('two', true);
    hook('gone')();
    hook('three');
    const report = await time.run(kernel.shutdown({ timeoutMs: 70 }));
    expect(called).toEqual(['three 70', 'two 70', 'one 70']);
    expect(report.problems).toEqual(['two: oh']);
    expect(await kernel.shutdown()).toBe(report);
  });

  it('does not wait for ever for a hook or a device that never ends', async () => {
    const { time, kernel } = await boot();
    const called: string[] = [];
    kernel.onShutdown('last', async () => void called.push('last'));
    kernel.onShutdown('stuck', () => new Promise(() => {}));
    const ops = new MemoryDevice({ arena: kernel.memory.arena, sizeBytes: MIB, name: 'disk' });
    ops.close = () => new Promise(() => {});
    kernel.attach(ops);
    const report = await time.run(kernel.shutdown({ timeoutMs: 500 }));
    expect(called).toEqual(['last']);
    expect(report.problems.join('; ')).toMatch(/stuck.*did not end in time.*disk.*did not end in time/);
    expect(time.nrPendingTimers).toBe(0);
  });

  it('names what leaked', async () => {
    const { time, kernel } = await boot();
    await kernel.memory.allocStanding(kernel.task, 'a forgetful driver', 2);
    kernel.clock.setTimer(1e9, () => {});
    const report = await time.run(kernel.shutdown());
    expect(report).toEqual({ leakedFrames: 2, leakedTimers: 1, problems: ['2 frames are still held by a forgetful driver'] });
  });

  it('ends the waits of the kernel with EIO at the deadline', async () => {
    const { time, kernel } = await boot();
    const ops = new MemoryDevice({ arena: kernel.memory.arena, time, sizeBytes: MIB });
    const cache = kernel.cacheDevice(kernel.attach(ops));
    await time.run(cache.write(0, pattern(20 * PAGE_SIZE, 1)));
    ops.isSilent = true;
    cache.pages.startWriteback(20);
    const { allocator } = kernel.memory;
    while (allocator.allocPage(kernel.task, FrameClass.TRANSIENT) >= 0);
    const wait = Promise.resolve(allocator.allocPageSlow(kernel.task, FrameClass.TRANSIENT));
    await time.run(kernel.shutdown({ timeoutMs: 300 }));
    expect(await time.run(wait)).toBe(-5);
    expect(time.nowMs()).toBeLessThanOrEqual(400);
  });
});

describe('kernels', () => {
  it('in one process know nothing of each other', async () => {
    const one = await boot([], '1MiB');
    const two = await boot([], '2MiB');
    const disk = await one.kernel.openBlockDevice('mem:4MiB');
    const cache = one.kernel.cacheDevice(disk);
    const idle = two.kernel.meminfo();
    await one.time.run(cache.write(0, pattern(3 * MIB, 1)));
    expect(two.kernel.meminfo()).toEqual(idle);
    expect(one.kernel.container.resolve(KERNEL)).toBe(one.kernel);
    expect(two.kernel.container.resolve(KERNEL)).toBe(two.kernel);
    expect(two.kernel.container.resolve(MEMORY)).not.toBe(one.kernel.memory);
    expect(await one.time.run(one.kernel.shutdown())).toEqual(CLEAN);
    const other = two.kernel.cacheDevice(await two.kernel.openBlockDevice('mem:1MiB'));
    expect(await two.time.run(other.write(0, pattern(5000, 1)))).toBe(5000);
    checkKernel(two.kernel);
    expect(await two.time.run(two.kernel.shutdown())).toEqual(CLEAN);
  });
});

describe('caches', () => {
  it('of one device that come and go leave nothing behind', async () => {
    const { time, kernel } = await boot();
    const device = await kernel.openBlockDevice('mem:1MiB');
    const free: number[] = [];
    for (let n = 0; n < 5; n++) {
      const cache = kernel.cacheDevice(device);
      await time.run(cache.write(n * PAGE_SIZE, pattern(PAGE_SIZE, n)));
      await time.run(cache.close());
      free.push(kernel.memory.allocator.nrFree);
    }
    expect(new Set(free).size).toBe(1);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });
});
