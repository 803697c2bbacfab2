/**
 * The kernel: the composition root. It makes the memory, binds reclaim to it, registers the plugins in a container of its own, and
 * takes everything down again.
 *
 *     const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, swap, nbd] });
 *     const device = await kernel.openBlockDevice('nbd://127.0.0.1:10809/disk');
 *     await kernel.swapOn(device, { format: true });
 *     …
 *     await kernel.shutdown();
 *
 * Shutdown, in order: the hooks that plugins registered (servers stop, swap lets go of its areas), newest first; filesystems; kswapd; devices, those
 * first that need others, and with each the filesystems whose files it had pinned. What has not ended at the deadline ends with EIO. Afterwards no timer, socket or frame is left; `shutdown` says what is,
 * if anything.
 */
import { KernelError } from '../base/errno.js';
import { PAGE_SIZE, parseSize, type Size } from '../base/size.js';
import { TracePoints } from '../base/trace.js';
import { BlockDevice, type BlockDeviceOps, type OpenDeviceOptions } from '../block/block-device.js';
import { DeviceCache } from '../block/device-cache.js';
import { AddressSpaceTable } from '../cache/address-space.js';
import { hardDirtyLimits } from '../cache/dirty-throttle.js';
import type { PageCacheParts } from '../cache/page-cache.js';
import { Writeback } from '../cache/writeback.js';
import type { SwapHooks, WriteoutHook } from '../cache/pinned-file.js';
import { Memory } from '../mm/memory.js';
import { type ReservePolicyName, reservePolicyNamed } from '../mm/policy/named.js';
import { ReservePlanner } from '../mm/reserve-planner.js';
import type { WatermarkOptions } from '../mm/watermarks.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';

import { Reclaim } from '../reclaim/reclaim.js';
import { twoListPolicy } from '../reclaim/two-list-policy.js';
import { AbortSource } from '../task/abort.js';
import type { Clock, RandomSource, Scheduler } from '../task/clock.js';
import { TaskContext } from '../task/task-context.js';
import { WaitRegistry } from '../task/wait-registry.js';
import type { MountOptions } from '../vfs/file-system.js';
import type { FsFace } from '../vfs/fs-face.js';
import type { MountInfo } from '../vfs/mounts.js';
import type { OpenFile } from '../vfs/open-file.js';
import { pinNodeOf } from '../vfs/pinned-files.js';
import { Vfs } from '../vfs/vfs.js';
import { corePlugin } from './core-plugin.js';
import { claimant, defaultRule } from './defaults.js';
import { createKernelContainer, type DependencyContainer, resolveEach } from './di.js';
import { LocalConnections } from './local-connections.js';
import { type MemInfo, meminfo } from './meminfo.js';
import { nameOfTarget, type PinTarget, withBacking } from './pin-target.js';
import { orderPlugins, type Plugin } from './plugin.js';
import { makeStallReport, type StallReport } from './stall-report.js';
import type { SwapAreaInfo, SwapOnOptions, SwapSubsystem } from './swap-subsystem.js';
import { unmountOverServers } from './over-servers.js';
import {
  BLOCK_DRIVER,
  CLOCK,
  FILE_SYSTEM,
  FS_FACE,
  KERNEL,
  MEMORY,
  RANDOM,
  DIRTY_THROTTLE,
  RECLAIM_RULE,
  RECLAIM_THROTTLE,
  REPLACEMENT_POLICY,
  RESERVE_POLICY,
  SCHEDULER,
  SHRINKER,
  SWAP_HOOKS,
  SWAP_SUBSYSTEM,
  TRACE,
  WRITEOUT_HOOK,
} from './tokens.js';
import { type VmStat, vmstat } from './vmstat.js';
import { Watchdog, type WatchdogOptions } from './watchdog.js';

const SHUTDOWN_TIMEOUT_MS = 5_000;
/** After the deadline: the time in which what was cut off has to end, and the least of it that each step gets. */
const SHUTDOWN_GRACE_MS = 1_000;
const STEP_GRACE_MS = 100;

