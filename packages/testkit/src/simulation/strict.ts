/** Violations of what nodes declared as errors: in a test nobody should have to look for a counter. */
import type { Kernel, Violation } from '@tidemark/core';

/** A violation, with the stack of whoever did it. */
export class ViolationError extends Error {
  constructor(readonly violation: Violation) {
    super(`${violation.kind}: ${violation.message}`);
    this.name = 'ViolationError';
  }
}

/**
 * Has violations of a kernel throw where they happen.
 * @param tell is told first: what is thrown into a task that nobody awaits would be lost.
 */
export function throwViolations(kernel: Pick<Kernel, 'memory'>, tell: (error: ViolationError) => void = () => {}): void {
  kernel.memory.onViolation = (violation) => {
    const error = new ViolationError(violation);
    tell(error);
    throw error;
  };
}
