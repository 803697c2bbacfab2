/**
 * A model of an NBD client and its server in one kernel (M21).
 *
 *     client   a page of a request: header, reply; the payload goes by reference
 *     server   a page of a request: request, payload; a bottom node, if what it exports is a raw device or a pinned file
 *
 * The server is a task with whatever mark the policy gives it; under composed it works on units of its own, one for each of the client's.
 */
import { type NegErrno, PAGE_SIZE, type Pfn, type TaskContext } from '@tidemark/core';
import type { LabKernel } from './lab-kernel.js';
import type { PageStore } from './model-device.js';
import { ModelNode } from './model-node.js';

/** What the server does for a request, with the frame of its payload. */
type Serve = (payload: Pfn) => Promise<0 | NegErrno>;

export class ModelNbd implements PageStore {
  readonly client: ModelNode;
  readonly server: ModelNode;
  readonly needs: readonly ModelNode[];
  /** What the server exports. */
  #exported!: PageStore;
  readonly #caller: TaskContext;
  readonly #listener: TaskContext;

  private constructor(
    readonly lab: LabKernel,
    readonly name: string,
    readonly sizePages: number,
    nrUnits: number,
  ) {
    const client = [
      { what: 'request header', frames: 1 },
      { what: 'reply', frames: 1 },
    ];
    const server = [
      { what: 'request', frames: 1 },
      { what: 'payload', frames: 1 },
    ];
    this.client = new ModelNode(lab, { name: 'nbd client', kind: 'transport', unit: client, nrUnits });
    this.server = new ModelNode(lab, { name: 'nbd-server', kind: 'server', unit: server, nrUnits });
    this.needs = [this.client];
    this.#caller = lab.kernel.task.named(name);
    this.#listener = lab.kernel.task.named('nbd-server listener');
  }

  /**
   * Connects a client to a server of what `exports` makes.
   * @throws KernelError ENOMEM, EDEADLK.
   */
  static async connect(
    lab: LabKernel,
    name: string,
    sizePages: number,
    nrUnits: number,
    exports: (server: ModelNode) => Promise<PageStore>,
  ): Promise<ModelNbd> {
    const nbd = new ModelNbd(lab, name, sizePages, nrUnits);
    nbd.#exported = await exports(nbd.server);
    await lab.admit(
      [nbd.client, nbd.server],
      [[nbd.client, nbd.server], ...nbd.#exported.needs.map((node) => [nbd.server, node] as const)],
    );
    return nbd;
  }

  write(index: number, pfn: Pfn): Promise<0 | NegErrno> {
    return this.#call(async (payload) => {
      this.#copy(pfn, payload);
      return this.#exported.write(index, payload);
    });
  }

  read(index: number, pfn: Pfn): Promise<0 | NegErrno> {
    return this.#call(async (payload) => {
      const status = await this.#exported.read(index, payload);
      this.#copy(payload, pfn);
      return status;
    });
  }

  flush(): Promise<0 | NegErrno> {
    return this.#call(() => this.#exported.flush());
  }

  #copy(from: Pfn, to: Pfn): void {
    const { arena } = this.lab.kernel.memory;
    arena.view(to * PAGE_SIZE, PAGE_SIZE).set(arena.view(from * PAGE_SIZE, PAGE_SIZE));
  }

  async #call(serve: Serve): Promise<0 | NegErrno> {
    const unit = await this.client.begin(this.#caller);
    await unit.take(2);
    const status = await unit.waitFor(this.server, this.#answer(serve));
    unit.end();
    return status;
  }

  async #answer(serve: Serve): Promise<0 | NegErrno> {
    await this.lab.turn();
    const unit = await this.server.begin(this.#listener);
    await unit.take(2);
    const status = await serve(unit.lastTaken);
    unit.end();
    await this.lab.turn();
    return status;
  }
}
