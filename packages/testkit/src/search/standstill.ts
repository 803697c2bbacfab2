/**
 * Why a state of a model is one that nothing leaves: core's stall report (M22), from what the model tells of its waits.
 */
import { makeStallReport, type StallReport, TaskContext, type Wait, type WaitParty, WriteoutGraph } from '@tidemark/core';
import type { SearchModel, State, WaitSink } from './model.js';

/** A thing or a task of a report, with those that must act for it. */
class Party implements WaitParty {
  readonly name: string;
  readonly kind: string | undefined;
  readonly actors = new Set<Party>();

  constructor(fullName: string) {
    const colon = fullName.indexOf(': ');
    const kind = colon < 0 ? 'thing' : fullName.slice(0, colon);
    this.kind = kind === 'task' ? undefined : kind;
    this.name = colon < 0 ? fullName : fullName.slice(colon + 2);
  }

  heldBy(): Iterable<Party> {
    return this.actors;
  }
}

/** Explains who waits for whom in a state. A model has no clock and tells no floors: these figures are 0. */
export function explainState(model: SearchModel, state: State): StallReport {
  const parties = new Map<string, Party>();
  const party = (name: string): Party => {
    const known = parties.get(name) ?? new Party(name);
    parties.set(name, known);
    return known;
  };
  const waiting = new Map<string, Set<string>>();
  const sink: WaitSink = {
    waits: (task, target) => {
      waiting.set(task, (waiting.get(task) ?? new Set()).add(target));
      party(`task: ${task}`).actors.add(party(target));
    },
    heldBy: (target, actor) => void party(target).actors.add(party(actor)),
  };
  model.tellWaits(state, sink);
  const waits: Wait[] = [];
  for (const [task, targets] of waiting) {
    for (const name of targets) {
      const target = party(name);
      waits.push({
        task: TaskContext.root(task),
        target: { kind: target.kind ?? 'task', name: target.name, heldBy: () => target.actors },
        sinceMs: 0,
      });
    }
  }
  const floors = { emergency: 0, min: 0, low: 0, high: 0 };
  return makeStallReport({ atMs: 0, waits, graph: new WriteoutGraph(), accounts: [], floors, free: 0 });
}
