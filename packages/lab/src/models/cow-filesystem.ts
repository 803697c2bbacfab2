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
  readonly #committer: TaskContext;
  #nrMembers = 0;
  #nrReady = 0;
  #isCommitting = false;

  private constructor(
    readonly lab: LabKernel,
    readonly name: string,
    readonly below: PageStore,
  ) {
    const frames = lab.policy.checksGraph ? Number.POSITIVE_INFINITY : TREE_DEPTH; // the others ask nobody; a guess
    const unit = [{ what: 'tree blocks of a transaction without bound', frames }];
    this.node = new ModelNode(lab, { name: `${name} transaction`, kind: 'filesystem', unit, nrUnits: 1 });
    this.needs = [this.node];
    this.#committer = lab.kernel.task.named(`commit of ${name}`);
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

  async write(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno> {
    while (this.#isCommitting) await this.#committed.wait(task);
    if (this.#nrMembers++ === 0) this.lab.kernel.clock.setTimer(OPEN_MS, () => void this.#commit());
    const unit = await this.node.begin(task);
    await unit.take(TREE_DEPTH);
    const status = await this.below.write(unit.task, index, pfn);
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
    while (this.#nrReady < this.#nrMembers) await this.#committed.wait(this.#committer);
    const unit = await this.node.begin(this.#committer);
    await unit.take(COMMIT_FRAMES);
    await this.below.flush(unit.task);
    unit.end();
    this.#nrMembers = 0;
    this.#nrReady = 0;
    this.#isCommitting = false;
    this.#committed.wakeAll();
  }

  read(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno> {
    return this.below.read(task, index, pfn);
  }

  flush(task: TaskContext): Promise<0 | NegErrno> {
    return this.below.flush(task);
  }
}
