/**
 * The memory of a model: free frames, and for each node the frames charged to its account and its units that are out, as cells of the state.
 *
 * Who may take a frame or begin a unit is asked of core's own `ReservePolicy`, with the state's figures behind it, so that the search checks
 * the rules that are shipped and not a copy of them. The order of sources is that of `PageAllocator.allocPage`:
 *
 *     free > floor of the caller      free memory; the policy says whether only a right to the reserve got it
 *     else, if the policy says so     the account of the caller's ticket, as far as its limit goes: free ≥ E, so a frame is there
 *     else                            it waits
 *
 * A frame that is held is a cell with its `Source`. Waiting is a step that is not possible yet: whoever waits takes a frame whenever it may,
 * in any order. So what holds here holds under any order of service; the order itself is the subject of the space `hand-off`.
 */
import {
  computeWatermarks,
  createCounters,
  Gfp,
  OnNo,
  type PolicyMemory,
  type ReserveAccount,
  type ReservePolicy,
  type ReservePolicyFactory,
  ReserveTree,
  TaskContext,
  TracePoints,
  Violations,
  WriteoutGraph,
  type WriteoutNode,
  WriteoutTicket,
} from '@tidemark/core';
import type { SearchModel, State } from '@tidemark/testkit';

/** Where a frame that is held came from. A cell. */
export const Source = {
  NONE: 0,
  FREE: 1,
  ACCOUNT: 2,
  /** Free memory that only a right to the reserve got (`PG.RESERVE`). */
  RESERVE: 3,
} as const;
export type Source = (typeof Source)[keyof typeof Source];
export const SOURCE_MAX = 3;

/** A node of the writeout graph as a model declares it. */
export interface ModelNodeSpec {
  readonly name: string;
  /** As in the writeout graph; `swap-area` for one that pins what is below. */
  readonly kind: string;
  /** Frames of one unit (M5). */
  readonly need: number;
  readonly nrUnits: number;
  /** Its part of A (M3): what its callers who cannot wait take between two refills. Default 0. */
  readonly atomicFrames?: number;
  /** Its work is a part of reclaim. */
  readonly isReclaim?: boolean;
}

export interface ModelMemorySpec {
  readonly nrFrames: number;
  /** M1's `min`, set by hand: such small arenas lie below its clamp. */
  readonly minFrames: number;
  /** A chain: each needs the next. */
  readonly nodes: readonly ModelNodeSpec[];
  readonly policy: ReservePolicyFactory;
  /** Frames free at the beginning. Default: free memory has come down to the ordinary floor. */
  readonly initiallyFree?: number;
}

/** A node with its cells. */
export interface MemoryNode extends WriteoutNode {
  readonly spec: ModelNodeSpec;
  /** Cells: frames charged to its account; frames that only a right to the reserve got; units begun and not ended. */
  readonly usage: number;
  readonly reserved: number;
  readonly out: number;
  readonly account: ReserveAccount;
  /** Who allocates for it: a task with this ticket of the account. */
  readonly task: TaskContext;
  readonly ticket: WriteoutTicket;
}

export class ModelMemory implements PolicyMemory {
  readonly clock = null;
  readonly isReclaimHopeless = false;
  /** Core's own; its usage is that of the state that was looked at last. */
  readonly reserve: ReserveTree;
  readonly policy: ReservePolicy;
  /** The ordinary floor. */
  min = 0;
  nrFree = 0;
  /** Cell: free frames. */
  readonly free: number;
  readonly nodes: readonly MemoryNode[];
  readonly #anybody = TaskContext.root('anybody');

  /** Declares the cells of memory in `model`. At the beginning free memory has come down to the ordinary floor. */
  constructor(
    model: SearchModel,
    readonly spec: ModelMemorySpec,
  ) {
    const counters = createCounters();
    this.reserve = new ReserveTree(counters, new Violations(counters, new TracePoints()));
    this.policy = this.reserve.policy = spec.policy(this);
    const nodes = spec.nodes.map((node) => ({
      spec: node,
      name: node.name,
      kind: node.kind,
      footprint: { standing: [], unit: [{ what: 'unit', frames: node.need }], nrUnits: node.nrUnits },
    }));
    const graph = new WriteoutGraph();
    graph.add({ nodes, edges: nodes.slice(1).map((node, i) => [nodes[i], node]) });
    this.nodes = nodes.map((node) => {
      const { name, spec: declared } = node;
      const { need, nrUnits } = declared;
      const limit = this.policy.limitOf(node, graph);
      const account = this.reserve.open(name, limit, {
        need,
        nrUnits,
        level: graph.levelOf(node),
        node,
        atomicFrames: declared.atomicFrames ?? 0,
      });
      const ticket = new WriteoutTicket(account, need);
      const task = TaskContext.root(name).withTicket(ticket);
      const usage = model.cell(`${name}.usage`, spec.nrFrames);
      const reserved = model.cell(`${name}.reserved`, spec.nrFrames);
      const out = model.cell(`${name}.out`, spec.nrFrames);
      return { ...node, usage, reserved, out, account, ticket, task: declared.isReclaim ? task.asReclaimer() : task };
    });
    this.min = this.policy.minOf(computeWatermarks(spec.nrFrames, { minFrames: spec.minFrames }).min, 0);
    this.free = model.cell('free', spec.nrFrames, spec.initiallyFree ?? this.min);
    model.invariant('usage ≤ limit', (s) => this.nodes.every(({ account, usage }) => s[usage] <= account.limitFrames));
    model.invariant('free ≥ E', (s) => s[this.free] >= this.emergencyOf(s));
  }

