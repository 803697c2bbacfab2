/**
 * The waiting rule (M11), as far as memory is concerned: a lock that writeout of a node can wait for is taken only with a ticket of that node in
 * hand, and whoever holds it never waits for ordinary memory. Both are checked under policies with M6's order of sources; under the others a
 * ticket is only a mark, holders do wait for ordinary memory, and that is one of the ways in which they hang.
 */
import type { Lock, LockRule } from '../task/lock.js';
import type { TaskContext } from '../task/task-context.js';
import type { ReserveTree } from './reserve.js';
import { ticketOf } from './ticket.js';

export class MemoryLockRule implements LockRule {
  constructor(private readonly reserve: ReserveTree) {}

  checkLock(task: TaskContext, lock: Lock): void {
    const { policy, violations } = this.reserve;
    if (!policy.hasCleanPass || ticketOf(task)?.account.node === lock.node) return;
    const { name } = lock.node;
    violations.report(
      'unticketed-lock',
      name,
      `${task.name} takes ${lock.name} without a ticket of ${name}, whose writeout can wait for it`,
    );
  }

  /** For whoever is about to wait until `what`, which is ordinary memory, is there. */
  checkWait(task: TaskContext, what: string): void {
    if (task.locks.length === 0 || !this.reserve.policy.hasCleanPass) return;
    for (const { lock, site, isHeld } of task.locks) {
      if (!isHeld) continue;
      const taken = site === null ? '' : `; it was taken at${(site.stack ?? '').split('\n').slice(2).join('\n')}`;
      this.reserve.violations.report(
        'wait-under-lock',
        lock.node.name,
        `${task.name} waits for ${what} while it holds ${lock.name}, which writeout of ${lock.node.name} can wait for${taken}`,
      );
    }
  }
}
