/**
 * The cleaner: moves what lives in the emptiest segment to the head of the log, so that the segment can be appended through again.
 *
 * Moving wants a frame of ordinary memory. While it waits for one, reclaim may write out pages of this very filesystem, but none of the file
 * that is being moved: the owner of a node decides that from what it put into the task's scope itself (`mayReclaim`, M11).
 */
import { Gfp, type Pfn, type TaskContext } from '@tidemark/core';
import { BLOCK } from './format.js';
import type { LogNode } from './node.js';
import { FREE, RESERVED, SEGMENT, type Space } from './space.js';
import type { Volume } from './volume.js';

/** For the data node: may this page go while that file is being moved? */
export function mayReclaimWhileMoving(spaceOf: (pfn: Pfn) => number, pfn: Pfn, moving: unknown): boolean {
  return spaceOf(pfn) !== (moving as LogNode | null)?.inode?.pages?.id;
}

/** Segments fuller than this are left alone. */
const USED_MAX = (SEGMENT * 3) / 4;

function victimOf(space: Space): number {
  let best = -1;
  let fewest = USED_MAX + 1;
  for (let segment = Math.ceil(space.nrRecordBlocks / SEGMENT); segment < space.nrSegments; segment++) {
    const used = space.nrUsed(segment);
    if (used > 0 && used < fewest) [best, fewest] = [segment, used];
  }
  return best;
}

export async function cleanSegment(volume: Volume, task: TaskContext): Promise<void> {
  const { space, log } = volume;
  space.wantsCleaning = false;
  const victim = victimOf(space);
  if (victim < 0) return;
  for (let block = victim * SEGMENT; block < Math.min((victim + 1) * SEGMENT, space.nrBlocks); block++) {
    const node = log.nodes.get(space.owner.get(block));
    if (space.nrFree <= space.nrPromised || log.failure !== 0) return;
    if (node !== undefined && isMovable(volume, node, block) && !(await move(volume, task, node, block))) return;
  }
}

function isMovable({ space, log }: Volume, node: LogNode, block: number): boolean {
  const owner = space.owner.get(block);
  return (
    owner !== FREE &&
    owner !== RESERVED &&
    node.nrPins === 0 &&
    log.nodes.get(owner) === node &&
    node.map.get(space.page.get(block)) === block
  );
}

/** @returns false if there is no memory, or the device fails. */
async function move(volume: Volume, task: TaskContext, node: LogNode, block: number): Promise<boolean> {
  const { memory, io, space, log, kernel, dataNode } = volume;
  const page = space.page.get(block);
  const pfn = await memory.allocator.allocPageSlow(task.within(dataNode, node), Gfp.TRANSIENT); // ordinary memory first, then the unit
  if (pfn < 0) return false;
  const ticket = (await kernel.reserves.unitsOf(dataNode)?.begin(task)) ?? -1;
  let status = typeof ticket === 'number' ? ticket : 0;
  if (typeof ticket !== 'number') {
    const inside = task.withTicket(ticket);
    const pfns = Uint32Array.of(pfn);
    status = await io.read(inside, block * BLOCK, pfns, 0, 1);
    if (status === 0 && isMovable(volume, node, block) && space.nrFree > space.nrPromised) {
      const to = space.take(node.ino, page);
      status = await io.write(inside, to * BLOCK, pfns, 0, 1);
      // A page that was written, cut or pinned meanwhile stays as it is.
      if (status === 0 && isMovable(volume, node, block)) log.remap(node, page, to);
      else space.release(to);
    }
    ticket.end();
  }
  memory.allocator.freePage(pfn);
  return status === 0;
}
