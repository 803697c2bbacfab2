/**
 * The planner (M5): nothing is admitted that could not be served with the memory there is.
 *
 *     admit   1  nodes and edges into the graph                      a cycle: EDEADLK
 *             2  prepare each node, the top one first                it takes what stands, or refuses
 *             3  need × units of each node, summed                   Σ limit
 *             4  do the new floors leave room beside what stands?    no: ENOMEM, naming node and shortfall
 *             5  reclaim, and prove it: that many frames are free beside E
 *             6  open the accounts; the floors rise
 *     any failure undoes what was done, in reverse, and leaves everything as it was
 *     release the same the other way, only at usage 0
 */
import { invariant, KernelError } from '../base/errno.js';
import type { TaskContext } from '../task/task-context.js';
import { FrameClass } from './frame-table.js';
import { largestTerm, limitFrames, needFrames, standingFrames } from './footprint.js';
import type { Memory } from './memory.js';
import type { ReserveAccount } from './reserve.js';
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

/** One node of the plan. Frames. */
export interface PlannedNode {
  readonly name: string;
  readonly kind: string;
  /** From the top, by name. */
  readonly path: readonly string[];
  /** Longest way down; the lowest is served first. */
  readonly level: number;
  readonly nrUnits: number;
  /** What one unit holds at most. */
  readonly need: number;
  /** What was declared to stand. */
  readonly standing: number;
  /** The account: need × units. */
  readonly limit: number;
  readonly usage: number;
  readonly highWater: number;
  /** Tasks that wait for room in the account. */
  readonly waiters: number;
  readonly needs: readonly string[];
  /** Every term that was declared, largest first. */
  readonly terms: readonly { readonly what: string; readonly frames: number; readonly standing: boolean }[];
}

/** The plan as a whole. Frames. */
export interface ReservePlan {
  readonly nodes: readonly PlannedNode[];
  /** Σ limit and Σ usage over the accounts. */
  readonly reserved: number;
  readonly used: number;
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
  }

  /** The account of a node. @throws KernelError EINVAL if it was not admitted. */
  accountOf(node: WriteoutNode): ReserveAccount {
    const admitted = this.#admitted.get(node);
    if (admitted === undefined) throw new KernelError('EINVAL', `${node.name} was not admitted`);
    return admitted.account;
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
      for (const { node, prepare } of admission.candidates) {
        const back = await prepare?.();
        if (back === undefined) continue;
        prepared.set(node, back);
        undo.push(back);
      }
      this.#checkRoom(nodes);
      await this.#memory.makeRoom(task, framesOfAccounts(nodes));
      this.#prove(nodes);
    } catch (error) {
      for (const back of undo.reverse()) await back();
      throw error;
    }
    for (const node of nodes) {
      const account = this.#memory.reserve.open(node.name, limitFrames(node.footprint));
      this.#admitted.set(node, { account, undo: prepared.get(node) ?? null });
    }
  }

  /** Takes what `admit` put into the graph out again. */
  #forget({ candidates, edges }: Admission): void {
    for (const [from, to] of edges) this.graph.removeEdge(from, to);
    for (const { node } of [...candidates].reverse()) this.graph.remove(node);
  }

  /** With the new accounts, do the floors leave anything beside what stands? */
  #checkRoom(nodes: readonly WriteoutNode[]): void {
    const { allocator, nrFrames } = this.#memory;
    const added = framesOfAccounts(nodes);
    const standing = allocator.classCount(FrameClass.STANDING);
    const shortfall = standing + allocator.watermarksWith(added).high - nrFrames;
    if (shortfall > 0) throw this.#refusal(nodes, added + standing, Math.max(added + standing - shortfall, 0), shortfall);
  }

  /** Are the frames of the new accounts free, all at once, beside the band of the old? Whoever asks opens the accounts in the same step. */
  #prove(nodes: readonly WriteoutNode[]): void {
    const { allocator, reserve } = this.#memory;
    const wanted = framesOfAccounts(nodes);
    const available = Math.max(allocator.nrFree - reserve.emergencyFrames, 0);
    if (available < wanted) throw this.#refusal(nodes, wanted, available, wanted - available);
  }

  #refusal(nodes: readonly WriteoutNode[], wanted: number, available: number, shortfall: number): KernelError {
    const cost = (node: WriteoutNode): number => limitFrames(node.footprint) + standingFrames(node.footprint);
    const worst = [...nodes].sort((a, b) => cost(b) - cost(a))[0];
    const path = this.graph.pathTo(worst);
    const term = largestTerm(worst.footprint);
    const largest = term === null ? '' : `; its largest need is ${term.frames} frames for ${term.what}`;
    return new KernelError(
      'ENOMEM',
      `${worst.name} cannot be admitted: ${wanted} frames are wanted and ${available} can be had, ${shortfall} short${largest} (path ${path.join(' → ')})`,
      { details: { node: worst.name, path, wantedFrames: wanted, availableFrames: available, shortfallFrames: shortfall } },
    );
  }

  /**
   * Takes a node out: its account is closed, what it prepared is undone.
   * @throws KernelError EBUSY while another node needs it or its account is in use; then nothing was changed.
   */
  async release(node: WriteoutNode): Promise<void> {
    const admitted = this.#admitted.get(node);
    invariant(admitted !== undefined, 'a node was released that had not been admitted');
    if (admitted.account.usageFrames > 0)
      throw new KernelError('EBUSY', `${node.name} still holds ${admitted.account.usageFrames} frames of its account`);
    this.graph.remove(node);
    this.#admitted.delete(node);
    this.#memory.reserve.close(admitted.account);
    await admitted.undo?.();
  }

  /** As `release`, for a node that is gone whether others need it or not: a server that closed. Its users keep their nodes. */
  async withdraw(node: WriteoutNode): Promise<void> {
    for (const user of this.graph.predecessorsOf(node)) this.graph.removeEdge(user, node);
    await this.release(node);
  }

  /** The plan, lowest level first. */
  explain(): ReservePlan {
    const { allocator, reserve, nrFrames } = this.#memory;
    const nodes = [...this.#admitted].map(([node, { account }]) => this.#planned(node, account));
    nodes.sort((a, b) => a.level - b.level || a.name.localeCompare(b.name));
    const { min, low, high } = allocator.watermarks;
    return {
      nodes,
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
    const { footprint } = node;
    const terms = [
      ...footprint.standing.map((term) => ({ ...term, standing: true })),
      ...footprint.unit.map(({ what, frames }) => ({ what, frames: frames * footprint.nrUnits, standing: false })),
    ];
    return {
      name: node.name,
      kind: node.kind,
      path: this.graph.pathTo(node),
      level: this.graph.levelOf(node),
      nrUnits: footprint.nrUnits,
      need: needFrames(footprint),
      standing: standingFrames(footprint),
      limit: account.limitFrames,
      usage: account.usageFrames,
      highWater: account.highWaterFrames,
      waiters: account.room.nrWaiters,
      needs: this.graph.successorsOf(node).map(({ name }) => name),
      terms: terms.sort((a, b) => b.frames - a.frames),
    };
  }
}

function framesOfAccounts(nodes: readonly WriteoutNode[]): number {
  return nodes.reduce((sum, node) => sum + limitFrames(node.footprint), 0);
}
