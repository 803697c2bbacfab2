/**
 * Model nodes: members of the writeout graph with honest footprints, for the parts of a chain that have no plugin yet.
 *
 * A model node is admitted like any other. For each unit of its writeout it begins a unit, takes its declared frames with the unit's
 * ticket at the moments the real one would, calls the node below, waits for its end, frees, and ends:
 *
 *     const unit = await node.begin(task);      waits for a unit of the account (M8)
 *     await unit.take(2);                       as a cannot-fail allocation: what the policy refuses is asked for again
 *     … the node below …
 *     unit.end();                               what it holds goes back first (M5)
 *
 * Under policies that do not bound units the ticket is only the mark "this is writeout". Tasks bear the name of their node, so that the
 * cycles of two runs compare.
 */
import {
  errnoName,
  type FootprintTerm,
  Gfp,
  KernelError,
  type NodeFootprint,
  type Pfn,
  type TaskContext,
  type WaitParty,
  WaitQueue,
  type WriteoutNode,
  type WriteoutTicket,
} from '@tidemark/core';
import type { LabKernel } from './lab-kernel.js';

/** What a model node declares. */
export interface ModelNodeSpec {
  readonly name: string;
  readonly kind: string;
  /** What one unit holds at once. */
  readonly unit: readonly FootprintTerm[];
  readonly nrUnits: number;
  readonly standing?: readonly FootprintTerm[];
}

/** Milliseconds after which an allocation that failed at once is tried again. */
const RETRY_MS = 100;

export class ModelNode implements WriteoutNode, WaitParty {
  readonly name: string;
  readonly kind: string;
  readonly footprint: NodeFootprint;
  /** What its work runs as: inside the node, and never in direct reclaim on its own behalf. */
  readonly task: TaskContext;
  readonly #units = new Set<Unit>();

  constructor(
    readonly lab: LabKernel,
    spec: ModelNodeSpec,
  ) {
    this.name = spec.name;
    this.kind = spec.kind;
    this.footprint = { standing: spec.standing ?? [], unit: spec.unit, nrUnits: spec.nrUnits };
    this.task = lab.kernel.task.named(spec.name).within(this);
    lab.models.push(this);
  }

  /** Units at once. */
  get nrUnits(): number {
    return this.footprint.nrUnits;
  }

  /** Units under way now. */
  get nrOut(): number {
    return this.#units.size;
  }

  /** Who works on it: the tasks of its units. */
  *heldBy(): Generator<WaitParty> {
    if (this.#units.size > 0) yield { name: this.name };
  }

  /**
   * Begins a unit, waiting for one.
   * @param caller who waits, in a stall report.
   * @throws KernelError if the wait ends with an error.
   */
  async begin(caller: TaskContext): Promise<Unit> {
    const { units } = this.lab.kernel.reserves.accountOf(this);
    if (units.nrFree === 0) this.lab.note(caller.name, `waits for a unit of ${this.name}`);
    const ticket = await units.begin(caller);
    if (typeof ticket === 'number') throw new KernelError(errnoName(ticket), `${caller.name} gets no unit of ${this.name}`);
    return this.#begun(ticket);
  }

  /** Begins a unit if one is free. */
  tryBegin(): Unit | null {
    const ticket = this.lab.kernel.reserves.accountOf(this).units.tryBegin(this.task);
    return ticket === null ? null : this.#begun(ticket);
  }

  #begun(ticket: WriteoutTicket): Unit {
    const unit = new Unit(this, ticket, () => {
      this.#units.delete(unit);
      this.lab.note(this.name, 'ends a unit');
    });
    this.#units.add(unit);
    this.lab.note(this.name, 'begins a unit');
    return unit;
  }
}

/** One unit under way. */
export class Unit {
  readonly task: TaskContext;
  readonly #held: Pfn[] = [];

  constructor(
    readonly node: ModelNode,
    readonly ticket: WriteoutTicket,
    private readonly onEnd: () => void,
  ) {
    this.task = node.task.withTicket(ticket);
  }

  /** Takes frames, and keeps them till `free` or `end`. */
  async take(nrFrames: number): Promise<void> {
    while (nrFrames-- > 0) this.#held.push(await this.node.lab.allocate(this.task, Gfp.TRANSIENT));
  }

  /** Waits for what another node does for it: in a stall report this unit waits for that node. */
  waitFor<T>(node: WriteoutNode, work: Promise<T>): Promise<T> {
    return this.node.lab.waiting(this.task, node, work);
  }

  /** The frame that was taken last. */
  get lastTaken(): Pfn {
    return this.#held[this.#held.length - 1];
  }

  /** Gives back the last `nrFrames`. */
  free(nrFrames = this.#held.length): void {
    for (const pfn of this.#held.splice(this.#held.length - nrFrames)) this.node.lab.kernel.memory.allocator.freePage(pfn);
  }

  /** The unit is over; what it holds goes back first. */
  end(): void {
    this.free();
    this.ticket.end();
    this.onEnd();
  }
}

/**
 * Where an allocation waits that failed at once and must not fail: for the next try, 100 ms later. One timer for a kernel. What it waits
 * for is memory, and who must give it back is whoever writes pages out.
 */
export class MemoryRetry {
  readonly #queue: WaitQueue;
  readonly #lab: LabKernel;
  #isArmed = false;

  constructor(lab: LabKernel) {
    this.#lab = lab;
    this.#queue = new WaitQueue({ kind: 'frames', name: 'any free frame', heldBy: () => lab.kernel.reclaim.inFlight() });
  }

  async wait(task: TaskContext): Promise<number> {
    if (!this.#isArmed) {
      this.#isArmed = true;
      this.#lab.kernel.clock.setTimer(RETRY_MS, () => {
        this.#isArmed = false;
        this.#queue.wakeAll();
      });
    }
    return this.#queue.wait(task);
  }
}