/** What a kernel is booted with. */
export interface BootOptions {
  /** Page memory: bytes, or a text such as `8MiB`; rounded down to whole frames. */
  readonly memory: Size;
  /** What it can do; `host` of `@tidemark/core/host` brings the clock. */
  readonly plugins: readonly Plugin[];
  /** For messages. Default `kernel`. */
  readonly name?: string;
  /** Sets the floors by hand, for very small arenas. */
  readonly watermarks?: WatermarkOptions;
  /** Reserve policy by name, for comparison (M23). Default: what a plugin registers under `RESERVE_POLICY`, else `composed`. */
  readonly policy?: ReservePolicyName;
  /** Has standstills reported as the trace event `stall`. Default: nobody watches until `kernel.watchdog.start`. */
  readonly watchdog?: WatchdogOptions;
  /** Has stall reports say where each wait began; costs a stack trace a wait. Default false. */
  readonly waitSites?: boolean;
}

/** What was left over at the end; all zero and empty unless something leaked. */
export interface ShutdownReport {
  readonly leakedFrames: number;
  readonly leakedTimers: number;
  /** Owners of leaked frames, and hooks that failed or did not end in time. */
  readonly problems: readonly string[];
}

export class Kernel {
  readonly name: string;
  readonly memory: Memory;
  readonly trace = new TracePoints();
  /** The writeout graph and the plan of the reserve; `reserves.explain()` tells it. */
  readonly reserves: ReservePlanner;
  readonly spaces = new AddressSpaceTable();
  readonly container: DependencyContainer;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: RandomSource;
  readonly reclaim: Reclaim;
  /** Flushers, dirty limits and throttling. */
  readonly writeback: Writeback;
  /** Every mounted filesystem as one tree; `fs` is its face for programs. */
  readonly vfs: Vfs;
  #fs: FsFace | null = null;
  /** Connections whose two ends live in this kernel, and what knows them (M16). */
  readonly localConnections: LocalConnections;
  /** Every task of this kernel that waits now, and what for. */
  readonly waits = new WaitRegistry(() => this.clock.nowMs());
  /** Reports standstills (M22). */
  readonly watchdog: Watchdog;
  /** A task of the kernel's own: its waits end with EIO when a shutdown runs out of time. */
  readonly task: TaskContext;
  readonly swap: SwapSubsystem | null;
  readonly #end = new AbortSource();
  /** Devices, each with its node of the writeout graph once it has one. */
  readonly #devices = new Map<BlockDevice, WriteoutNode | null>();
  /** Devices whose nodes are being admitted. */
  readonly #admitting = new Map<BlockDevice, Promise<WriteoutNode>>();
  readonly #shutdownHooks: { name: string; hook: (deadlineMs: number) => Promise<void> }[] = [];
  #shutdown: Promise<ShutdownReport> | null = null;

