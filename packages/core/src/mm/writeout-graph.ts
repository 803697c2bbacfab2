/**
 * The writeout graph (M4): everything that can be asked to write a page out is a node; an edge A → B says that A's writeout needs B's to
 * make progress. It has no cycles, ever: a change that would close one is refused and leaves the graph as it was.
 *
 *     swap:disk → nbd://127.0.0.1:10809/disk → nbd-server:10809 → file:disk.img
 *
 * A node's level is the longest way down to a node without successors; the lowest level is served first. Reach sets are bitsets,
 * recomputed when the graph changes, so that "can B reach A" is one AND on the way through reclaim (M11).
 */
import { KernelError } from '../base/errno.js';
import type { TaskScope } from '../task/task-context.js';
import type { WaitParty } from '../task/wait-queue.js';
import type { Pfn } from './arena.js';
import { checkFootprint, type NodeFootprint } from './footprint.js';

/** Most nodes of one kernel. */
export const NODES_MAX = 1024;

/** One node: something that can be asked to write a page out. */
export interface WriteoutNode extends TaskScope {
  /** Unique, for people: `swap:nbd://…`, `ext3:vda journal`. */
  readonly name: string;
  /** `swap-area`, `block-device`, `server`, …: what sort of thing it is. */
  readonly kind: string;
  readonly footprint: NodeFootprint;
  /**
   * Asked by reclaim for a task that is inside this very node: may this page of it be written out on the way (M11)? Must not wait or allocate.
   * Without it the answer is no.
   * @param context what the node's owner put into the task's scope by `task.within(node, context)`; whose it is is for the owner to know.
   */
  mayReclaim?(pfn: Pfn, context: unknown): boolean;
  /** What its work in flight waits for beside the nodes it needs: a reply, a connection. Asked for stall reports only. */
  heldBy?(): Iterable<WaitParty>;
}

/** An edge: the first's writeout needs the second's. */
export type WriteoutEdge = readonly [from: WriteoutNode, to: WriteoutNode];

/** Nodes and edges that come together or not at all. */
export interface GraphChange {
  readonly nodes?: readonly WriteoutNode[];
  readonly edges?: readonly WriteoutEdge[];
}

interface Entry {
  readonly node: WriteoutNode;
  readonly successors: Set<Entry>;
  readonly predecessors: Set<Entry>;
  /** Bit in the reach sets. */
  bit: number;
  level: number;
  /** Nodes that can be reached from here, this one included. */
  reach: Uint32Array;
}

export class WriteoutGraph {
  readonly #entries = new Map<WriteoutNode, Entry>();
  /** Called when nodes, edges and so levels have changed. */
  onChange: () => void = () => {};