  /** E of M3: what the accounts may still ask for. */
  emergencyOf(s: State): number {
    let frames = 0;
    for (const { account, usage } of this.nodes) frames += account.limitFrames - s[usage];
    return frames;
  }

  /**
   * Where an allocation of a unit of `node` would get a frame now.
   * @param held the cells of the frames of this node that the unit may hold already.
   */
  sourceFor(s: State, node: MemoryNode, held: readonly number[]): Source {
    this.#look(s);
    let own = 0;
    for (const cell of held) if (s[cell] === Source.RESERVE) own++;
    this.#showReserved(node, own, s[node.reserved] - own);
    if (s[this.free] > this.policy.floorOf(node.task, Gfp.TRANSIENT))
      return this.policy.isTagged(node.task, Gfp.TRANSIENT, s[this.free]) ? Source.RESERVE : Source.FREE;
    return this.policy.onNo(node.task, Gfp.TRANSIENT) === OnNo.ACCOUNT && s[node.usage] < node.account.limitFrames
      ? Source.ACCOUNT
      : Source.NONE;
  }

  /** Whether a task without a ticket may take a frame now. */
  mayTakeOrdinary(s: State, gfp: number = Gfp.FILE): boolean {
    this.#look(s);
    return s[this.free] > this.policy.floorOf(this.#anybody, gfp);
  }

  /** Takes a frame for a unit of `node` and notes its source in a cell. The step must have been possible. */
  take(s: State, node: MemoryNode, held: readonly number[], into: number): void {
    const source = this.sourceFor(s, node, held);
    s[into] = source;
    s[this.free]--;
    if (source === Source.ACCOUNT) s[node.usage]++;
    if (source === Source.RESERVE) s[node.reserved]++;
  }

  /** Frees the frame of a cell, if it holds one: first free, then uncharged (M5). */
  give(s: State, node: MemoryNode, from: number): void {
    if (s[from] === Source.NONE) return;
    s[this.free]++;
    this.uncharge(s, node, from);
  }

  /** The frame of a cell is no longer the unit's: it was freed, or given to somebody. */
  uncharge(s: State, node: MemoryNode, from: number): void {
    if (s[from] === Source.ACCOUNT) s[node.usage]--;
    if (s[from] === Source.RESERVE) s[node.reserved]--;
    s[from] = Source.NONE;
  }

  /** Whether another unit of `node` may begin now (M8). */
  mayBegin(s: State, node: MemoryNode): boolean {
    this.#look(s);
    return s[node.out] < this.policy.unitsOf(node.account);
  }

  /** What a unit of `node` waits for that gets no frame: by the floor of its node, whoever has the gap. */
  waitedForBy(s: State, node: MemoryNode): string {
    this.#look(s);
    this.#showReserved(node, s[node.reserved], 0);
    if (this.policy.onNo(node.task, Gfp.TRANSIENT) === OnNo.ACCOUNT) return `account: ${node.name}`;
    return this.floorName(this.policy.floorOf(node.task, Gfp.TRANSIENT));
  }

  floorName(floor: number): string {
    return `frames: free above ${floor === this.min ? 'min' : floor}`;
  }

  /** Shows core a state. */
  #look(s: State): void {
    this.nrFree = s[this.free];
    for (const { account, usage } of this.nodes) {
      const change = s[usage] - account.usageFrames;
      if (change > 0) account.charge(change);
      else if (change < 0) account.uncharge(-change);
    }
  }

  /** Shows core how many frames of the reserve the unit that is asked about holds, and the others of its node. */
  #showReserved({ ticket, account }: MemoryNode, ownFrames: number, otherFrames: number): void {
    const own = ownFrames - ticket.reservedFrames;
    if (own !== 0) ticket.addFrames(own, own);
    const others = otherFrames - account.shared.reservedFrames;
    if (others !== 0) account.shared.addFrames(others, others);
  }
}
