/**
 * Conservation (test method, 5): what holds of a kernel's memory after every step, whatever happens.
 *
 *     Σ frames by class = total                          nothing is lost, nothing is there twice
 *     free ≥ E = Σ (limit − usage)                        what the accounts may still ask for is there
 *     0 ≤ usage ≤ limit, the root's are its children's     the tree adds up
 *     E ≤ min ≤ low ≤ high, Σ limit ≤ min                 floors are ordered
 *     held under a ticket ≤ its need, units out ≤ units   nobody has more than was declared (composed)
 *     unfunded = overspent = ended while holding = 0      whatever memory there was (strict)
 *     every waiter has a target with a name
 */
import { FrameClass, invariant, type Kernel, NR_FRAME_CLASSES, type ReserveAccount } from '@tidemark/core';

/**
 * Checks the counts of a kernel. Cheap: made for calling after every event.
 * @param isStrict violations of what nodes declared are failures, too.
 * @throws Error saying which does not hold.
 */
export function checkInvariants(kernel: Kernel, isStrict = true): void {
  const { memory, waits } = kernel;
  const { allocator, reserve } = memory;
  let sum = 0;
  for (let frameClass = 0; frameClass < NR_FRAME_CLASSES; frameClass++) sum += allocator.classCount(frameClass as FrameClass);
  const { nrFree, low, high } = allocator;
  const { min } = allocator.watermarks;
  const { emergencyFrames, limitFrames, usageFrames } = reserve;
  const hold = (holds: boolean, what: string): void => invariant(holds, `${kernel.name}: ${what}`);
  hold(sum === memory.nrFrames, `the classes add up to ${sum} frames of ${memory.nrFrames}`);
  hold(nrFree >= emergencyFrames, `${nrFree} frames are free, and the accounts may ask for ${emergencyFrames}`);
  hold(emergencyFrames === limitFrames - usageFrames, `E is ${emergencyFrames}, and limits less usage ${limitFrames - usageFrames}`);
  hold(limitFrames <= min && min <= low && low <= high, `floors out of order: limits ${limitFrames}, min ${min}, low ${low}, high ${high}`);
  let limits = 0;
  let usage = 0;
  for (const account of reserve.accounts) {
    limits += account.limitFrames;
    usage += account.usageFrames;
    hold(
      account.usageFrames >= 0 && account.usageFrames <= account.limitFrames,
      `account ${account.name} holds ${account.usageFrames} of ${account.limitFrames} frames`,
    );
    if (isStrict) checkUnits(account, hold);
  }
  hold(
    limits === limitFrames && usage === usageFrames,
    `accounts add up to ${usage} of ${limits}, the root says ${usageFrames} of ${limitFrames}`,
  );
  const { reserve_unfunded, reserve_overspent, reserve_leaked } = memory.counters;
  const nrViolations = reserve_unfunded + reserve_overspent + reserve_leaked;
  hold(
    !isStrict || nrViolations === 0,
    `${reserve_unfunded} allocations of writeout were unfunded, ${reserve_overspent} beyond the need, ${reserve_leaked} units ended holding frames`,
  );
  for (const { task, target } of waits) hold(target.kind !== '' && target.name !== '', `${task.name} waits for something without a name`);
}

function checkUnits(account: ReserveAccount, hold: (holds: boolean, what: string) => void): void {
  const { name, units, heldFrames, tree } = account;
  if (tree.policy.name === 'composed') hold(units.nrOut <= units.nrUnits, `${units.nrOut} units of ${name} are out of ${units.nrUnits}`);
  if (heldFrames === 0) return;
  let held = account.shared.held;
  for (const ticket of units.tickets) {
    held += ticket.held;
    hold(ticket.held <= ticket.need, `a unit of ${name} holds ${ticket.held} frames of ${ticket.need}`);
  }
  hold(held >= heldFrames, `the tickets of ${name} hold ${held} frames, its account says ${heldFrames}`);
}

/** Counts the frame table and the free lists again, frame by frame. For now and then, and for the end. @throws Error as above. */
export function checkFrameTable(kernel: Kernel): void {
  const { memory } = kernel;
  const { allocator, frames } = memory;
  const counted = new Array<number>(NR_FRAME_CLASSES).fill(0);
  for (let pfn = 0; pfn < memory.nrFrames; pfn++) counted[frames.frameClass[pfn]]++;
  for (const [name, frameClass] of Object.entries(FrameClass)) {
    const told = allocator.classCount(frameClass);
    invariant(counted[frameClass] === told, `${kernel.name}: ${counted[frameClass]} frames are ${name}, the allocator says ${told}`);
  }
  const free = allocator.freeBlocks().reduce((sum, nrBlocks, order) => sum + nrBlocks * 2 ** order, 0);
  invariant(free === allocator.nrFree, `${kernel.name}: the free lists hold ${free} frames, the allocator says ${allocator.nrFree}`);
}