  /** Nodes, in the order in which they came. */
  get nodes(): WriteoutNode[] {
    return [...this.#entries.keys()];
  }

  get edges(): WriteoutEdge[] {
    const edges: WriteoutEdge[] = [];
    for (const entry of this.#entries.values()) for (const to of entry.successors) edges.push([entry.node, to.node]);
    return edges;
  }

  has(node: WriteoutNode): boolean {
    return this.#entries.has(node);
  }

  /**
   * Adds nodes and edges, all or none.
   * @throws KernelError EDEADLK naming the cycle in graph order, on the error as `details.cycle` too; EEXIST for a name that is taken;
   * EINVAL for an edge to a node that is not there, or an impossible footprint; ENFILE beyond 1,024 nodes.
   */
  add(change: GraphChange): void {
    const added: Entry[] = [];
    const linked: [Entry, Entry][] = [];
    try {
      for (const node of change.nodes ?? []) added.push(this.#addNode(node));
      for (const [from, to] of change.edges ?? []) {
        const link = this.#addEdge(from, to);
        if (link !== null) linked.push(link);
      }
    } catch (error) {
      for (const [from, to] of linked) unlink(from, to);
      for (const entry of added) this.#entries.delete(entry.node);
      throw error;
    }
    this.#recompute();
  }

  #addNode(node: WriteoutNode): Entry {
    checkFootprint(node.name, node.footprint);
    if (this.#entries.size >= NODES_MAX)
      throw new KernelError('ENFILE', `the writeout graph has ${NODES_MAX} nodes; ${node.name} is one too many`);
    for (const other of this.#entries.keys()) {
      if (other === node || other.name === node.name) throw new KernelError('EEXIST', `the writeout graph has a node ${node.name} already`);
    }
    const entry: Entry = { node, successors: new Set(), predecessors: new Set(), bit: 0, level: 0, reach: new Uint32Array(0) };
    this.#entries.set(node, entry);
    return entry;
  }

  /** @returns what was linked, or null if the edge was there. */
  #addEdge(fromNode: WriteoutNode, toNode: WriteoutNode): [Entry, Entry] | null {
    const from = this.#entry(fromNode);
    const to = this.#entry(toNode);
    if (from.successors.has(to)) return null;
    const back = pathBetween(to, from); // a bitmap on the array it protects, say (trap 10)
    if (back !== null) {
      const cycle = [from, ...back].map((entry) => entry.node.name);
      throw new KernelError('EDEADLK', `writeout would wait for itself: ${cycle.join(' → ')}`, { details: { cycle } });
    }
    from.successors.add(to);
    to.predecessors.add(from);
    return [from, to];
  }

  #entry(node: WriteoutNode): Entry {
    const entry = this.#entries.get(node);
    if (entry === undefined) throw new KernelError('EINVAL', `${node?.name ?? 'a node'} is not in the writeout graph`);
    return entry;
  }

  /**
   * Takes a node and its outgoing edges away.
   * @throws KernelError EBUSY while another node needs it, naming that node; EINVAL if it is not there.
   */
  remove(node: WriteoutNode): void {
    const entry = this.#entry(node);
    for (const user of entry.predecessors) throw new KernelError('EBUSY', `${node.name} is needed by ${user.node.name}`);
    for (const to of [...entry.successors]) unlink(entry, to);
    this.#entries.delete(node);
    this.#recompute();
  }

  /** Takes one edge away, if it is there. */
  removeEdge(from: WriteoutNode, to: WriteoutNode): void {
    unlink(this.#entry(from), this.#entry(to));
    this.#recompute();
  }

  /** Longest way down from a node: 0 for one that needs nobody. */
  levelOf(node: WriteoutNode): number {
    return this.#entry(node).level;
  }

  /** Nodes that `node` needs directly. */
  successorsOf(node: WriteoutNode): WriteoutNode[] {
    return [...this.#entry(node).successors].map((entry) => entry.node);
  }

  /** Nodes that need `node` directly. */
  predecessorsOf(node: WriteoutNode): WriteoutNode[] {
    return [...this.#entry(node).predecessors].map((entry) => entry.node);
  }

  /** True if `from`'s writeout can come to need `to`'s. A node reaches itself. */
  reaches(from: WriteoutNode, to: WriteoutNode): boolean {
    const { bit } = this.#entry(to);
    return (this.#entry(from).reach[bit >>> 5] & (1 << (bit & 31))) !== 0;
  }

  /** A way down to a node, by name, from the top: for messages. */
  pathTo(node: WriteoutNode): string[] {
    const path = [this.#entry(node)];
    for (let top = path[0]; top.predecessors.size > 0; top = path[0]) path.unshift([...top.predecessors][0]);
    return path.map((entry) => entry.node.name);
  }

  /** Levels and reach sets, from the bottom up. */
  #recompute(): void {
    const words = Math.ceil(this.#entries.size / 32);
    let bit = 0;
    for (const entry of this.#entries.values()) entry.bit = bit++;
    const done = new Set<Entry>();
    const visit = (entry: Entry): void => {
      if (done.has(entry)) return;
      done.add(entry);
      entry.level = 0;
      entry.reach = new Uint32Array(words);
      entry.reach[entry.bit >>> 5] |= 1 << (entry.bit & 31);
      for (const to of entry.successors) {
        visit(to);
        entry.level = Math.max(entry.level, to.level + 1);
        for (let i = 0; i < words; i++) entry.reach[i] |= to.reach[i];
      }
    };
    for (const entry of this.#entries.values()) visit(entry);
    this.onChange();
  }
}

function unlink(from: Entry, to: Entry): void {
  from.successors.delete(to);
  to.predecessors.delete(from);
}

/** The shortest way from one entry to another, both included, or null. */
function pathBetween(from: Entry, to: Entry): Entry[] | null {
  const cameFrom = new Map<Entry, Entry | null>([[from, null]]);
  const queue = [from];
  for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
    if (at === to) {
      const path: Entry[] = [];
      for (let step: Entry | null = at; step !== null; step = cameFrom.get(step) ?? null) path.unshift(step);
      return path;
    }
    for (const next of at.successors) {
      if (cameFrom.has(next)) continue;
      cameFrom.set(next, at);
      queue.push(next);
    }
  }
  return null;
}
