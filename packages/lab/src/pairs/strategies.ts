/**
 * What the off/on pairs exchange: second implementations of decisions, each bound by token. None of them is a way to run a kernel.
 */
import { DIRTY_THROTTLE, type DirtyThrottleFactory, definePlugin, hardDirtyLimits, type Plugin, TaskContext } from '@tidemark/core';
import { emergencyRules, RECEIVE_RULES, type ReceiveRules } from '@tidemark/net';
import { type LabPolicy, labPolicy } from '../policies.js';

const composed = labPolicy('composed');

function receive(name: string, rules: Partial<ReceiveRules>): LabPolicy {
  const value: ReceiveRules = { ...emergencyRules, ...rules, name };
  const plugin: Plugin = definePlugin({ name, register: (container) => void container.register(RECEIVE_RULES, { useValue: value }) });
  return { ...composed, plugins: [plugin] };
}

/** M12: no socket is marked. */
export const noMarks = receive('no-marks', { marks: () => false });

/** M12: what needed the reserve is handed to whoever it is for. */
export const noTagCheck = receive('no-tag-check', { passes: () => true });

function throttled(name: string, throttle: DirtyThrottleFactory): Plugin[] {
  return [definePlugin({ name, register: (container) => void container.register(DIRTY_THROTTLE, { useValue: throttle }) })];
}

/** Nobody is held by a dirty limit: for pairs whose off run would stick on one first. */
export const unthrottled: LabPolicy = {
  ...composed,
  plugins: throttled('no-throttle', () => ({ claim: () => 0, unclaim: () => {}, nrOverBackground: 0 })),
};

/** M16: the server of a local edge has no right; it asks for memory as any program. */
export const noEntitlement: LabPolicy = { ...unthrottled, serverRights: (task) => task.withTicket(null) };

/** M16: the global dirty limit holds everybody. */
const holdsAll: DirtyThrottleFactory = (parts) => {
  const limits = hardDirtyLimits(parts);
  return {
    claim: ({ name, signal, waits }, backing) => limits.claim(TaskContext.root(name, signal, waits), backing),
    unclaim: (backing) => limits.unclaim(backing),
    get nrOverBackground() {
      return limits.nrOverBackground;
    },
  };
};
export const globalThrottle: LabPolicy = { ...composed, plugins: throttled('global-throttle', holdsAll) };