  private constructor(options: BootOptions) {
    if (!Array.isArray(options?.plugins)) throw new KernelError('EINVAL', 'Kernel.boot wants { memory, plugins: […] }');
    this.name = options.name ?? 'kernel';
    const memoryBytes = parseSize(options.memory, 'memory');
    this.memory = new Memory(Math.floor(memoryBytes / PAGE_SIZE), this.trace, options.watermarks);
    this.reserves = new ReservePlanner(this.memory);
    this.container = createKernelContainer();
    this.task = TaskContext.root(this.name, this.#end.signal, this.waits);
    this.container.register(KERNEL, { useValue: this });
    this.container.register(MEMORY, { useValue: this.memory });
    this.container.register(TRACE, { useValue: this.trace });
    for (const plugin of orderPlugins([...options.plugins, corePlugin])) plugin.register(this.container);
    this.clock = this.#require(CLOCK, 'a clock');
    this.scheduler = this.#require(SCHEDULER, 'a scheduler');
    this.random = this.#require(RANDOM, 'a source of randomness');
    const { memory, spaces, clock, scheduler, trace } = this;
    if (options.policy !== undefined || !this.container.isRegistered(RESERVE_POLICY)) {
      memory.bindPolicy(reservePolicyNamed(options.policy ?? 'composed'), clock);
    } else memory.bindPolicy(this.container.resolve(RESERVE_POLICY), clock);
    this.localConnections = new LocalConnections({ memory, reserves: this.reserves, scheduler, task: this.task });
    const createPolicy = this.container.isRegistered(REPLACEMENT_POLICY) ? this.container.resolve(REPLACEMENT_POLICY) : twoListPolicy;
    const policy = createPolicy({ frames: memory.frames, counters: memory.counters, maySwap: () => (this.swap?.nrFreeSlots ?? 0) > 0 });
    this.vfs = new Vfs({
      memory,
      reserves: this.reserves,
      task: this.task,
      nowMs: () => clock.wallMs?.() ?? clock.nowMs(),
      pageCache: () => this.cacheParts,
      fileSystems: () => resolveEach(this.container, FILE_SYSTEM),
    });
    const shrinkers = [...resolveEach(this.container, SHRINKER), ...this.vfs.shrinkers];
    const createRule = this.container.isRegistered(RECLAIM_RULE) ? this.container.resolve(RECLAIM_RULE) : defaultRule(memory);
    const rule = createRule(this.reserves.graph);
    const throttle = this.container.isRegistered(DIRTY_THROTTLE) ? this.container.resolve(DIRTY_THROTTLE) : hardDirtyLimits;
    this.writeback = new Writeback({ memory, clock, scheduler, unitsOf: (node) => this.reserves.unitsOf(node), throttle });
    const pauses = this.container.isRegistered(RECLAIM_THROTTLE) ? this.container.resolve(RECLAIM_THROTTLE) : undefined;
    const parts = { memory, spaces, policy, clock, scheduler, trace, shrinkers, rule, throttle: pauses };
    this.reclaim = new Reclaim({ ...parts, waits: this.waits, writeback: this.writeback });
    memory.allocator.reclaimer = this.reclaim;
    this.swap = this.container.isRegistered(SWAP_SUBSYSTEM) ? this.container.resolve(SWAP_SUBSYSTEM) : null;
    this.reclaim.swap = this.swap;
    this.waits.keepsSites = options.waitSites ?? false;
    this.watchdog = new Watchdog({ clock, trace, waits: this.waits, counters: memory.counters, report: () => this.stallReport() });
    if (options.watchdog !== undefined) this.watchdog.start(options.watchdog);
  }

  /**
   * Boots a kernel.
   * @throws KernelError EINVAL (a size that is none, no clock among the plugins), ENOMEM (too little to work with; names the minimum).
   */
  static async boot(options: BootOptions): Promise<Kernel> {
    return new Kernel(options);
  }

  #require<T>(what: import('./di.js').Token<T>, name: string): T {
    if (!this.container.isRegistered(what)) {
      throw new KernelError('EINVAL', `no plugin brings ${name}: add host of @tidemark/core/host, or one of your own`);
    }
    return this.container.resolve<T>(what);
  }

  /**
   * Opens a block device: `mem:64MiB`, `file:disk.img` or a bare path, `nbd://host:port/export`.
   * @param options the common ones, and those of the driver.
   * @throws KernelError EINVAL for a URL nobody understands; else what the driver says.
   */
  async openBlockDevice<O extends OpenDeviceOptions>(url: string, options?: O): Promise<BlockDevice> {
    if (typeof url !== 'string') throw new KernelError('EINVAL', `a block device is named by a text, not ${String(url)}`);
    this.requireRunning(`open ${url}`);
    const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase() ?? '';
    const drivers = resolveEach(this.container, BLOCK_DRIVER);
    const driver = drivers.find((candidate) => candidate.schemes.includes(scheme));
    if (driver === undefined) {
      const known = drivers.flatMap((candidate) => candidate.schemes).filter((name) => name !== '');
      throw new KernelError('EINVAL', `no driver for block device ${JSON.stringify(url)}: known schemes are ${known.join(', ')}`);
    }
    const device = this.attach(await driver.open(url, options ?? {}));
    try {
      await this.writeoutNodeOf(device);
    } catch (error) {
      await device.close();
      throw error;
    }
    return device;
  }

