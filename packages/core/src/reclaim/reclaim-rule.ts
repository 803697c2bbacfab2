/**
 * Reclaim scopes (M11): on which nodes may reclaim act for a task that is inside some?
 *
 * The rule of Tidemark is *reach*: from inside A it may act on B if and only if B's writeout cannot come to need A. That excludes exactly
 * the recursion that could deadlock. The older answers are here for comparison, bound by `RECLAIM_RULE`:
 *
 *     any     no rule: deadlocks where B needs A
 *     nofs    a task inside a filesystem acts on nothing whose writeout passes through one
 *     depth   the proposal of 2020: filesystems at another nesting depth are left alone, others at the same depth are not: it misses
 *             dependencies that depth does not see, and leaves memory alone that it could have
 *
 * On the node a task is inside of, the owner of that node decides page by page: `mayReclaim(pfn, data)`, with the data that the owner itself put
 * into the task's scope (`task.within(node, data)`). Without that function the answer is no.
 *
 * A task inside no node may act on all; kswapd is such a task.
 */
import type { Pfn } from '../mm/arena.js';
import type { WriteoutGraph, WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';

/** Asks whether reclaim for the task at hand may act on a node; on the node the task is inside of, whether it may on that page. */
export type MayEnter = (node: WriteoutNode, pfn?: Pfn) => boolean;

export interface ReclaimRule {
  readonly name: string;
  /**
   * May reclaim for `task` act on `node`? Only asked for tasks inside a node.
   * @param pfn the page it is about; without one the answer is that for every page of the node.
   */
  mayEnter(task: TaskContext, node: WriteoutNode, pfn?: Pfn): boolean;
}

/** Registered under `RECLAIM_RULE`. */
export type ReclaimRuleFactory = (graph: WriteoutGraph) => ReclaimRule;

/** True if `test` says so of every node of the graph the task is inside of; shown with what the node's owner put there. */
function everyScope(graph: WriteoutGraph, task: TaskContext, test: (inside: WriteoutNode, data: unknown) => boolean): boolean {
  return task.scopes.every((scope, i) => !graph.has(scope as WriteoutNode) || test(scope as WriteoutNode, task.scopeData[i]));
}

/** What the owner of a node says of one page to a task that is inside the node. */
function ownerLets(node: WriteoutNode, pfn: Pfn | undefined, data: unknown): boolean {
  return pfn !== undefined && node.mayReclaim?.(pfn, data) === true;
}

/** The default. A node reaches itself, so there its owner is asked. */
export const reachRule: ReclaimRuleFactory = (graph) => ({
  name: 'reach',
  mayEnter: (task, node, pfn) =>
    everyScope(graph, task, (inside, data) => (inside === node ? ownerLets(node, pfn, data) : !graph.reaches(node, inside))),
});

/** No rule at all. */
export const anyRule: ReclaimRuleFactory = () => ({ name: 'any', mayEnter: () => true });

const isFileSystem = ({ kind }: WriteoutNode): boolean => kind === 'filesystem';

/** Linux's no-fs scope: swap is allowed unless the area is reached through a filesystem. */
export const nofsRule: ReclaimRuleFactory = (graph) => ({
  name: 'nofs',
  mayEnter: (task, node) =>
    everyScope(graph, task, (inside) => !isFileSystem(inside)) ||
    !graph.nodes.some((below) => isFileSystem(below) && graph.reaches(node, below)),
});

/** Filesystems stacked one on the other from a node down, itself included. What lies behind a server is not part of anybody's stack. */
function fileSystemDepth(graph: WriteoutGraph, node: WriteoutNode): number {
  if (node.kind === 'server') return 0;
  const below = graph.successorsOf(node).map((next) => fileSystemDepth(graph, next));
  return Math.max(0, ...below) + (isFileSystem(node) ? 1 : 0);
}

/** The three rules of 2020: other depth, skip; same depth, other superblock, go; same superblock, ask its owner. */
export const depthRule: ReclaimRuleFactory = (graph) => ({
  name: 'depth',
  mayEnter: (task, node, pfn) => {
    if (!isFileSystem(node)) return true;
    const depth = fileSystemDepth(graph, node);
    return everyScope(graph, task, (inside, data) => {
      if (inside === node) return ownerLets(node, pfn, data);
      return !isFileSystem(inside) || fileSystemDepth(graph, inside) === depth;
    });
  },
});
