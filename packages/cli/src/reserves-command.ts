/**
 * `tidemark reserves` and `tidemark graph`: set a stack up in a kernel of a given size, show its plan or its writeout graph, and take it
 * down again. `tidemark reserves plan` starts nothing: it says what the stack would take, and the smallest memory it needs.
 */
import { Kernel, PAGE_SIZE, planLeast, planStack } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { ext3 } from '@tidemark/fs-ext3';
import { nbd } from '@tidemark/nbd/host';
import { swap } from '@tidemark/swap';
import type { Command } from 'commander';
import { sizeOption } from './grammar.js';
import { JobFailed, UsageError } from './outcome.js';
import { formatDryRun, formatPlan } from './plan-table.js';
import { STACKS, withStack } from './stack.js';
import { describeStack } from './stack-description.js';

const STACK_HELP = `${STACKS.join(', ')}, swap:DEVICE, or a DEVICE: mem:SIZE, file:PATH or a bare PATH, nbd://HOST:PORT/EXPORT`;
const MEMORY_BYTES = 8 * 2 ** 20;

const RESERVES_EXAMPLES = `
Examples:
  tidemark reserves nbd --memory 8MiB --working-set 128MiB
  tidemark reserves nbd://127.0.0.1:10809/disk --json
  tidemark reserves plan nbd --working-set 1GiB              the smallest memory that holds 1 GiB; nothing is started
  tidemark reserves plan swap:disk.img --memory 4MiB         does it fit? exit code 1 if not

Counts are frames of 4 KiB. The keys of --json: nodes [{ name, kind, path, level, nrUnits, need, standing, limit, atomic, needs,
terms [{ what, frames, standing }], usage, highWater, held, unitsOut, waiters, waits, overspends }], policy, reserved, used, atomic,
emergency, min, low, high, standing, total, free.
Those of plan --json: smallestMemoryBytes, memoryBytes, fits, required, total, standing, held [{ what, frames }], reserved, atomic, min,
low, high, largest { node, what, frames }, nodes as above up to terms. A device that is not there is planned for as one that the working
set fills.`;

const GRAPH_EXAMPLES = `
Examples:
  tidemark graph nbd
  tidemark graph nbd --dot | dot -Tsvg > graph.svg

The keys of --json: nodes [{ name, kind, level }], edges [[from, to]]. An edge says: the first's writeout needs the second's.`;

interface Words {
  memory?: number;
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
      .addOption(sizeOption('--memory', 'page memory of the kernel (default: 8 MiB; for plan, the smallest)'))
      .addOption(sizeOption('--working-set', 'what a stack that swaps is to hold', 128 * 2 ** 20))
      .option('--json', 'print one JSON object')
      .addHelpText('after', examples);
  verb('reserves', 'Show what a stack sets aside, node by node; with plan, what it would', RESERVES_EXAMPLES)
    .alias('explain')
    .usage('[options] [plan] <stack>')
    .argument('<stack...>', STACK_HELP)
    .action((given: string[], words: Words) => {
      const isPlan = given[0] === 'plan';
      const [stack, ...more] = isPlan ? given.slice(1) : given;
      if (stack === undefined) throw new UsageError('reserves plan: which stack? (a file of that name is ./plan)');
      if (more.length > 0) throw new UsageError(`reserves: one stack at a time, not also ${more.join(' ')}`);
      return isPlan ? dryRun(stack, words) : show(stack, words, (kernel) => explain(kernel, words));
    });
  verb('graph', 'Show who needs whom to write a page out', GRAPH_EXAMPLES)
    .argument('<stack>', STACK_HELP)
    .option('--dot', "print it in Graphviz' language")
    .action((stack: string, words: Words) =>
      show(stack, words, (kernel) => {
        const graph = kernel.graph();
        if (words.json) return JSON.stringify(graph);
        return words.dot ? graphToDot(graph) : formatGraph(graph);
      }),
    );
}

/** Starts nothing. @throws JobFailed if a memory was given and the stack does not fit; the plan has been printed. */
function dryRun(stack: string, { memory, workingSet, json }: Words): void {
  const description = describeStack(stack, workingSet);
  const least = planLeast(description);
  const plan = memory === undefined ? least : planStack(description, Math.floor(memory / PAGE_SIZE));
  const sizes = { smallestMemoryBytes: least.total * PAGE_SIZE, memoryBytes: plan.total * PAGE_SIZE };
  process.stdout.write(`${json ? JSON.stringify({ ...sizes, ...plan }) : formatDryRun(plan, least)}\n`);
  if (!plan.fits) throw new JobFailed(`${stack} does not fit: ${plan.required - plan.total} frames short`);
}

function explain(kernel: Kernel, { json }: Words): string {
  const plan = kernel.reserves.explain();
  return json ? JSON.stringify(plan) : formatPlan(plan);
}

async function show(stack: string, { memory, workingSet }: Words, text: (kernel: Kernel) => string): Promise<void> {
  const kernel = await Kernel.boot({ memory: memory ?? MEMORY_BYTES, plugins: [host, swap, nbd, ext3], name: 'reserves' });
  await withStack(kernel, stack, workingSet, () => void process.stdout.write(`${text(kernel)}\n`));
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
