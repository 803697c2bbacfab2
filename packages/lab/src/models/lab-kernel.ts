/**
 * A kernel of the lab: a real one on a simulated machine, under a policy, with what topologies ask of it: disks, admission of model
 * nodes, anonymous memory that fills it, and a diary.
 */
import {
  type BlockDevice,
  definePlugin,
  Gfp,
  isKernelError,
  isPromise,
  type Kernel,
  PAGE_SIZE,
  type Pfn,
  type Plugin,
  RESERVE_POLICY,
  type TaskContext,
  type WaitTarget,
  type WatermarkOptions,
  type WriteoutEdge,
  type WriteoutNode,
} from '@tidemark/core';
import { PagedBuffer, swap } from '@tidemark/swap';
import { type DiskImage, type Machine, SimulatedDisk, type World } from '@tidemark/testkit';
import type { LabPolicy } from '../policies.js';
import type { TopologyNode } from '../result.js';
import { MemoryRetry, type ModelNode } from './model-node.js';

/** What a lab kernel is booted with. */
export interface LabKernelSpec {
  readonly name: string;
  readonly nrFrames: number;
  /** Floors by hand (M1). */
  readonly watermarks?: WatermarkOptions;
  /** Beside swap. */
  readonly plugins?: (machine: Machine) => readonly Plugin[];
}

/** Pages of a simulated disk, unless told. */
const DISK_PAGES = 4096;

/** Called with what a part of the run did: for the timeline. */
export type Note = (nowMs: number, kernel: string, who: string, what: string, nrFree: number) => void;

const KSWAPD_DOES = { wake: 'wakes', nap: 'naps', sleep: 'sleeps', hopeless: 'gives up' } as const;

/** Binds a policy's own factory, if it has one. */
function reservePolicyPlugins({ reservePolicy }: LabPolicy): Plugin[] {
  if (reservePolicy === undefined) return [];
  return [
    definePlugin({ name: 'reserve-policy', register: (container) => void container.register(RESERVE_POLICY, { useValue: reservePolicy }) }),
  ];
}

export class LabKernel {
  /** Model nodes, in the order in which they were made. */
  readonly models: ModelNode[] = [];
  readonly #retry: MemoryRetry;

  private constructor(
    readonly world: World,
    readonly machine: Machine,
    readonly kernel: Kernel,
    readonly policy: LabPolicy,
    private readonly onNote: Note | null,
  ) {
    this.#retry = new MemoryRetry(this);
  }

  /** Boots one under a policy. @throws KernelError as `Kernel.boot`. */
  static async boot(world: World, policy: LabPolicy, spec: LabKernelSpec, onNote: Note | null): Promise<LabKernel> {
    const machine = world.machine(spec.name);
    const kernel = await world.boot(machine, {
      memory: spec.nrFrames * PAGE_SIZE,
      watermarks: spec.watermarks,
      policy: policy.reservePolicy === undefined ? policy.name : undefined,
      plugins: [swap, ...(spec.plugins?.(machine) ?? []), ...(policy.plugins ?? []), ...reservePolicyPlugins(policy)],
    });
    const lab = new LabKernel(world, machine, kernel, policy, onNote);
    if (onNote !== null) lab.#noteTraces();
    return lab;
  }

