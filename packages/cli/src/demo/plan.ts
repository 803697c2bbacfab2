/**
 * What the demo says about its reserve: the plan when it starts, and what became of it when it ends. Counts are frames of 4 KiB.
 */
import { formatSize, type Kernel, type ReservePlan } from '@tidemark/core';
import { table } from '../plan-table.js';

/** One node of the writeout graph at the end of the demo. */
export interface DemoNode {
  /** Without the temporary folder. */
  readonly name: string;
  readonly kind: string;
  readonly level: number;
  /** Units at once, and the most that one holds. */
  readonly nrUnits: number;
  readonly need: number;
  /** Taken at admission and kept; set aside for units; most of that which was in use at once. */
  readonly standing: number;
  readonly reserved: number;
  readonly highWater: number;
  /** Times a task waited for room or for a unit. */
  readonly waits: number;
}

/** What became of the plan. */
export interface DemoUse {
  readonly nodes: readonly DemoNode[];
  /** Allocations of writeout that no ticket could pay for. */
  readonly unfundedAllocations: number;
  /** Frames and objects that a unit took beyond what its node declared. */
  readonly holdingsBeyondDeclaration: number;
}

/** Reads it off a kernel whose stack stands. @param folder left out of the names. */
export function useOf(kernel: Kernel, folder: string): DemoUse {
  const { reserve_unfunded, reserve_overspent } = kernel.vmstat();
  return {
    nodes: nodesOf(kernel.reserves.explain(), folder),
    unfundedAllocations: reserve_unfunded,
    holdingsBeyondDeclaration: reserve_overspent,
  };
}

function nodesOf(plan: ReservePlan, folder: string): DemoNode[] {
  return plan.nodes.map(({ name, kind, level, nrUnits, need, standing, limit, highWater, waits }) => {
    return { name: name.replaceAll(`${folder}/`, ''), kind, level, nrUnits, need, standing, reserved: limit, highWater, waits };
  });
}

/** The plan as the stack stands, top node first, and the smallest memory that would do. */
export function formatDemoPlan(plan: ReservePlan, smallestMemoryBytes: number, folder: string): string {
  const rows = nodesOf(plan, folder)
    .reverse()
    .map(({ name, nrUnits, need, reserved, standing }) => [`  ${name}`, ...[nrUnits, need, reserved, standing].map(String)]);
  const { reserved, standing, min, low, high, total, policy } = plan;
  return [
    `plan (policy ${policy}), in frames:`,
    ...table([['  node', 'units', 'need', 'reserved', 'standing'], ...rows]),
    `  ${total} in all, ${standing} standing, ${reserved} reserved; floors: min ${min}, low ${low}, high ${high}`,
    `  the smallest memory that holds this: ${formatSize(smallestMemoryBytes)}`,
  ].join('\n');
}

/** What became of it, as lines for people. */
export function formatDemoUse({ nodes, unfundedAllocations, holdingsBeyondDeclaration }: DemoUse): string[] {
  const rows = [...nodes]
    .reverse()
    .map(({ name, reserved, highWater, waits, standing }) => [`  ${name}`, ...[reserved, highWater, waits, standing].map(String)]);
  return [
    ...table([['  reserve, in frames', 'reserved', 'most in use', 'waits', 'standing'], ...rows]),
    `  unfunded allocations ${unfundedAllocations}, holdings beyond the declaration ${holdingsBeyondDeclaration}`,
  ];
}
