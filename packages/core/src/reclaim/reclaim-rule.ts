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
 * A task inside no node may act on all; kswapd is such a task.
 */
import type { WriteoutGraph, WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';

/** Asks of a node whether reclaim for the task at hand may act on it. */
export type MayEnter = (node: WriteoutNode) => boolean;

export interface ReclaimRule {
  readonly name: string;
  /** May reclaim for `task` act on `node`? Only asked for tasks inside a node. */
  mayEnter(task: TaskContext, node: WriteoutNode): boolean;
}

/** Registered under `RECLAIM_RULE`. */
export type ReclaimRuleFactory = (graph: WriteoutGraph) => ReclaimRule;

/** The nodes a task is inside of that are in the graph. */
function nodesOf(graph: WriteoutGraph, task: TaskContext): WriteoutNode[] {
  return task.scopes.filter((scope): scope is WriteoutNode => graph.has(scope as WriteoutNode));
}

/** The default. A node cannot be entered from inside itself: it reaches itself. */
export const reachRule: ReclaimRuleFactory = (graph) => ({
  name: 'reach',
  mayEnter: (task, node) => nodesOf(graph, task).every((inside) => !graph.reaches(node, inside)),
});

/** No rule at all. */
export const anyRule: ReclaimRuleFactory = () => ({ name: 'any', mayEnter: () => true });

const isFileSystem = ({ kind }: WriteoutNode): boolean => kind === 'filesystem';

/** Linux's no-fs scope: swap is allowed unless the area is reached through a filesystem. */
export const nofsRule: ReclaimRuleFactory = (graph) => ({
  name: 'nofs',
  mayEnter: (task, node) =>
    !nodesOf(graph, task).some(isFileSystem) || !graph.nodes.some((below) => isFileSystem(below) && graph.reaches(node, below)),
});

/** Filesystems stacked one on the other from a node down, itself included. What lies behind a server is not part of anybody's stack. */
function fileSystemDepth(graph: WriteoutGraph, node: WriteoutNode): number {
  if (node.kind === 'server') return 0;
  const below = graph.successorsOf(node).map((next) => fileSystemDepth(graph, next));
  return Math.max(0, ...below) + (isFileSystem(node) ? 1 : 0);
}

/** The three rules of 2020: other depth, skip; same depth, other superblock, go; same superblock, ask its owner (who says no here). */
export const depthRule: ReclaimRuleFactory = (graph) => ({
  name: 'depth',
  mayEnter: (task, node) => {
    if (!isFileSystem(node)) return true;
    const inside = nodesOf(graph, task).filter(isFileSystem);
    return inside.every((at) => at !== node && fileSystemDepth(graph, at) === fileSystemDepth(graph, node));
  },
});
