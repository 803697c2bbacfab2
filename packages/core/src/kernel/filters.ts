/**
 * Filters of a kernel: puts one over a device that is open, and opens those that are named.
 *
 *     const disk = await openFilter(kernel, lower, delay, { latencyMs: 5 });            lower stays the caller's
 *     const disk = await kernel.openBlockDevice('delay:latencyMs=5:file:disk.img');     the file is the filter's
 *
 * A filter holds what is below it (EBUSY if somebody has it), and its node needs theirs, so that swap on a filter is admitted with everything it
 * stands on, and a filter in a cycle is refused. A pin of it pins the device that it writes to. When it is closed, its devices are let go of; those
 * that were opened for it are closed.
 */
import { KernelError } from '../base/errno.js';
import type { BlockDevice, BlockDeviceOps, BlockDriver, OpenDeviceOptions } from '../block/block-device.js';
import type { PinBehind } from '../block/device-hooks.js';
import { delay } from '../block/filters/delay.js';
import { errors } from '../block/filters/error.js';
import { Filter, type FilterParts } from '../block/filters/filter.js';
import type { FilterKind } from '../block/filters/filter-kind.js';
import { copyOnWrite } from '../block/filters/overlay.js';
import { parseFilterName } from '../block/filters/settings.js';
import { stats } from '../block/filters/stats.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { Kernel } from './kernel.js';

const KINDS: readonly FilterKind<unknown>[] = [delay, errors, stats, copyOnWrite].map((kind) => kind as FilterKind<unknown>);

/** Common to all filters. */
export interface OpenFilterOptions {
  /** For people and the writeout graph. Default: the kind and the name of the device below. */
  readonly name?: string;
  readonly readOnly?: boolean;
}

/**
 * Puts a filter over a device, which it has to itself until it is closed.
 * @param kind `delay`, `errors`, `stats`, `copyOnWrite`, or one of your own.
 * @throws KernelError EBUSY naming who has a device; EINVAL for options that are none; ENOMEM naming the filter and the shortfall; EDEADLK.
 */
export async function openFilter<Options>(
  kernel: Kernel,
  lower: BlockDevice,
  kind: FilterKind<Options>,
  options: Options & OpenFilterOptions,
): Promise<BlockDevice> {
  const device = kernel.attach(await makeFilter(kernel, lower, kind, options, []));
  try {
    await kernel.writeoutNodeOf(device);
    return device;
  } catch (error) {
    await device.close();
    throw error;
  }
}

/** @param opened what was opened for it; closed by the caller if this throws, and by the filter otherwise. */
async function makeFilter<Options>(
  kernel: Kernel,
  lower: BlockDevice,
  kind: FilterKind<Options>,
  options: Options & OpenFilterOptions,
  opened: readonly BlockDevice[],
): Promise<Filter> {
  const name = options.name ?? `${kind.scheme}:${lower.name}`;
  kernel.requireOwn(lower, `put ${kind.scheme} over`);
  const owned = [...opened];
  const held: BlockDevice[] = [];
  const hold = (device: BlockDevice): void => {
    device.hold(name);
    held.push(device);
  };
  let second: BlockDevice | null = null;
  try {
    hold(lower);
    const also = kind.second?.(options, lower);
    if (typeof also === 'string') {
      second = await kernel.openBlockDevice(also);
      owned.push(second);
      hold(second);
    } else if (also !== undefined) {
      kernel.requireOwn(also, `put ${kind.scheme} over`);
      hold(also);
    }
    const needs: WriteoutNode[] = [];
    for (const device of held) needs.push(await kernel.writeoutNodeOf(device));
    const { memory, clock, random } = kernel;
    const parts: FilterParts = {
      name,
      readOnly: options.readOnly ?? false,
      memory,
      clock,
      random,
      task: kernel.task.named(name),
      below: held,
      needs,
      owned,
      letGo: () => letGo(kernel, held, needs, owned),
    };
    return await kind.create(parts, options);
  } catch (error) {
    for (const device of held) device.unhold();
    await second?.close();
    throw error;
  }
}

/** Gives the devices below back. Edges go first: a node that is needed stays. All of them, whatever one throws. */
async function letGo(
  { reserves: { graph } }: Kernel,
  held: readonly BlockDevice[],
  needs: readonly WriteoutNode[],
  owned: readonly BlockDevice[],
): Promise<void> {
  for (const node of needs) if (graph.has(node)) for (const user of graph.predecessorsOf(node)) graph.removeEdge(user, node);
  for (const device of held) device.unhold();
  const failed: unknown[] = [];
  for (const device of owned) await device.close().catch((error: unknown) => failed.push(error));
  if (failed.length > 0) throw failed[0];
}

/** Pins what a filter writes to: nothing that is pinned was written anywhere else. */
export function pinBelow(kernel: Kernel): PinBehind {
  return async (task, { ops }, spec) => {
    const { written } = ops as Filter;
    const pinned = await kernel.swapHooksOf(written, written.name).swapActivate(task, written, { ...spec, isHeld: true });
    return () => pinned.release();
  };
}

/** Opens `delay:…`, `error:…`, `stats:…`, `cow:…`; what is below is opened for it. */
export class FilterDriver implements BlockDriver {
  readonly schemes = KINDS.map(({ scheme }) => scheme);

  constructor(private readonly kernel: () => Kernel) {}

  async open(url: string, options: OpenDeviceOptions): Promise<BlockDeviceOps> {
    const kernel = this.kernel();
    const scheme = url.slice(0, url.indexOf(':')).toLowerCase();
    const kind = KINDS.find((each) => each.scheme === scheme);
    if (kind === undefined) throw new KernelError('EINVAL', `${JSON.stringify(url)} is no filter`);
    const { settings, lower } = parseFilterName(url, kind.settings);
    const parsed = kind.parse(settings) as object;
    const readOnly = options.readOnly ?? false;
    const below = await kernel.openBlockDevice(lower, { ...options, readOnly: readOnly || kind.sparesLower?.(parsed) === true });
    try {
      return await makeFilter(kernel, below, kind, { ...parsed, name: url, readOnly }, [below]);
    } catch (error) {
      await below.close();
      throw error;
    }
  }
}
