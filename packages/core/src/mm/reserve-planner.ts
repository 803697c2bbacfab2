/**
 * The planner (M5): nothing is admitted that could not be served with the memory there is.
 *
 *     admit   1  nodes and edges into the graph                      a cycle: EDEADLK; a server with too few units: ENOMEM (M16)
 *             2  prepare each node, the top one first                it takes what stands, or refuses
 *             3  the account of each node, as the policy has it      composed: need × units; summed: Σ limit
 *             4  do the new floors leave room beside what stands?    no: ENOMEM, naming node and shortfall
 *             5  reclaim, and prove it: that many frames are free beside E
 *             6  open the accounts; the floors rise
 *     any failure undoes what was done, in reverse, and leaves everything as it was
 *     release the same the other way, only at usage 0
 */
import { KernelError } from '../base/errno.js';
import type { TaskContext } from '../task/task-context.js';
import { formatSize, PAGE_SIZE } from '../base/size.js';
import { atomicFrames, checkFootprint, largestTerm, limitFrames, needFrames, standingFrames } from './footprint.js';
import { FrameClass } from './frame-table.js';
import type { Memory } from './memory.js';
import { type NodePlan, planNode } from './plan.js';
import type { ReserveAccount } from './reserve.js';
import type { UnitPool } from './unit-pool.js';
import { checkRights } from './rights.js';
import { WriteoutGraph, type WriteoutEdge, type WriteoutNode } from './writeout-graph.js';

/** A node that wants in. */
export interface NodeCandidate {
  readonly node: WriteoutNode;
  /**
   * Takes the node's standing memory and pre-attaches its resources. May refuse by throwing.
   * @returns what undoes it.
   */
  prepare?(): Promise<() => void | Promise<void>>;
}

/** Nodes and edges that are admitted together or not at all; the top node first. */
export interface Admission {
  readonly candidates: readonly NodeCandidate[];
  readonly edges: readonly WriteoutEdge[];
}

/** One node of the plan, with what its account is at. Frames. */
export interface PlannedNode extends NodePlan {
  /** Charged to the account now, and at most. */
  readonly usage: number;
  readonly highWater: number;
  /** Held under its tickets now, whatever memory it came from. */
  readonly held: number;
  /** Units under way. */
  readonly unitsOut: number;
  /** Tasks that wait for room in the account or for a unit; times one did. */
  readonly waiters: number;
  readonly waits: number;
  /** Frames and objects taken beyond the need of a unit. */
  readonly overspends: number;
}

/** The plan as a whole. Frames. */
export interface ReservePlan {
  readonly nodes: readonly PlannedNode[];
  /** Σ limit and Σ usage over the accounts. */
  readonly reserved: number;
  readonly used: number;
  /** Name of the policy (M23). */
  readonly policy: string;
  /** A: what callers who cannot wait take between two refills. */
  readonly atomic: number;
  /** E: what the accounts may still ask for. */
  readonly emergency: number;
  readonly min: number;
  readonly low: number;
  readonly high: number;
  /** All standing memory of the kernel, declared by nodes or not. */
  readonly standing: number;
  readonly total: number;
  readonly free: number;
}

interface Admitted {
  readonly account: ReserveAccount;
  undo: (() => void | Promise<void>) | null;
}

export class ReservePlanner {
  readonly graph = new WriteoutGraph();
  readonly #memory: Memory;
  readonly #admitted = new Map<WriteoutNode, Admitted>();

  constructor(memory: Memory) {
    this.#memory = memory;
    this.graph.onChange = () => this.#followGraph();
  }

  /** Accounts know their level: the lowest is served first (M8). */
  #followGraph(): void {
    for (const [node, { account }] of this.#admitted) if (this.graph.has(node)) account.level = this.graph.levelOf(node);
    this.#memory.reserve.noteChange();
  }

