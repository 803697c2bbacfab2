/**
 * `tidemark reserves` and `tidemark graph`: set a stack up in a kernel of a given size, show its plan or its writeout graph, and take it
 * down again.
 */
import { Kernel, type ReservePlan } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { nbd } from '@tidemark/nbd/host';
import { swap } from '@tidemark/swap';
import type { Command } from 'commander';
import { sizeOption } from './grammar.js';
import { UsageError } from './outcome.js';
import { STACKS, startNbdStack, withTemporaryFolder } from './stack.js';

const RESERVES_EXAMPLES = `
Examples:
  tidemark reserves nbd --memory 8MiB --working-set 128MiB
  tidemark reserves nbd://127.0.0.1:10809/disk --json

Counts are frames of 4 KiB. The keys of --json: nodes [{ name, kind, path, level, nrUnits, need, standing, limit, usage, highWater,
waiters, needs, terms [{ what, frames, standing }] }], reserved, used, emergency, min, low, high, standing, total, free.`;

const GRAPH_EXAMPLES = `
Examples:
  tidemark graph nbd
  tidemark graph nbd --dot | dot -Tsvg > graph.svg

The keys of --json: nodes [{ name, kind, level }], edges [[from, to]]. An edge says: the first's writeout needs the second's.`;

interface Words {
  memory: number;
  workingSet: number;
  json?: true;
  dot?: true;
}

/** Adds both verbs. */
export function reservesCommand(program: Command): void {
  const verb = (name: string, description: string, examples: string): Command =>
    program
      .command(name)
      .description(description)
      .argument('<stack>', `${STACKS.join(', ')}, or a DEVICE: mem:SIZE, file:PATH or a bare PATH, nbd://HOST:PORT/EXPORT`)
      .addOption(sizeOption('--memory', 'page memory of the kernel', 8 * 2 ** 20))
      .addOption(sizeOption('--working-set', 'what a named stack is to hold', 128 * 2 ** 20))
      .option('--json', 'print one JSON object')
      .addHelpText('after', examples);
  verb('reserves', 'Show what a stack sets aside, node by node', RESERVES_EXAMPLES)
    .usage('[options] <stack>') // without the hidden verb
    .action((stack: string, words: Words) =>
      withStack(stack, words, (kernel) => {
        const plan = kernel.reserves.explain();
        return words.json ? JSON.stringify(plan) : formatPlan(plan);
      }),
    )
    .command('plan', { hidden: true })
    .argument('[words...]')
    .allowUnknownOption()
    .helpOption(false)
    .action(() => {
      throw new UsageError('reserves plan: the dry run is not built yet (a file of that name is ./plan)');
    });
  verb('graph', 'Show who needs whom to write a page out', GRAPH_EXAMPLES)
    .option('--dot', "print it in Graphviz' language")
    .action((stack: string, words: Words) =>
      withStack(stack, words, (kernel) => {
        const graph = kernel.graph();
        if (words.json) return JSON.stringify(graph);
        return words.dot ? graphToDot(graph) : formatGraph(graph);
      }),
    );
}

async function withStack(stack: string, words: Words, show: (kernel: Kernel) => string): Promise<void> {
  const kernel = await Kernel.boot({ memory: words.memory, plugins: [host, swap, nbd], name: 'reserves' });
  const work = async (open: () => Promise<unknown>): Promise<void> => {
    try {
      await open();
      process.stdout.write(`${show(kernel)}\n`);
    } finally {
      await kernel.shutdown();
    }
  };
  if (stack !== 'nbd') return work(() => kernel.openBlockDevice(stack, { readOnly: true }));
  return withTemporaryFolder((folder) => work(() => startNbdStack(kernel, folder, words.workingSet)));
}

/** The plan as a table, top node first, with what stands under each. */
export function formatPlan(plan: ReservePlan): string {
  const rows = [['node', 'level', 'units', 'need', 'reserved', 'in use', 'most', 'standing']];
  for (const node of [...plan.nodes].reverse()) {
    rows.push([node.name, ...[node.level, node.nrUnits, node.need, node.limit, node.usage, node.highWater, node.standing].map(String)]);
    for (const { what, frames, standing } of node.terms)
      rows.push([`  ${what}`, '', '', '', standing ? '' : String(frames), '', '', standing ? String(frames) : '']);
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const lines = rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
  const { total, free, standing, reserved, used, min, low, high } = plan;
  lines.push(`frames: ${total} in all, ${free} free, ${standing} standing, ${reserved} reserved, ${used} of them in use`);
  lines.push(`floors: min ${min}, low ${low}, high ${high}`);
  return lines.join('\n');
}

type Graph = ReturnType<Kernel['graph']>;

function formatGraph({ nodes, edges }: Graph): string {
  const lines = [...nodes]
    .sort((a, b) => b.level - a.level)
    .map(({ name, kind, level }) => {
      const needs = edges.filter(([from]) => from === name).map(([, to]) => to);
      return `${level}  ${name} (${kind})${needs.length === 0 ? '' : ` → ${needs.join(', ')}`}`;
    });
  return lines.join('\n');
}

function graphToDot({ nodes, edges }: Graph): string {
  const lines = nodes.map(({ name, kind }) => `  ${JSON.stringify(name)} [label=${JSON.stringify(`${name}\n${kind}`)}];`);
  for (const [from, to] of edges) lines.push(`  ${JSON.stringify(from)} -> ${JSON.stringify(to)};`);
  return ['digraph writeout {', ...lines, '}'].join('\n');
}
