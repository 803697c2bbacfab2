/**
 * T12: which memory may reclaim act on for a task inside a filesystem (M11)? Two superblocks: the allocator is inside A, and has A's only
 * unit; half of memory is in a file of B, all of it clean but for one page. Direct reclaim runs for the allocator, and if it has begun
 * to write B's page, the allocator waits for that.
 *
 *     a   B is unrelated, at the same nesting depth
 *     b   B lies on a loop file of A
 *     c   B reaches A by a local server, at the same depth
 *     d   B lies on a loop file of another filesystem
 *
 * *reclaims*: the page is written and the allocator goes on. *skips*: the page is left alone. *hangs*: the page waits for A's unit, and the
 * allocator, who has it, for the page. Neither kswapd nor a flusher takes part: memory is not short otherwise.
 */
import { anyRule, definePlugin, depthRule, nofsRule, PAGE_SIZE, RECLAIM_RULE, reachRule, type ReclaimRuleFactory } from '@tidemark/core';
import { type Outcome, simulate, type SimulateOptions, type World } from '@tidemark/testkit';
import { ModelExt3 } from './models/ext3.js';
import { LabKernel } from './models/lab-kernel.js';
import { attachModelDevice } from './models/model-device.js';
import { ModelNbd } from './models/nbd.js';
import { fileStore } from './models/page-stores.js';
import { labPolicy } from './policies.js';

export const SCOPE_CASES = ['a', 'b', 'c', 'd'] as const;
export type ScopeCase = (typeof SCOPE_CASES)[number];

const RULES = { any: anyRule, nofs: nofsRule, depth: depthRule, reach: reachRule } as const satisfies Record<string, ReclaimRuleFactory>;
export type ScopeRule = keyof typeof RULES;
export const SCOPE_RULES = Object.keys(RULES) as ScopeRule[];

export type ScopeVerdict = 'reclaims' | 'skips' | 'hangs';

/** What the design says (M23). */
export const SCOPES_PREDICTED: Readonly<Record<ScopeCase, Readonly<Record<ScopeRule, ScopeVerdict>>>> = {
  a: { any: 'reclaims', nofs: 'skips', depth: 'reclaims', reach: 'reclaims' },
  b: { any: 'hangs', nofs: 'skips', depth: 'skips', reach: 'skips' },
  c: { any: 'hangs', nofs: 'skips', depth: 'hangs', reach: 'skips' },
  d: { any: 'reclaims', nofs: 'skips', depth: 'skips', reach: 'reclaims' },
};

/** One run of a case under a rule. */
export interface ScopeResult {
  readonly scope: ScopeCase;
  readonly rule: ScopeRule;
  readonly verdict: ScopeVerdict;
  readonly predicted: ScopeVerdict;
  readonly outcome: Outcome;
}

/** Memory of a kernel that runs a case. */
export const SCOPE_FRAMES = 256;
const DISK_PAGES = 1024;
const FILE_AT = 256;

/** Mounts A, and B as the case has it. */
async function mountBoth(lab: LabKernel, scope: ScopeCase): Promise<ScopeStack> {
  const mount = async (name: string): Promise<ModelExt3> =>
    ModelExt3.mount(lab, { name: `ext3:${name}`, device: lab.disk(name, DISK_PAGES), nrUnits: 1 });
  const a = await mount('a');
  if (scope === 'a') return { a, b: await mount('b') };
  const below = scope === 'd' ? await mount('c') : a;
  const loop = fileStore(below, 'loop', SCOPE_FRAMES, FILE_AT);
  const nbd = { name: 'nbd:0', sizePages: SCOPE_FRAMES, nrUnits: 1 };
  const store = scope === 'c' ? await ModelNbd.connect(lab, nbd, loop) : loop;
  const device = await attachModelDevice(lab, store);
  return { a, b: await ModelExt3.mount(lab, { name: 'ext3:b', device, nrUnits: 1 }) };
}

/** Two superblocks, and a file of B in memory, clean but for one page. */
export interface ScopeStack {
  readonly a: ModelExt3;
  readonly b: ModelExt3;
}

/** Sets a case up in a kernel of its own. */
export async function mountScope(lab: LabKernel, scope: ScopeCase): Promise<ScopeStack> {
  const { kernel } = lab;
  const stack = await mountBoth(lab, scope);
  const file = stack.b.file('/b/file', SCOPE_FRAMES / 2);
  const page = new Uint8Array(PAGE_SIZE);
  for (let index = 1; index < SCOPE_FRAMES / 2; index++) await file.read(kernel.task, index, page);
  await file.write(kernel.task, 0, page);
  return stack;
}

/** The allocator inside A. @param tell is told once direct reclaim has run. */
export async function allocateInside(
  lab: LabKernel,
  { a, b }: ScopeStack,
  tell: (verdict: ScopeVerdict) => void = () => {},
): Promise<void> {
  const { kernel, world } = lab;
  const unit = await a.data.begin(kernel.task.named('allocator'));
  kernel.reclaim.directReclaim(unit.task, SCOPE_FRAMES);
  const { fileCounts } = kernel.memory;
  tell(fileCounts.nrWriteback > 0 ? 'reclaims' : 'skips');
  await world.together(async () => {
    while (fileCounts.nrWriteback > 0)
      await unit.waitFor(
        b.data,
        fileCounts.written.wait(unit.task).then(() => {}),
      );
  });
  unit.end();
}

async function run(world: World, scope: ScopeCase, rule: ScopeRule, tell: (verdict: ScopeVerdict) => void): Promise<void> {
  const bindRule = definePlugin({
    name: 'rule',
    register: (container) => void container.register(RECLAIM_RULE, { useValue: RULES[rule] }),
  });
  const spec = { name: 'box', nrFrames: SCOPE_FRAMES, plugins: () => [bindRule] };
  const lab = await LabKernel.boot(world, labPolicy('composed'), spec, null);
  await allocateInside(lab, await mountScope(lab, scope), tell);
}

/** Runs a case under a rule and a seed. @throws the error of a run that ended in no verdict. */
export async function runScope(
  scope: ScopeCase,
  rule: ScopeRule,
  options: Pick<SimulateOptions, 'seed' | 'afterReactions'>,
): Promise<ScopeResult> {
  let verdict: ScopeVerdict = 'skips';
  const scenario = { name: `T12${scope}, ${rule}`, run: (world: World) => run(world, scope, rule, (told) => (verdict = told)) };
  const outcome = await simulate(scenario, { ...options, patienceMs: 5_000 });
  if (outcome.verdict === 'failed') throw outcome.error;
  if (outcome.verdict === 'stuck') verdict = 'hangs';
  return { scope, rule, verdict, predicted: SCOPES_PREDICTED[scope][rule], outcome };
}