  /** @throws KernelError ESHUTDOWN once `shutdown` was called. */
  requireRunning(doing: string): void {
    if (this.#shutdown !== null) throw new KernelError('ESHUTDOWN', `cannot ${doing}: ${this.name} is shut down`);
  }

  /** @throws KernelError ENODEV for a device of another kernel or a closed one, ESHUTDOWN once `shutdown` was called. */
  requireOwn(device: BlockDevice, doing: string): void {
    if (!(device instanceof BlockDevice)) throw new KernelError('EINVAL', `cannot ${doing} what is no block device`);
    this.requireRunning(`${doing} ${device.name}`);
    if (!this.#devices.has(device))
      throw new KernelError('ENODEV', `cannot ${doing} ${device.name}: it is no device of this kernel, or is closed`);
  }

  /** Makes a device of a driver's record; the kernel closes it at shutdown. */
  attach(ops: BlockDeviceOps): BlockDevice {
    const names = new Set([...this.#devices.keys()].map(({ name }) => name));
    let name = ops.name;
    for (let n = 2; names.has(name); n++) name = `${ops.name} (${n})`;
    const device = new BlockDevice(ops, name);
    this.#devices.set(device, null);
    device.onClose(async () => {
      const node = this.#devices.get(device) ?? null;
      this.#devices.delete(device);
      if (node !== null) await this.reserves.release(node);
    });
    return device;
  }

  /**
   * The node of the writeout graph that a device, or a pinned file, is written through; a device's is admitted if it was not yet.
   * @throws KernelError ENOMEM naming the node and the shortfall, EDEADLK naming the cycle; EOPNOTSUPP for a file that cannot be pinned.
   */
  async writeoutNodeOf(backing: BlockDevice | OpenFile): Promise<WriteoutNode> {
    return backing instanceof BlockDevice ? this.#nodeOfDevice(backing) : pinNodeOf(backing);
  }

  #nodeOfDevice(device: BlockDevice): Promise<WriteoutNode> {
    const known = this.#devices.get(device);
    if (known === undefined) throw new KernelError('ENODEV', `${device.name} is no device of this kernel, or is closed`);
    if (known !== null) return Promise.resolve(known);
    let admitting = this.#admitting.get(device);
    if (admitting === undefined) {
      admitting = this.#admitDevice(device).finally(() => this.#admitting.delete(device));
      this.#admitting.set(device, admitting);
    }
    return admitting;
  }

  async #admitDevice(device: BlockDevice): Promise<WriteoutNode> {
    const footprint = this.writeoutHookOf(device, device.name).footprint(device);
    const { graph } = this.reserves;
    const node: WriteoutNode = {
      name: device.name,
      kind: 'block-device',
      footprint,
      heldBy: () => device.ops.waitsFor?.(graph.successorsOf(node).some(({ kind }) => kind === 'server')) ?? [],
    };
    const { client, needs = [] } = device.ops;
    const server = client?.server ?? null;
    const needed = server === null ? needs : [...needs, server.node];
    await this.reserves.admit(this.task, { candidates: [{ node }], edges: needed.map((each) => [node, each] as const) });
    client?.admitted(node);
    if (this.#devices.has(device)) this.#devices.set(device, node);
    else await this.reserves.release(node); // it was closed meanwhile
    return node;
  }

  /** The writeout graph: who needs whom to make progress. By name. */
  graph(): { nodes: { name: string; kind: string; level: number }[]; edges: (readonly [from: string, to: string])[] } {
    const { graph } = this.reserves;
    return {
      nodes: graph.nodes.map((node) => ({ name: node.name, kind: node.kind, level: graph.levelOf(node) })),
      edges: graph.edges.map(([from, to]) => [from.name, to.name] as const),
    };
  }

  /** What a page cache of this kernel is made of, beside its operations. */
  get cacheParts(): PageCacheParts {
    return { memory: this.memory, spaces: this.spaces, aging: this.reclaim.policy, writeback: this.writeback };
  }

  /**
   * A device through the page cache: byte reads and writes, memory bounded by the kernel's budget. Closed at shutdown.
   * @throws KernelError EBUSY if somebody has the device, EINVAL for one smaller than a page, ENOMEM.
   */
  cacheDevice(device: BlockDevice): DeviceCache {
    this.requireOwn(device, 'cache');
    const cache = new DeviceCache(
      this.cacheParts,
      this.task,
      device,
      this.writeoutHookOf(device, device.name),
      () => this.#devices.get(device) ?? null,
    );
    cache.onClose(this.onShutdown(`cache of ${device.name}`, () => cache.close()));
    return cache;
  }

  /**
   * Mounts a filesystem: `await kernel.mount('memfs:64MiB', '/')`. Unmounted at shutdown.
   * @param at a directory; one directly under what a kernel has at `/` before anything is mounted there is made if it is missing.
   * @throws KernelError ENODEV for a source nobody understands; ENOENT, ENOTDIR for where; ENOMEM, EDEADLK from the plan; what the plugin says.
   */
  async mount(source: string, at: string, options: MountOptions = {}): Promise<MountInfo> {
    if (typeof source !== 'string' || typeof at !== 'string') throw new KernelError('EINVAL', 'mount wants a source and a path');
    this.requireRunning(`mount ${source}`);
    return this.vfs.mount(source, at, options);
  }

  /**
   * Unmounts what is seen at a path.
   * @throws KernelError EINVAL if nothing is mounted there (so a second time is an error), EBUSY while somebody is inside, EIO if it cannot
   * be written out; with `force` it is taken away from its users, who get EIO from then on.
   */
  async unmount(at: string, options: { force?: boolean } = {}): Promise<void> {
    if (typeof at !== 'string') throw new KernelError('EINVAL', 'unmount wants a path');
    await this.vfs.unmount(at, options);
  }

  /** The tree for programs, shaped like `node:fs`. @throws KernelError EINVAL if no plugin brings that face (`host` does). */
  get fs(): FsFace {
    this.#fs ??= this.#require(FS_FACE, 'a face for programs').create(this.vfs, this.random);
    return this.#fs;
  }

  /** The swap hooks of whatever `backing` is. @throws KernelError EOPNOTSUPP if no package claims it. */
  swapHooksOf(backing: object, name: string): SwapHooks {
    return claimant(resolveEach(this.container, SWAP_HOOKS), backing, `swap on ${name}`);
  }

  /** The writeout hook of whatever `backing` is. @throws KernelError EOPNOTSUPP if no package claims it. */
  writeoutHookOf(backing: object, name: string): WriteoutHook {
    return claimant(resolveEach(this.container, WRITEOUT_HOOK), backing, `write out to ${name}`);
  }

  /**
   * Takes a device or a file as a swap area. A file is given by its absolute path, or open for writing (a `FileHandle` of `fs.promises`, which may
   * be closed afterwards); it has no holes, and nobody else changes it as long as the area is on.
   * @throws KernelError ENOSYS without the swap plugin; EINVAL (a hole, with its offset), EBUSY, ENOMEM (naming the smallest budget), EIO,
   * EOPNOTSUPP for a file of a filesystem that does not write in place, and what opening a path fails with.
   */
  async swapOn(target: PinTarget, options: SwapOnOptions = {}): Promise<SwapAreaInfo> {
    const swap = this.#swapSubsystem('swap on');
    const area = await withBacking(this, target, 'swap on', (backing, name) => swap.swapOn(backing, options, name));
    this.reclaim.kswapd.hope();
    return area;
  }

  /**
   * Brings every page of an area back and lets go of its device or file.
   * @param target as it was given to `swapOn`, or the area's name.
   * @throws KernelError; then the area is on as before.
   */
  async swapOff(target: PinTarget): Promise<void> {
    await this.#swapSubsystem('swap off').swapOff(nameOfTarget(target, 'swap off'));
  }

  #swapSubsystem(doing: string): SwapSubsystem {
    if (this.swap === null) throw new KernelError('ENOSYS', `cannot ${doing}: no plugin brings swap; add swap of @tidemark/swap`);
    return this.swap;
  }

  /** Who waits for what, down to the cycle or to what nobody works on. Nothing waiting: an empty report. */
  stallReport(): StallReport {
    const { reserve, allocator } = this.memory;
    const { min, low, high } = allocator.watermarks;
    return makeStallReport({
      atMs: this.clock.nowMs(),
      waits: this.waits,
      graph: this.reserves.graph,
      accounts: [...reserve.accounts].map(({ name, limitFrames, usageFrames, room }) => ({
        name,
        limit: limitFrames,
        usage: usageFrames,
        waiters: room.nrWaiters,
      })),
      floors: { emergency: reserve.emergencyFrames, min, low, high },
      free: allocator.nrFree,
    });
  }

  /** Where the memory is, in frames. */
  meminfo(): MemInfo {
    return meminfo(this);
  }

  /** What has happened, and levels, under Linux's names. */
  vmstat(): VmStat {
    return vmstat(this);
  }

  /**
   * Has `hook` called at shutdown, newest first, with the deadline on the kernel's clock.
   * @returns a function that takes it back.
   */
  onShutdown(name: string, hook: (deadlineMs: number) => Promise<void>): () => void {
    const entry = { name, hook };
    this.#shutdownHooks.push(entry);
    return () => {
      const at = this.#shutdownHooks.indexOf(entry);
      if (at >= 0) this.#shutdownHooks.splice(at, 1);
    };
  }

  /** Takes everything down. What cannot finish within `timeoutMs` (default 5,000) fails with EIO. A second call returns the first's report. */
  shutdown(options: { timeoutMs?: number } = {}): Promise<ShutdownReport> {
    this.#shutdown ??= this.#takeDown(options.timeoutMs ?? SHUTDOWN_TIMEOUT_MS);
    return this.#shutdown;
  }

  /** Whoever still holds it has had its time. */
  async #closeAtOnce(device: BlockDevice): Promise<void> {
    await device.abort();
    device.unhold();
    await device.close();
  }

  /** Devices, those first that need others. */
  #devicesDownwards(): BlockDevice[] {
    const level = (node: WriteoutNode | null): number => (node === null ? 0 : this.reserves.graph.levelOf(node));
    return [...this.#devices].sort(([, a], [, b]) => level(b) - level(a)).map(([device]) => device);
  }

  async #takeDown(timeoutMs: number): Promise<ShutdownReport> {
    this.watchdog.stop();
    const problems: string[] = [];
    const deadlineMs = this.clock.nowMs() + timeoutMs;
    const timer = this.clock.setTimer(timeoutMs, () => {
      this.#end.abort(new KernelError('EIO', `${this.name} was shut down before this could finish`));
    });
    const step = async (name: string, work: () => Promise<void>): Promise<void> => {
      const graceMs = Math.max(deadlineMs + SHUTDOWN_GRACE_MS - this.clock.nowMs(), STEP_GRACE_MS);
      let giveUp: () => void = () => {};
      const isLate = new Promise<boolean>((resolve) => {
        giveUp = () => resolve(true);
      });
      const grace = this.clock.setTimer(graceMs, giveUp);
      try {
        if (await Promise.race([work(), isLate])) problems.push(`${name}: did not end in time`);
      } catch (error) {
        problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
      }
      this.clock.clearTimer(grace);
    };
    for (let entry = this.#shutdownHooks.pop(); entry !== undefined; entry = this.#shutdownHooks.pop()) {
      const { name, hook } = entry;
      await step('filesystems', async () => void problems.push(...(await unmountOverServers(this.vfs, this.reserves.graph))));
      await step(name, () => hook(deadlineMs));
    }
    const unmount = async (isLast: boolean): Promise<void> => void problems.push(...(await this.vfs.shutdown(isLast)));
    await step('filesystems', () => unmount(false));
    this.writeback.stop();
    await step('kswapd', () => this.reclaim.kswapd.stop());
    for (const device of this.#devicesDownwards()) {
      if (!this.#devices.has(device)) continue; // its filesystem has closed it
      await step(device.name, () => this.#closeAtOnce(device));
      await step('filesystems', () => unmount(false)); // one whose file the device had pinned
    }
    await step('filesystems', () => unmount(true));
    this.clock.clearTimer(timer);
    this.#end.abort(new KernelError('EIO', `${this.name} is shut down`));
    await step('container', async () => this.container.dispose());
    const leakedFrames = this.memory.nrFrames - this.memory.allocator.nrFree;
    for (const { owner, nrFrames } of this.memory.standingByOwner()) problems.push(`${nrFrames} frames are still held by ${owner}`);
    return { leakedFrames, leakedTimers: this.clock.nrPendingTimers, problems };
  }
}
