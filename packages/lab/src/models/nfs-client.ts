/**
 * A model of the NFS client: three nodes, write → commit → rpc, so that no unit waits for its own kind (M15).
 *
 *     write    pages of a call, from its WRITE until a COMMIT covers them: their write descriptors; the pages go by reference
 *     commit   one at a time: its own call and reply
 *     rpc      a call in flight: call with headers, reply
 *
 * What answers is a `NfsService`: a server in this kernel, or one far away. Pages are UNSTABLE until their COMMIT; as many WRITEs go out as
 * there are units, and then the COMMIT that ends them. Calls in flight are bounded by the transport's slots under every policy. Under
 * *composed* the plan says how many pages a call has, and that there is a unit for each slot (M5); the others have the protocol's sizes.
 */
import {
  type AddressSpaceOperations,
  type NegErrno,
  PAGE_SIZE,
  type Pfn,
  Semaphore,
  type TaskContext,
  type WriteoutEdge,
  type WriteoutNode,
} from '@tidemark/core';
import { CachedFile } from './cached-file.js';
import type { LabKernel } from './lab-kernel.js';
import type { PageStore } from './model-device.js';
import { ModelNode, type Unit } from './model-node.js';

/** The far end of the client's connection. */
export interface NfsService {
  /** The nodes that a WRITE and a COMMIT need, if they are of this kernel. */
  readonly writeNode: ModelNode | null;
  readonly commitNode: ModelNode | null;
  /** Answers a WRITE of consecutive pages, UNSTABLE. */
  write(index: number, pfns: readonly Pfn[]): Promise<void>;
  /** Answers a COMMIT: what was written before is stable. */
  commit(): Promise<void>;
}

/** Sizes of a mount: what a call carries, and how many are in flight. */
export interface NfsSizes {
  readonly pagesPerCall: number;
  readonly nrSlots: number;
}

/** Sizes under a policy: those of the plan, or those of a protocol that asks nobody. */
export function nfsSizes(lab: LabKernel): NfsSizes {
  return lab.policy.plansSizes ? { pagesPerCall: 1, nrSlots: 2 } : { pagesPerCall: 4, nrSlots: 8 };
}

export class ModelNfsClient {
  readonly write: ModelNode;
  readonly commit: ModelNode;
  readonly rpc: ModelNode;
  readonly #sizes: NfsSizes;
  readonly #slots: Semaphore;

  private constructor(
    readonly lab: LabKernel,
    name: string,
    readonly service: NfsService,
  ) {
    const callAndReply = [
      { what: 'call and headers', frames: 1 },
      { what: 'reply', frames: 1 },
    ];
    const kind = 'filesystem';
    this.#sizes = nfsSizes(lab);
    const nrUnits = this.#sizes.nrSlots;
    this.write = new ModelNode(lab, { name: `${name} write`, kind, unit: [{ what: 'write descriptors', frames: 1 }], nrUnits });
    this.commit = new ModelNode(lab, { name: `${name} commit`, kind, unit: callAndReply, nrUnits: 1 });
    this.rpc = new ModelNode(lab, { name: `${name} rpc`, kind, unit: callAndReply, nrUnits });
    this.#slots = new Semaphore(nrUnits, { kind: 'slots', name, heldBy: () => [this.rpc] });
  }

  /** Mounts it. @throws KernelError ENOMEM, EDEADLK. */
  static async mount(lab: LabKernel, name: string, service: NfsService): Promise<ModelNfsClient> {
    const client = new ModelNfsClient(lab, name, service);
    const { write, commit, rpc } = client;
    const edges: WriteoutEdge[] = [
      [write, commit],
      [commit, rpc],
    ];
    if (service.writeNode !== null && lab.policy.seesServers) edges.push([rpc, service.writeNode]);
    if (service.commitNode !== null && lab.policy.seesServers) edges.push([commit, service.commitNode]);
    await lab.admit([write, commit, rpc], edges);
    return client;
  }

  file(name: string, nrPages: number): CachedFile {
    return new CachedFile(this.lab, name, new NfsFileOps(this, name, nrPages));
  }

  /** Writes pages, as many calls at once as there are units. One that has a unit waits for no other: it writes with what it has. */
  async writePages(caller: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    const { pagesPerCall } = this.#sizes;
    for (let done = 0; done < count; ) {
      const units = [await this.write.begin(caller)];
      while (units.length * pagesPerCall < count - done) {
        const unit = this.write.tryBegin();
        if (unit === null) break;
        units.push(unit);
      }
      const calls = units.map((unit) => {
        const pages = pfns.slice(from + done, from + Math.min(done + pagesPerCall, count));
        const first = index + done;
        done += pages.length;
        return this.#writeCall(unit, first, [...pages]);
      });
      await Promise.all(calls);
      await units[0].waitFor(this.commit, this.#commit(units[0].task));
      for (const unit of units) unit.end();
    }
    return 0;
  }

  /** A file that is pinned: each page is written stable by a call of its own, and nothing waits for a COMMIT. */
  pinnedStore(name: string, sizePages: number, service: NfsService & { read(index: number, pfn: Pfn): Promise<void> }): PageStore {
    return {
      name,
      sizePages,
      needs: [this.write],
      write: async (task, index, pfn) => {
        const unit = await this.write.begin(task);
        await this.#writeCall(unit, index, [pfn]);
        unit.end();
        return 0;
      },
      read: async (task, index, pfn) => {
        await this.#call(task, () => service.read(index, pfn));
        return 0;
      },
      flush: async () => 0,
    };
  }

  async #writeCall(unit: Unit, index: number, pfns: readonly Pfn[]): Promise<void> {
    await unit.take(1);
    await unit.waitFor(
      this.rpc,
      this.#call(unit.task, () => this.service.write(index, pfns)),
    );
  }

  async #call(caller: TaskContext, answer: () => Promise<void>): Promise<void> {
    await this.#slots.acquire(caller);
    const unit = await this.rpc.begin(caller);
    await unit.take(2);
    const { writeNode } = this.service;
    await (writeNode === null ? answer() : unit.waitFor(writeNode, answer()));
    unit.end();
    this.#slots.release();
  }

  async #commit(caller: TaskContext): Promise<void> {
    const { service } = this;
    const unit = await this.commit.begin(caller);
    await unit.take(2);
    const { commitNode } = service;
    await (commitNode === null ? service.commit() : unit.waitFor(commitNode, service.commit()));
    unit.end();
  }
}

/** A file on the mount. */
class NfsFileOps implements AddressSpaceOperations {
  readonly beginsUnits = true;
  readonly sizeBytes: number;
  readonly #writer: TaskContext;

  constructor(
    readonly client: ModelNfsClient,
    name: string,
    nrPages: number,
  ) {
    this.sizeBytes = nrPages * PAGE_SIZE;
    this.#writer = client.lab.kernel.task.named(`writer of ${name}`);
  }

  writesThrough(): WriteoutNode {
    return this.client.write;
  }

  readFolio(): 0 {
    return 0;
  }

  writepages(_task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    return this.client.writePages(this.#writer, index, pfns, from, count);
  }

  sync(): 0 {
    return 0; // every page is covered by a COMMIT when its write ends
  }
}
