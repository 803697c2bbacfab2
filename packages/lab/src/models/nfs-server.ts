/**
 * A model of the NFS server in this kernel: it turns each WRITE into a dirty page of the exported file (M16). Two nodes, write → commit,
 * since the end of the first waits for the second:
 *
 *     write    a WRITE, until a COMMIT covers it: request and reply, and the cache pages
 *     commit   a COMMIT: its request; it waits for the file's pages and for the journal
 *
 * The write's unit ends when its pages are clean and exchanged or freed (M5). Under *composed* it spends the server's own account, of which
 * there is a unit for each of the client's; elsewhere units have no bound and the ticket is whatever mark the policy sees in it.
 */
import { PAGE_SIZE, type Pfn, type TaskContext } from '@tidemark/core';
import type { CachedFile } from './cached-file.js';
import type { ModelExt3 } from './ext3.js';
import type { LabKernel } from './lab-kernel.js';
import { ModelNode, type Unit } from './model-node.js';
import { type NfsService, nfsSizes } from './nfs-client.js';

export interface ModelNfsServerSpec {
  readonly fs: ModelExt3;
  /** The file that is exported. */
  readonly file: CachedFile;
}

export class ModelNfsServer implements NfsService {
  readonly writeNode: ModelNode;
  readonly commitNode: ModelNode;
  readonly #spec: ModelNfsServerSpec;
  readonly #listener: TaskContext;
  /** Units whose pages no COMMIT has covered. */
  #uncommitted: { unit: Unit; indexes: readonly number[] }[] = [];

  private constructor(
    readonly lab: LabKernel,
    spec: ModelNfsServerSpec,
  ) {
    this.#spec = spec;
    this.#listener = lab.kernel.task.named('nfs-server listener');
    const request = { what: 'request and reply', frames: 1 };
    const { nrSlots, pagesPerCall } = nfsSizes(lab); // a unit for each of the client's
    const unit = [request, { what: 'cache pages', frames: pagesPerCall }];
    this.writeNode = new ModelNode(lab, { name: 'nfs-server', kind: 'server', unit, nrUnits: nrSlots });
    this.commitNode = new ModelNode(lab, { name: 'nfs-server commit', kind: 'server', unit: [request], nrUnits: 1 });
  }

  /** Exports a file. @throws KernelError ENOMEM, EDEADLK. */
  static async export(lab: LabKernel, spec: ModelNfsServerSpec): Promise<ModelNfsServer> {
    const server = new ModelNfsServer(lab, spec);
    const { writeNode, commitNode } = server;
    await lab.admit(
      [writeNode, commitNode],
      [
        [writeNode, commitNode],
        [commitNode, spec.fs.journal],
      ],
    );
    return server;
  }

  async write(index: number, pfns: readonly Pfn[]): Promise<void> {
    await this.lab.turn();
    const unit = await this.writeNode.begin(this.#listener);
    await unit.take(1);
    for (const [i, pfn] of pfns.entries()) await this.#writePage(unit, index + i, pfn);
    unit.free();
    this.#uncommitted.push({ unit, indexes: pfns.map((_pfn, i) => index + i) });
    await this.lab.turn();
  }

  /** Brings the page in; a server that is refused memory asks again. */
  async #writePage(unit: Unit, index: number, pfn: Pfn): Promise<void> {
    const { kernel, policy } = this.lab;
    const { fs, file } = this.#spec;
    const { serverRights = (own) => own } = policy;
    const task = policy.throttlesServers ? unit.task.withTicket(null) : serverRights(unit.task).localThrottle(fs.spec.device);
    await this.lab.insist(task, () => file.write(task, index, kernel.memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE)));
    this.lab.note(this.writeNode.name, `has dirtied page ${index}`);
  }

  async commit(): Promise<void> {
    await this.lab.turn();
    const covered = this.#uncommitted;
    this.#uncommitted = [];
    const unit = await this.commitNode.begin(this.#listener);
    await unit.take(1);
    await this.#spec.file.sync(unit.task);
    unit.end();
    for (const { unit: write, indexes } of covered) {
      for (const index of indexes) this.#letGo(index);
      write.end();
    }
    await this.lab.turn();
  }

  /** The page is clean: the unit gives its frame up. It stays as cache if another takes its place in the band, else it goes. */
  #letGo(index: number): void {
    const { file } = this.#spec;
    const pfn = file.cleanFrame(index);
    if (pfn >= 0 && !this.lab.kernel.memory.allocator.exchange(pfn)) file.drop(index);
  }
}
