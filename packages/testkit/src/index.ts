/**
 * `@tidemark/testkit`: deterministic simulation of kernels and plugins. Virtual time, seeded schedules, disks and links that fail, and a
 * verdict about each run.
 *
 * @example
 * ```ts
 * import { SimulatedDisk, type Scenario } from '@tidemark/testkit';
 * import { explore } from '@tidemark/testkit/host';
 *
 * const scenario: Scenario = {
 *   name: 'swap on a raw disk',
 *   async run(world) {
 *     const machine = world.machine('box');
 *     const kernel = await world.boot(machine, { memory: '2MiB', plugins: [swap] });
 *     await kernel.swapOn(kernel.attach(new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: 2 ** 23 })), { format: true });
 *   },
 * };
 * console.log(await explore(scenario, { nrSeeds: 300 }));
 * ```
 *
 * @packageDocumentation
 */
export * from './disk/disk-image.js';
export * from './disk/simulated-disk.js';
export * from './disk/write-cache.js';
export * from './disk/write-log.js';
export * from './faults/allocation-faults.js';
export * from './faults/depletion.js';
export * from './invariants.js';
export * from './net/packets.js';
export { type LinkOptions, type SimulatedConnection, SimulatedNetwork } from './net/network.js';
export * from './search/model.js';
export * from './search/search.js';
export { explainState } from './search/standstill.js';
export * from './simulation/machine.js';
export * from './simulation/progress.js';
export * from './simulation/simulate.js';
export * from './simulation/strict.js';
export * from './simulation/world.js';
export * from './time/event-queue.js';
export * from './time/random.js';
export * from './time/schedule.js';
export * from './time/trace-hash.js';
export * from './time/virtual-clock.js';
export * from './traces/run-policy.js';
export * from './traces/trace.js';
export { memfs } from './memfs/index.js';