  /** Frames of a node's account, as the policy has it. */
  #limitOf(node: WriteoutNode): number {
    return this.#memory.reserve.policy.limitOf(node, this.graph);
  }

  /** The account of a node. @throws KernelError EINVAL if it was not admitted. */
  accountOf(node: WriteoutNode): ReserveAccount {
    const admitted = this.#admitted.get(node);
    if (admitted === undefined) throw new KernelError('EINVAL', `${node.name} was not admitted`);
    return admitted.account;
  }

  /** The units of a node, or null if it is not admitted. */
  unitsOf(node: WriteoutNode): UnitPool | null {
    return this.#admitted.get(node)?.account.units ?? null;
  }

  /**
   * Admits nodes and edges.
   * @throws KernelError EDEADLK naming the cycle; ENOMEM naming node, path and shortfall; EEXIST, EINVAL; or what a node refused with.
   */
  async admit(task: TaskContext, admission: Admission): Promise<void> {
    const nodes = admission.candidates.map(({ node }) => node);
    this.graph.add({ nodes, edges: admission.edges });
    const undo: (() => void | Promise<void>)[] = [() => this.#forget(admission)];
    const prepared = new Map<WriteoutNode, () => void | Promise<void>>();
    try {
      if (this.#memory.reserve.policy.rightsCrossEdges) checkRights(this.graph, admission.edges);
      for (const { node, prepare } of admission.candidates) {
        const back = await prepare?.();
        if (back === undefined) continue;
        prepared.set(node, back);
        undo.push(back);
      }
      this.#checkRoom(nodes);
      await this.#memory.makeRoom(task, this.#addedBy(nodes));
      this.#prove(nodes);
    } catch (error) {
      for (const back of undo.reverse()) await back();
      throw error;
    }
    // In one step, and floors only rise: nobody is handed what the next account sets aside.
    for (const node of nodes) this.#admitted.set(node, { account: this.#open(node), undo: prepared.get(node) ?? null });
    this.#followLimits();
  }

  /**
   * Follows a footprint of an admitted node that has changed: what it needs more is set aside, as at admission.
   * @throws KernelError ENOMEM as `admit`, EINVAL; then the accounts are as before, and whoever changed the footprint changes it back.
   */
  async refit(task: TaskContext, node: WriteoutNode): Promise<void> {
    checkFootprint(node.name, node.footprint);
    this.accountOf(node);
    this.#checkRoom([]);
    await this.#memory.makeRoom(task, this.#addedBy([]));
    this.#prove([]);
    this.#followLimits();
  }

  #open(node: WriteoutNode): ReserveAccount {
    const { footprint } = node;
    return this.#memory.reserve.open(node.name, this.#limitOf(node), {
      need: needFrames(footprint),
      nrUnits: footprint.nrUnits,
      atomicFrames: atomicFrames(footprint),
      level: this.graph.levelOf(node),
      node,
    });
  }

  /** Limits that depend on the graph (vmio) follow it, and those of declarations that have changed. */
  #followLimits(): void {
    for (const [node, { account }] of this.#admitted) {
      account.need = needFrames(node.footprint);
      this.#memory.reserve.setLimit(account, this.#limitOf(node));
    }
  }

  /** Frames that all accounts get more than they have, with those of `nodes` opened. */
  #addedBy(nodes: readonly WriteoutNode[]): number {
    let added = nodes.reduce((sum, node) => sum + this.#limitOf(node), 0);
    for (const [node, { account }] of this.#admitted) added += Math.max(this.#limitOf(node) - account.limitFrames, 0);
    return added;
  }

  /** Takes what `admit` put into the graph out again. */
  #forget({ candidates, edges }: Admission): void {
    for (const [from, to] of edges) this.graph.removeEdge(from, to);
    for (const { node } of [...candidates].reverse()) this.graph.remove(node);
  }

  /** With the new accounts, do the floors leave anything beside what stands? */
  #checkRoom(nodes: readonly WriteoutNode[]): void {
    const { allocator, nrFrames } = this.#memory;
    const added = this.#addedBy(nodes);
    const atomic = nodes.reduce((sum, { footprint }) => sum + atomicFrames(footprint), 0);
    const standing = allocator.classCount(FrameClass.STANDING);
    const required = (n: number): number => standing + allocator.watermarksWith(added + atomic, n).high;
    const shortfall = required(nrFrames) - nrFrames;
    if (shortfall <= 0) return;
    let least = nrFrames;
    while (required(least) > least) least = required(least); // it grows with the arena, and slower
    throw this.#refusal(nodes, added + standing, Math.max(added + standing - shortfall, 0), shortfall, leastBudget(least));
  }

  /** Are the frames of the new accounts free, all at once, beside the band of the old? Whoever asks opens the accounts in the same step. */
  #prove(nodes: readonly WriteoutNode[]): void {
    const { allocator, reserve } = this.#memory;
    const wanted = this.#addedBy(nodes);
    const available = Math.max(allocator.nrFree - reserve.emergencyFrames, 0);
    const shortfall = wanted - available;
    if (shortfall > 0) throw this.#refusal(nodes, wanted, available, shortfall, this.#memory.leastBytesWith(shortfall));
  }

  #refusal(nodes: readonly WriteoutNode[], wanted: number, available: number, shortfall: number, least: number): KernelError {
    const cost = (node: WriteoutNode): number => limitFrames(node.footprint) + standingFrames(node.footprint);
    const worst = [...(nodes.length > 0 ? nodes : this.#admitted.keys())].sort((a, b) => cost(b) - cost(a))[0];
    const path = this.graph.pathTo(worst);
    const term = largestTerm(worst.footprint);
    const largest = term === null ? '' : `; its largest need is ${term.frames} frames for ${term.what}`;
    return new KernelError(
      'ENOMEM',
      `${worst.name} cannot be admitted: ${wanted} frames are wanted and ${available} can be had, ${shortfall} short${largest} (path ${path.join(' → ')}); ` +
        `the smallest memory budget that has room is ${formatSize(least)}, this kernel has ${formatSize(this.#memory.nrFrames * PAGE_SIZE)}`,
      {
        details: {
          node: worst.name,
          path,
          wantedFrames: wanted,
          availableFrames: available,
          shortfallFrames: shortfall,
          smallestMemoryBytes: least,
        },
      },
    );
  }

  /**
   * Takes a node out: its account is closed, what it prepared is undone.
   * @throws KernelError EBUSY while another node needs it, its account is in use or units of it are under way; EINVAL if it was not
   * admitted. Then nothing was changed.
   */
  async release(node: WriteoutNode): Promise<void> {
    const admitted = this.#requireIdle(node);
    this.graph.remove(node);
    this.#admitted.delete(node);
    this.#memory.reserve.close(admitted.account);
    this.#followLimits();
    await admitted.undo?.();
  }

  /** As `release`, for a node that is gone whether others need it or not: a server that closed. Its users keep their nodes. */
  async withdraw(node: WriteoutNode): Promise<void> {
    this.#requireIdle(node);
    for (const user of this.graph.predecessorsOf(node)) this.graph.removeEdge(user, node);
    await this.release(node);
  }

  #requireIdle(node: WriteoutNode): Admitted {
    const admitted = this.#admitted.get(node);
    if (admitted === undefined) throw new KernelError('EINVAL', `${node.name} was not admitted`);
    const { usageFrames, heldFrames, units } = admitted.account;
    if (usageFrames + heldFrames > 0)
      throw new KernelError('EBUSY', `${node.name} still holds ${Math.max(usageFrames, heldFrames)} frames`);
    if (units.nrOut + units.nrWaiters > 0)
      throw new KernelError('EBUSY', `${node.name} has ${units.nrOut} units under way and ${units.nrWaiters} tasks that wait for one`);
    return admitted;
  }

  /** The plan, lowest level first. */
  explain(): ReservePlan {
    const { allocator, reserve, nrFrames } = this.#memory;
    const nodes = [...this.#admitted].map(([node, { account }]) => this.#planned(node, account));
    nodes.sort((a, b) => a.level - b.level || a.name.localeCompare(b.name));
    const { min, low, high } = allocator.watermarks;
    return {
      nodes,
      policy: reserve.policy.name,
      atomic: reserve.atomicFrames,
      reserved: reserve.limitFrames,
      used: reserve.usageFrames,
      emergency: reserve.emergencyFrames,
      min,
      low,
      high,
      standing: allocator.classCount(FrameClass.STANDING),
      total: nrFrames,
      free: allocator.nrFree,
    };
  }

  #planned(node: WriteoutNode, account: ReserveAccount): PlannedNode {
    return {
      ...planNode(this.graph, node),
      limit: account.limitFrames,
      usage: account.usageFrames,
      highWater: account.highWaterFrames,
      held: account.heldFrames,
      unitsOut: account.units.nrOut,
      waiters: account.room.nrWaiters + account.units.nrWaiters,
      waits: account.nrWaits + account.units.nrWaits,
      overspends: account.nrOverspends,
    };
  }
}

/** Bytes of a memory of so many frames, in whole MiB. */
function leastBudget(nrFrames: number): number {
  const mib = 2 ** 20 / PAGE_SIZE;
  return Math.ceil(nrFrames / mib) * 2 ** 20;
}
