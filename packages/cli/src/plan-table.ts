/**
 * Plans as tables for people: of a live kernel, and of a dry run. Counts are frames of 4 KiB.
 */
import { formatSize, type NodePlan, PAGE_SIZE, type ReservePlan, type StackPlan } from '@tidemark/core';

/** Rows of cells in columns as wide as they need, the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}

/** Rows of the terms of a node, each under `reserved` or `standing`; `nrColumns` in all. */
function termRows({ terms }: NodePlan, reservedAt: number, standingAt: number, nrColumns: number): string[][] {
  return terms
    .filter(({ frames }) => frames > 0)
    .map(({ what, frames, standing }) => {
      const row = new Array<string>(nrColumns).fill('');
      row[0] = `  ${what}`;
      row[standing ? standingAt : reservedAt] = String(frames);
      return row;
    });
}

/** The plan of a live kernel, top node first, with what was declared under each. */
export function formatPlan(plan: ReservePlan): string {
  const rows = [['node', 'level', 'units', 'need', 'reserved', 'in use', 'most', 'waits', 'standing']];
  for (const node of [...plan.nodes].reverse()) {
    rows.push([
      node.name,
      ...[node.level, node.nrUnits, node.need, node.limit, node.usage, node.highWater, node.waits, node.standing].map(String),
    ]);
    rows.push(...termRows(node, 4, 8, 9));
  }
  const { total, free, standing, reserved, used, min, low, high } = plan;
  return [
    ...table(rows),
    `frames: ${total} in all, ${free} free, ${standing} standing, ${reserved} reserved, ${used} of them in use`,
    `floors: min ${min}, low ${low}, high ${high}`,
  ].join('\n');
}

/** A dry run: what the stack takes in `plan.total` frames, and the least it needs. */
export function formatDryRun(plan: StackPlan, least: StackPlan): string {
  const rows = [['node', 'level', 'units', 'need', 'reserved', 'standing']];
  for (const node of [...plan.nodes].reverse()) {
    rows.push([node.name, ...[node.level, node.nrUnits, node.need, node.limit, node.standing].map(String)]);
    rows.push(...termRows(node, 4, 5, 6));
  }
  for (const { what, frames } of plan.held) rows.push([`(held beside) ${what}`, '', '', '', '', String(frames)]);
  const size = (frames: number): string => `${formatSize(frames * PAGE_SIZE)} (${frames} frames)`;
  const { min, low, high, standing, required, total, largest } = plan;
  const held = plan.held.reduce((sum, { frames }) => sum + frames, 0);
  const lines = [...table(rows), `floors at ${size(total)}: min ${min}, low ${low}, high ${high}`];
  if (largest !== null)
    lines.push(`largest need: ${largest.frames} frames for ${largest.what}${largest.node === '' ? '' : ` of ${largest.node}`}`);
  lines.push(
    `required: ${size(required)}: ${standing} standing, ${held} held beside, ${high} to stay free${required > standing + held + high ? ', the rest to boot' : ''}`,
  );
  if (plan !== least)
    lines.push(plan.fits ? `it fits, with ${total - required} frames to spare` : `it does not fit: ${required - total} frames short`);
  lines.push(`smallest memory: ${size(least.total)}`);
  return lines.join('\n');
}
