/**
 * The dry run of the planner (M5): what a stack would set aside, and the smallest memory it needs, with nothing started.
 *
 * Packages describe their nodes by pure functions of the arena's size, the same ones that their live nodes declare. With n frames:
 *
 *     required(n) = standing + held + high(n, Σ limit, A)        the room check of the live planner, summed over the stack
 *
 * The smallest memory is the least n with required(n) ≤ n. Slots, units and marks never shrink as n grows, so required is monotone, and
 * n ← required(n) from the least that boots climbs to exactly that n: every m below it has required(m) > m and is refused when live.
 */
import { KernelError } from '../base/errno.js';
import { PAGE_SIZE } from '../base/size.js';
import { atomicFrames, type FootprintTerm, largestTerm, limitFrames, type NodeFootprint, needFrames, standingFrames } from './footprint.js';
import { checkArenaSize, FRAMES_MAX, leastBootFrames } from './memory.js';
import { checkRights } from './rights.js';
import { computeWatermarks } from './watermarks.js';
import { WriteoutGraph, type WriteoutNode } from './writeout-graph.js';

/** A node of the writeout graph that is not there yet. */
export interface NodeDescription {
  readonly name: string;
  readonly kind: string;
  /** Names of the nodes it needs. */
  readonly needs: readonly string[];
  /** What it declares in an arena of `nrFrames`. Pure, and never less for a larger arena. */
  footprint(nrFrames: number): NodeFootprint;
}

/** A stack that is not there yet. */
export interface StackDescription {
  readonly nodes: readonly NodeDescription[];
  /** What the stack's user holds beside, and no reclaim gives back: the cells of a PagedBuffer. */
  readonly held: readonly FootprintTerm[];
}

/** One node as planned. Frames. */
export interface NodePlan {
  readonly name: string;
  readonly kind: string;
  /** From the top, by name. */
  readonly path: readonly string[];
  /** Longest way down; the lowest is served first. */
  readonly level: number;
  readonly nrUnits: number;
  /** What one unit holds at most. */
  readonly need: number;
  /** What is declared to stand. */
  readonly standing: number;
  /** The account: need × units. */
  readonly limit: number;
  /** What its callers who cannot wait take between two refills. */
  readonly atomic: number;
  readonly needs: readonly string[];
  /** Every term that is declared, in flight counted for all units, largest first. */
  readonly terms: readonly { readonly what: string; readonly frames: number; readonly standing: boolean }[];
}

/** A stack as planned for one size of memory. Frames. */
export interface StackPlan {
  /** Lowest level first. */
  readonly nodes: readonly NodePlan[];
  readonly held: readonly FootprintTerm[];
  /** Σ limit. */
  readonly reserved: number;
  /** A of M3. */
  readonly atomic: number;
  readonly standing: number;
  readonly min: number;
  readonly low: number;
  readonly high: number;
  /** Frames of the memory it is planned for, and those that are needed then; it fits if the latter are not more. */
  readonly total: number;
  readonly required: number;
  readonly fits: boolean;
  /** What takes most: its node (empty for what is held beside) and the term. Null if nothing takes anything. */
  readonly largest: { readonly node: string; readonly what: string; readonly frames: number } | null;
}

/** What `node` declares, as a part of the plan of `graph`. */
export function planNode(graph: WriteoutGraph, node: WriteoutNode): NodePlan {
  const { footprint } = node;
  const terms = [
    ...footprint.standing.map((term) => ({ ...term, standing: true })),
    ...footprint.unit.map(({ what, frames }) => ({ what, frames: frames * footprint.nrUnits, standing: false })),
  ];
  return {
    name: node.name,
    kind: node.kind,
    path: graph.pathTo(node),
    level: graph.levelOf(node),
    nrUnits: footprint.nrUnits,
    need: needFrames(footprint),
    standing: standingFrames(footprint),
    limit: limitFrames(footprint),
    atomic: atomicFrames(footprint),
    needs: graph.successorsOf(node).map(({ name }) => name),
    terms: terms.sort((a, b) => b.frames - a.frames),
  };
}

/**
 * Plans a stack for an arena of `nrFrames`, whether it fits or not.
 * @throws KernelError EDEADLK naming the cycle, EEXIST for two nodes of one name, EINVAL for an impossible footprint, a need that is no
 * node of the stack, or an arena that is too large; ENOMEM for a server that keeps fewer units than its clients have.
 */
export function planStack(stack: StackDescription, nrFrames: number): StackPlan {
  checkArenaSize(nrFrames);
  const graph = new WriteoutGraph();
  const nodes = new Map<string, WriteoutNode>();
  for (const description of stack.nodes) {
    const { name, kind } = description;
    const node = { name, kind, footprint: description.footprint(nrFrames) };
    graph.add({ nodes: [node] });
    nodes.set(name, node);
  }
  for (const { name, needs } of stack.nodes) {
    for (const need of needs) {
      const to = nodes.get(need);
      if (to === undefined) throw new KernelError('EINVAL', `${name} needs ${need}, which is no node of the stack`);
      graph.add({ edges: [[nodes.get(name) as WriteoutNode, to]] });
    }
  }
  checkRights(graph, graph.edges);
  const plans = graph.nodes.map((node) => planNode(graph, node)).sort((a, b) => a.level - b.level || a.name.localeCompare(b.name));
  const reserved = sum(plans.map(({ limit }) => limit));
  const standing = sum(plans.map((node) => node.standing));
  const atomic = sum(plans.map((node) => node.atomic));
  const { min, low, high } = computeWatermarks(nrFrames, { reservedFrames: reserved, atomicFrames: atomic });
  const required = Math.max(standing + sum(stack.held.map(({ frames }) => frames)) + high, leastBootFrames());
  const largest = largestOf(graph.nodes, stack.held);
  const fits = required <= nrFrames;
  return { nodes: plans, held: stack.held, reserved, atomic, standing, min, low, high, total: nrFrames, required, fits, largest };
}

/**
 * Plans a stack for the smallest memory it works in.
 * @throws KernelError ENOMEM, naming the largest need, if no memory is large enough; as `planStack`.
 */
export function planLeast(stack: StackDescription): StackPlan {
  let plan = planStack(stack, leastBootFrames());
  while (!plan.fits) {
    if (plan.required > FRAMES_MAX) {
      const { node, what, frames } = plan.largest ?? { node: '', what: 'watermarks', frames: plan.high };
      throw new KernelError('ENOMEM', `no memory is large enough: ${node} needs ${frames} frames of ${PAGE_SIZE} bytes for ${what} alone`);
    }
    plan = planStack(stack, plan.required);
  }
  return plan;
}

function largestOf(nodes: readonly WriteoutNode[], held: readonly FootprintTerm[]): StackPlan['largest'] {
  const terms = [
    ...held.map((term) => ({ node: '', ...term })),
    ...nodes.flatMap(({ name, footprint }) => {
      const term = largestTerm(footprint);
      return term === null ? [] : [{ node: name, ...term }];
    }),
  ].filter(({ frames }) => frames > 0);
  return terms.reduce<StackPlan['largest']>((largest, term) => (largest === null || term.frames > largest.frames ? term : largest), null);
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}
