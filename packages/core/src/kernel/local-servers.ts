/**
 * Servers of this kernel by the address they listen on. A device whose requests leave for one of them needs that server's writeout, and
 * the writeout graph gets the edge: the way out may lead through this very kernel.
 */
import type { WriteoutNode } from '../mm/writeout-graph.js';

/** Hosts that stand for every address of the machine. */
const WILDCARD_HOSTS = ['0.0.0.0', '[::]'];

export class LocalServers {
  readonly #nodes = new Map<string, WriteoutNode>();

  /** Registers a server. @returns a function that takes it back. */
  add(address: string, node: WriteoutNode): () => void {
    this.#nodes.set(address, node);
    return () => {
      if (this.#nodes.get(address) === node) this.#nodes.delete(address);
    };
  }

  /** The server that answers at `address` (`127.0.0.1:10809`, `unix:/run/x`), or null if it is not one of this kernel's. */
  find(address: string): WriteoutNode | null {
    const exact = this.#nodes.get(address);
    if (exact !== undefined) return exact;
    const port = /:\d+$/.exec(address)?.[0];
    if (port === undefined) return null;
    for (const host of WILDCARD_HOSTS) {
      const node = this.#nodes.get(host + port);
      if (node !== undefined) return node;
    }
    return null;
  }
}
