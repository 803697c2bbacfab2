/**
 * A model of a transactional, copy-on-write filesystem under a swap file (T14): writing a page copies the path of the tree above it, and
 * the copies stay in memory until the transaction commits. A transaction takes whoever comes; nobody can say how large it gets, so no
 * honest footprint is finite.
 */
import { type NegErrno, type Pfn, type TaskContext, WaitQueue } from '@tidemark/core';
import type { LabKernel } from './lab-kernel.js';
import type { PageStore } from './model-device.js';
import { ModelNode } from './model-node.js';

/** Copies of tree blocks for one page. */
const TREE_DEPTH = 3;
/** What a commit takes for itself. */
const COMMIT_FRAMES = 2;
/** Milliseconds that a transaction stays open once it has a member. */
const OPEN_MS = 1;

export class ModelCowFileSystem implements PageStore {
  readonly node: ModelNode;
  readonly needs: readonly ModelNode[];
  readonly #committed: WaitQueue;
  readonly #caller: TaskContext;
  #nrMembers = 0;
  #nrReady = 0;
  #isCommitting = false;

  private constructor(
    readonly lab: LabKernel,
    readonly name: string,
    readonly below: PageStore,
  ) {
    const frames = lab.policy.checksGraph ? Number.POSITIVE_INFINITY : 0; // the others ask nobody
    const unit = [{ what: 'tree blocks of a transaction without bound', frames }];
    this.node = new ModelNode(lab, { name: `${name} transaction`, kind: 'filesystem', unit, nrUnits: 1 });
    this.needs = [this.node];
    this.#caller = lab.kernel.task.named(name);
    this.#committed = new WaitQueue({ kind: 'transaction', name, heldBy: () => [this.node] });
  }

  get sizePages(): number {
    return this.below.sizePages;
  }

  /** Mounts it. @throws KernelError EINVAL under a policy that wants to know what a unit takes. */
  static async mount(lab: LabKernel, name: string, below: PageStore): Promise<ModelCowFileSystem> {
    const fs = new ModelCowFileSystem(lab, name, below);
    await lab.admit(
      [fs.node],
      below.needs.map((node) => [fs.node, node] as const),
    );
    return fs;
  }

  async write(index: number, pfn: Pfn): Promise<0 | NegErrno> {
    while (this.#isCommitting) await this.#committed.wait(this.#caller);
    if (this.#nrMembers++ === 0) this.lab.kernel.clock.setTimer(OPEN_MS, () => void this.#commit());
    const unit = await this.node.begin(this.#caller);
    await unit.take(TREE_DEPTH);
    const status = await this.below.write(index, pfn);
    this.#nrReady++;
    this.#committed.wakeAll();
    do await this.#committed.wait(unit.task);
    while (this.#nrReady > 0);
    unit.end();
    return status;
  }

  /** Waits for every member, then writes the tree. */
  async #commit(): Promise<void> {
    this.#isCommitting = true;
    while (this.#nrReady < this.#nrMembers) await this.#committed.wait(this.#caller);
    const unit = await this.node.begin(this.#caller);
    await unit.take(COMMIT_FRAMES);
    await this.below.flush();
    unit.end();
    this.#nrMembers = 0;
    this.#nrReady = 0;
    this.#isCommitting = false;
    this.#committed.wakeAll();
  }

  read(index: number, pfn: Pfn): Promise<0 | NegErrno> {
    return this.below.read(index, pfn);
  }

  flush(): Promise<0 | NegErrno> {
    return this.below.flush();
  }
}
