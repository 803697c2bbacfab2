/**
 * Topologies: stacks through which pages are written out, at the preconditions under which policies differ (M23). A topology sets its
 * stack up from prepared images, says `begins`, and puts a load on it that ends when every page of it is where it belongs.
 */
import type { World } from '@tidemark/testkit';
import { LabKernel, type LabKernelSpec, type Note } from './models/lab-kernel.js';
import type { LabPolicy } from './policies.js';
import type { TopologyNode } from './result.js';

export interface Topology {
  /** `T6`. */
  readonly name: string;
  /** What the chain is. */
  readonly title: string;
  /** Memory, load and pacing of the run, against those of M23. */
  readonly preconditions: string;
  /** How its peers are connected; null if it has none. */
  readonly transport: 'stream' | 'packet' | 'packet model' | 'loopback model' | null;
  /** See the testkit's `ProgressWatch`. Default 5,000: longer than any retry of the models. */
  readonly patienceMs?: number;
  run(stage: Stage): Promise<void>;
}

/** What a topology runs on: a world, a policy, and the kernels that it boots. */
export class Stage {
  readonly kernels: LabKernel[] = [];
  #nodes: TopologyNode[] | null = null;

  constructor(
    readonly world: World,
    readonly policy: LabPolicy,
    private readonly onNote: Note | null = null,
  ) {}

  /** Boots a kernel under the policy. */
  async boot(spec: LabKernelSpec): Promise<LabKernel> {
    const lab = await LabKernel.boot(this.world, this.policy, spec, this.onNote);
    this.kernels.push(lab);
    return lab;
  }

  /** Everything is admitted; from here on nothing is refused, it completes, hangs or runs out. */
  begins(): void {
    this.#nodes = this.#nodesNow();
    for (const lab of this.kernels) lab.note('topology', 'is admitted; the load begins');
  }

  get isAdmitted(): boolean {
    return this.#nodes !== null;
  }

  /** The nodes that were admitted; those that were there, if admission failed. */
  get nodes(): readonly TopologyNode[] {
    return this.#nodes ?? this.#nodesNow();
  }

  #nodesNow(): TopologyNode[] {
    return this.kernels.flatMap((lab) => lab.nodes());
  }
}
