/**
 * Stall reports (M22): a standstill is explained, not guessed.
 *
 * The wait-for graph has an edge from each waiting task to what it waits for, and from that to who must act: a holder, a device, another
 * thing waited for, a node of the writeout graph and those it needs. If there is a cycle, it is the reason. If there is none, the chain
 * ends at what nobody works on ("reply never sent").
 *
 * A cycle is a list of nodes that starts at its smallest name; two reports of the same standstill have the same lists.
 */
import type { WriteoutGraph, WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';
import type { WaitParty } from '../task/wait-queue.js';
import type { Wait } from '../task/wait-registry.js';

/** Most cycles told; shortest first. */
const CYCLES_MAX = 16;
/** Most nodes of a cycle, and most steps spent on looking for cycles. */
const CYCLE_NODES_MAX = 32;
const SEARCH_STEPS_MAX = 100_000;

/** One waiting task. */
export interface StalledWait {
  readonly task: string;
  /** Level of the innermost node that the task is in (M4); null if it is in none. */
  readonly level: number | null;
  /** `kind: name` of what it waits for. */
  readonly waitsFor: string;
  readonly sinceMs: number;
  /** Function and line in which the wait began; null unless the kernel keeps sites (`waitSites`). */
  readonly site: string | null;
}

/** Memory of one account at the time. Frames. */
export interface StalledAccount {
  readonly name: string;
  readonly limit: number;
  readonly usage: number;
  readonly waiters: number;
}

export interface StallReport {
  /** When, on the kernel's clock. */
  readonly atMs: number;
  readonly waiters: readonly StalledWait[];
  /** Every edge of the wait-for graph that a waiter leads to. */
  readonly edges: readonly (readonly [from: string, to: string])[];
  readonly cycles: readonly { readonly nodes: readonly string[]; readonly edges: readonly (readonly [string, string])[] }[];
  /** Where the chains end that lead into no cycle: what nobody works on. */
  readonly ends: readonly string[];
  readonly accounts: readonly StalledAccount[];
  readonly floors: { readonly emergency: number; readonly min: number; readonly low: number; readonly high: number };
  readonly free: number;
}

/** What a report is made of. */
export interface StallFacts {
  readonly atMs: number;
  readonly waits: Iterable<Wait>;
  readonly graph: WriteoutGraph;
  readonly accounts: readonly StalledAccount[];
  readonly floors: StallReport['floors'];
  readonly free: number;
}

/** How a party is named in a report. */
export function partyName(party: WaitParty): string {
  return party.kind === undefined ? `task: ${party.name}` : `${party.kind}: ${party.name}`;
}

/** Level of the innermost node that a task is in. */
function levelOf(task: TaskContext, graph: WriteoutGraph): number | null {
  const node = (task.scopes as readonly WriteoutNode[]).findLast((scope) => graph.has(scope));
  return node === undefined ? null : graph.levelOf(node);
}

/** Files a wait passes through; the site is the first line of code outside of them. */
const WAIT_FILES = /\/task\/(?:wait-queue|wait-registry|completion|semaphore|lock)\.[jt]s:/;
const CODE_LINE = /^\s*at (?:(.*) \()?.*?([^/\\]+:\d+):\d+\)?$/;

/** `function (file.ts:line)`, without the folders of whatever machine this is. */
function siteOf(trace: Error | undefined): string | null {
  const lines = trace?.stack?.split('\n') ?? [];
  const match = CODE_LINE.exec(lines.find((line) => CODE_LINE.test(line) && !WAIT_FILES.test(line)) ?? '');
  if (match === null) return null;
  return match[1] === undefined ? match[2] : `${match[1]} (${match[2]})`;
}

/** Explains who waits for whom. */
export function makeStallReport(facts: StallFacts): StallReport {
  const successors = new Map<string, Set<string>>();
  const link = (from: string, to: string): void => {
    const known = successors.get(from);
    if (known === undefined) successors.set(from, new Set([to]));
    else known.add(to);
  };
  const visited = new Set<string>();
  const nodes = new Map(facts.graph.nodes.map((node) => [partyName(node), node]));
  const visit = (party: WaitParty): void => {
    const name = partyName(party);
    if (visited.has(name)) return;
    visited.add(name);
    const node = nodes.get(name); // a device and its node are one party
    const actors: WaitParty[] = [...(party.heldBy?.() ?? [])];
    if (node !== undefined && node !== party) actors.push(...(node.heldBy?.() ?? []));
    if (node !== undefined) actors.push(...facts.graph.successorsOf(node));
    for (const actor of actors) {
      link(name, partyName(actor));
      visit(actor);
    }
  };
  const waiters: StalledWait[] = [];
  for (const { task, target, sinceMs, site } of facts.waits) {
    waiters.push({ task: task.name, level: levelOf(task, facts.graph), waitsFor: partyName(target), sinceMs, site: siteOf(site) });
    link(partyName({ name: task.name }), partyName(target));
    visit(target);
  }
  const edges = [...successors].flatMap(([from, tos]) => [...tos].map((to) => [from, to] as const));
  const cycles = findCycles(successors);
  const inCycle = new Set(cycles.flatMap(({ nodes }) => nodes));
  const ends = [...new Set(edges.map(([, to]) => to))].filter((name) => !successors.has(name) && !inCycle.has(name)).sort();
  const { atMs, accounts, floors, free } = facts;
  return { atMs, waiters, edges, cycles, ends, accounts, floors, free };
}

/** Every elementary cycle up to the bounds, each once, from its smallest name on; shortest first, then by name. */
function findCycles(successors: ReadonlyMap<string, ReadonlySet<string>>): StallReport['cycles'] {
  const cycles: string[][] = [];
  let steps = 0;
  const walk = (start: string, path: string[]): void => {
    for (const next of successors.get(path[path.length - 1]) ?? []) {
      if (cycles.length >= CYCLES_MAX * 4 || ++steps > SEARCH_STEPS_MAX) return;
      if (next === start) cycles.push([...path]);
      else if (next > start && !path.includes(next) && path.length < CYCLE_NODES_MAX) walk(start, [...path, next]);
    }
  };
  for (const start of [...successors.keys()].sort()) walk(start, [start]);
  cycles.sort((a, b) => a.length - b.length || a.join().localeCompare(b.join()));
  return cycles.slice(0, CYCLES_MAX).map((nodes) => ({
    nodes,
    edges: nodes.map((name, i) => [name, nodes[(i + 1) % nodes.length]] as const),
  }));
}

/** Waiters as lines: those that wait for the same under the same name are one, with their number and the longest wait. */
function waiterLines({ atMs, waiters }: StallReport): string[] {
  const groups = new Map<string, { count: number; sinceMs: number; line: (count: string, waitedMs: number) => string }>();
  for (const { task, level, waitsFor, sinceMs, site } of waiters) {
    const who = level === null ? task : `${task} (level ${level})`;
    const key = JSON.stringify([who, waitsFor, site]);
    const group = groups.get(key);
    if (group !== undefined) {
      group.count++;
      group.sinceMs = Math.min(group.sinceMs, sinceMs);
      continue;
    }
    const where = site === null ? '' : `, in ${site}`;
    groups.set(key, {
      count: 1,
      sinceMs,
      line: (count, waitedMs) => `  ${who} waits${count} for ${waitsFor} (${waitedMs.toFixed(0)} ms)${where}`,
    });
  }
  return [...groups.values()].map(({ count, sinceMs, line }) => line(count === 1 ? '' : `, ${count} times,`, atMs - sinceMs));
}

/** The report for people. Accounts that hold nothing and could hold nothing are left out. */
export function formatStallReport(report: StallReport): string {
  const lines = [`stalled at ${report.atMs.toFixed(0)} ms: ${report.waiters.length} waiting, ${report.free} frames free`];
  lines.push(...waiterLines(report));
  for (const { nodes } of report.cycles) lines.push(`  cycle: ${[...nodes, nodes[0]].join(' → ')}`);
  if (report.cycles.length === 0) for (const end of report.ends) lines.push(`  nobody works on: ${end}`);
  for (const { name, limit, usage, waiters } of report.accounts.filter(({ limit, usage }) => limit > 0 || usage > 0))
    lines.push(`  account ${name}: ${usage} of ${limit} frames, ${waiters} waiting`);
  const { emergency, min, low, high } = report.floors;
  lines.push(`  floors: emergency ${emergency}, min ${min}, low ${low}, high ${high}`);
  return lines.join('\n');
}

/** The wait-for graph in Graphviz' DOT; the edges of cycles are red. */
export function stallReportToDot(report: StallReport): string {
  const red = new Set(report.cycles.flatMap(({ edges }) => edges.map((edge) => JSON.stringify(edge))));
  const lines = report.edges.map((edge) => {
    const [from, to] = edge.map((name) => JSON.stringify(name));
    return `  ${from} -> ${to}${red.has(JSON.stringify(edge)) ? ' [color=red]' : ''};`;
  });
  return ['digraph stall {', '  rankdir=LR;', ...lines, '}'].join('\n');
}