  /** Has the real parts keep the diary, too. */
  #noteTraces(): void {
    const { trace } = this.kernel;
    trace.on('kswapd', ({ state }) => this.note('kswapd', KSWAPD_DOES[state]));
    trace.on('directReclaim', ({ task, nrReclaimed }) => this.note(task, `reclaims ${nrReclaimed} frames itself`));
    trace.on('outOfMemory', ({ task }) => this.note(task, 'is told that there is no memory'));
    trace.on('reconnect', ({ device, state }) => this.note(device, `has its connection ${state}`));
    trace.on('packetEmergency', ({ state, reason }) => this.note('packet transport', `${state}s the emergency: ${reason}`));
    trace.on('packetDrop', ({ why, holder }) =>
      this.note('packet transport', `drops a packet: ${why}${holder === '' ? '' : ` (${holder})`}`),
    );
  }

  /** Enters what a part does in the diary. */
  note(who: string, what: string): void {
    this.onNote?.(this.world.nowMs, this.kernel.name, who, what, this.kernel.memory.allocator.nrFree);
  }

  /** A disk of this machine, attached. */
  disk(name: string, sizePages = DISK_PAGES, image?: DiskImage): BlockDevice {
    const options = { name, sizeBytes: sizePages * PAGE_SIZE, ...(image === undefined ? {} : { image }) };
    const disk = new SimulatedDisk(this.world, this.machine, this.kernel.memory.arena, options);
    return this.kernel.attach(disk);
  }

  /** Admits model nodes, the top one first, with their edges. @throws KernelError ENOMEM, EDEADLK. */
  async admit(nodes: readonly ModelNode[], edges: readonly WriteoutEdge[]): Promise<void> {
    const { reserves, task } = this.kernel;
    await reserves.admit(task, { candidates: nodes.map((node) => ({ node })), edges });
    for (const node of nodes) this.kernel.onShutdown(`model ${node.name}`, () => reserves.withdraw(node));
  }

  /** Adds an edge between nodes that are there. @throws KernelError EDEADLK naming the cycle. */
  async link(from: WriteoutNode, to: WriteoutNode): Promise<void> {
    await this.kernel.reserves.admit(this.kernel.task, { candidates: [], edges: [[from, to]] });
  }

  /**
   * One frame, as a caller gets it that cannot fail: what is refused is asked for again 100 ms later, for ever, as filesystems do.
   * The wait names free memory, and who must give it back.
   */
  async allocate(task: TaskContext, gfp: number): Promise<Pfn> {
    const { allocator } = this.kernel.memory;
    for (let nrTries = 0; ; nrTries++) {
      const taken = allocator.allocPageSlow(task, gfp);
      const pfn = isPromise(taken) ? await taken : taken;
      if (pfn >= 0) return pfn;
      if (nrTries === 0) this.note(task.name, 'is refused a frame, and asks again');
      await this.#retry.wait(task);
    }
  }

  /** Does `what` until it does not end for want of memory: the same for a whole call. */
  async insist<T>(task: TaskContext, what: () => Promise<T>): Promise<T> {
    for (let nrTries = 0; ; nrTries++) {
      try {
        return await what();
      } catch (error) {
        if (!isKernelError(error) || error.code !== 'ENOMEM') throw error;
      }
      if (nrTries === 0) this.note(task.name, 'is refused memory, and asks again');
      await this.#retry.wait(task);
    }
  }

  /** Has a stall report know that `task` waits for `target` while `work` goes on. */
  async waiting<T>(task: TaskContext, target: WaitTarget, work: Promise<T>): Promise<T> {
    const { waits } = this.kernel;
    const wait = waits.enter(task, target);
    try {
      return await work;
    } finally {
      waits.leave(wait);
    }
  }

  /** Lets others that have something due now go first, or after, as the schedule likes: a message over loopback. */
  turn(): Promise<void> {
    return new Promise((resolve) => this.kernel.scheduler.defer(resolve));
  }

  /** Anonymous memory of `nrPages`, all of it written, so that only swap could free it. */
  async fill(nrPages: number): Promise<PagedBuffer> {
    const buffer = await PagedBuffer.create(this.kernel, { name: 'anonymous', sizeBytes: nrPages * PAGE_SIZE });
    const page = new Uint8Array(PAGE_SIZE).fill(0xa5);
    for (let index = 0; index < nrPages; index++) await buffer.write(index * PAGE_SIZE, page);
    return buffer;
  }

  /** Takes frames as an ordinary caller does until free memory is at its floor, and keeps them. @returns what gives them back. */
  drain(): () => void {
    const { allocator } = this.kernel.memory;
    const task = this.kernel.task.named('an ordinary task');
    const held: Pfn[] = [];
    for (let pfn = allocator.allocPage(task, Gfp.ANON); pfn >= 0; pfn = allocator.allocPage(task, Gfp.ANON)) held.push(pfn);
    return () => {
      for (const pfn of held.splice(0)) allocator.freePage(pfn);
    };
  }

  /** Every node of the graph, and those that wanted to be: whether it is a model. */
  nodes(): TopologyNode[] {
    const models = new Set<WriteoutNode>(this.models);
    const nodes = new Set<WriteoutNode>([...this.kernel.reserves.graph.nodes, ...models]);
    return [...nodes].map((node) => ({ name: node.name, kind: models.has(node) ? 'model' : 'real' }));
  }
}
