/**
 * A model of an NBD client and its server in one kernel (M21).
 *
 *     client   a page of a request: header, reply; the payload goes by reference
 *     server   a page of a request: request, payload; a bottom node, if what it exports is a raw device or a pinned file
 *
 * Requests in flight are bounded by the connection's slots under every policy.
 *
 * The server is a task with whatever mark the policy gives it; under composed it works on units of its own, one for each of the client's.
 */
import { type NegErrno, PAGE_SIZE, type Pfn, Semaphore, type TaskContext, type WriteoutEdge } from '@tidemark/core';
import type { LabKernel } from './lab-kernel.js';
import type { PageStore } from './model-device.js';
import { ModelNode } from './model-node.js';

/** What the server does for a request, with the frame of its payload. */
type Serve = (task: TaskContext, payload: Pfn) => Promise<0 | NegErrno>;

export interface ModelNbdSpec {
  /** Of the device. */
  readonly name: string;
  readonly sizePages: number;
  /** Requests of a page in flight, at either end. */
  readonly nrUnits: number;
  /** The server writes a file that it did not pin. */
  readonly throughPageCache?: boolean;
}

export class ModelNbd implements PageStore {
  readonly name: string;
  readonly sizePages: number;
  readonly client: ModelNode;
  readonly server: ModelNode;
  readonly needs: readonly ModelNode[];
  /** What the server exports. */
  #exported!: PageStore;
  readonly #listener: TaskContext;
  readonly #slots: Semaphore;

  private constructor(
    readonly lab: LabKernel,
    { name, sizePages, nrUnits, throughPageCache = false }: ModelNbdSpec,
  ) {
    this.name = name;
    this.sizePages = sizePages;
    const client = [
      { what: 'request header', frames: 1 },
      { what: 'reply', frames: 1 },
    ];
    const server = [
      { what: 'request', frames: 1 },
      { what: 'payload', frames: 1 },
      ...(throughPageCache ? [{ what: 'cache page', frames: 1 }] : []),
    ];
    this.client = new ModelNode(lab, { name: 'nbd client', kind: 'transport', unit: client, nrUnits });
    this.server = new ModelNode(lab, { name: 'nbd-server', kind: 'server', unit: server, nrUnits });
    this.needs = [this.client];
    this.#slots = new Semaphore(nrUnits, { kind: 'slots', name, heldBy: () => [this.client] });
    this.#listener = lab.kernel.task.named('nbd-server listener');
  }

  /** Connects a client to a server of `exported`. @throws KernelError ENOMEM, EDEADLK. */
  static async connect(lab: LabKernel, spec: ModelNbdSpec, exported: PageStore): Promise<ModelNbd> {
    const nbd = new ModelNbd(lab, spec);
    nbd.#exported = exported;
    const edges: WriteoutEdge[] = exported.needs.map((node) => [nbd.server, node]);
    if (lab.policy.seesServers) edges.unshift([nbd.client, nbd.server]);
    await lab.admit([nbd.client, nbd.server], edges);
    return nbd;
  }

  write(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno> {
    return this.#call(task, async (server, payload) => {
      this.#copy(pfn, payload);
      return this.#exported.write(server, index, payload);
    });
  }

  read(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno> {
    return this.#call(task, async (server, payload) => {
      const status = await this.#exported.read(server, index, payload);
      this.#copy(payload, pfn);
      return status;
    });
  }

  flush(task: TaskContext): Promise<0 | NegErrno> {
    return this.#call(task, (server) => this.#exported.flush(server));
  }

  #copy(from: Pfn, to: Pfn): void {
    const { arena } = this.lab.kernel.memory;
    arena.view(to * PAGE_SIZE, PAGE_SIZE).set(arena.view(from * PAGE_SIZE, PAGE_SIZE));
  }

  async #call(task: TaskContext, serve: Serve): Promise<0 | NegErrno> {
    await this.#slots.acquire(task);
    const unit = await this.client.begin(task);
    await unit.take(2);
    const status = await unit.waitFor(this.server, this.#answer(serve));
    unit.end();
    this.#slots.release();
    return status;
  }

  async #answer(serve: Serve): Promise<0 | NegErrno> {
    await this.lab.turn();
    const unit = await this.server.begin(this.#listener);
    await unit.take(2);
    const status = await serve(unit.task, unit.lastTaken);
    unit.end();
    await this.lab.turn();
    return status;
  }
}
